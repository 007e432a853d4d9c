"""Everything around training, as a share of a run's wall time: the quickstart, as its user runs it.

A fresh process runs the study in a temporary folder. Its rows say how long the cells trained (each its share of its
stack's time, evaluations along the way and checkpoints included) and how long their evaluation at the end took; divided
by the number of workers this is the wall time if no worker ever waited. The evaluations along the way are timed apart,
after the run, and taken from the training.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import sweeper
from benchmarks.measure import circumstances, table, timed
from benchmarks.workload import as_in_a_worker
from sweeper.study import Study, load_study

ROOT = Path(__file__).parents[1]


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--study", default=str(ROOT / "studies" / "quickstart.yaml"), help="[default: the quickstart]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the study")


def run(args: Namespace) -> None:
    """Run the study once, and what surrounds it."""
    circumstances("One run.")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        study = ["--store", str(store), *(word for each in args.set for word in ("--set", each))]
        planned, plan_s = _sweeper("plan", args.study, *study, "--json")
        _, wall_s = _sweeper("run", args.study, *study, "--json")
        _, again_s = _sweeper("run", args.study, *study, "--json")
        _, report_s = _sweeper("report", str(store), "--json")
        rows = sweeper.load(store)
    workers = json.loads(planned)["workers"]
    along_s = _along_the_way(load_study(args.study, args.set)) * len(rows) / workers
    trained_s, evaluated_s = rows.wall_s.sum() / workers, rows.evaluation_s.sum() / workers
    parts = {
        "training": trained_s - along_s,
        "evaluations along the way": along_s,
        "evaluation at the end": evaluated_s,
        "start, writing, report, waiting workers": wall_s - trained_s - evaluated_s,
    }
    shares = [[f"of it {name}", f"{100 * seconds / wall_s:.1f} %", f"{seconds:.1f}"] for name, seconds in parts.items()]
    around = ["everything around training", f"{100 - 100 * parts['training'] / wall_s:.1f} %"]
    steps = f"{len(rows)} cells of {rows.step.max():,} steps, {workers} worker(s)"
    table(
        [steps, "share of the run", "seconds"],
        [
            [*around, f"{wall_s - parts['training']:.1f}"],
            ["the run", "100 %", f"{wall_s:.1f}"],
            *shares,
            ["`sweeper plan`", "", f"{plan_s:.1f}"],
            ["`sweeper run` again, nothing missing", "", f"{again_s:.1f}"],
            ["`sweeper report`", "", f"{report_s:.1f}"],
        ],
    )


def _sweeper(*words: str) -> tuple[str, float]:
    """The output and wall seconds of a command; its own messages go to stderr."""
    begun = time.perf_counter()
    output = subprocess.run(
        [sys.executable, "-m", "sweeper", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return output, time.perf_counter() - begun


def _along_the_way(study: Study) -> float:
    """Seconds that one cell of the study spends in evaluations along the way, in a stack of a few."""
    import models.data
    from models.evaluation.evaluate import evaluate
    from models.evaluation.settings import Evaluation
    from models.stack.stack import Stack

    if not study.evaluation.every:
        return 0.0
    as_in_a_worker(study.run.threads)
    shape = study.cells[0].shape()
    cells = [cell for cell in study.cells if cell.shape() == shape][:12]
    stack = Stack(cells, models.data.load(cells[0].data))
    quick = Evaluation(importance_samples=1, images=study.evaluation.validation_images, split="validation")
    evaluate(stack, quick, quick=True)
    one = min(timed(lambda: evaluate(stack, quick, quick=True)) for _ in range(5))
    return one / len(cells) * (1 + study.steps // study.evaluation.every)
