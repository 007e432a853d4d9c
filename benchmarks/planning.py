"""Plan and status of a study of ten thousand cells, and the start of a resume: with none and with most finished."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import circumstances, spent, table
from benchmarks.store import fill
from models.cell import cell_id
from sweeper.driver import Assignment
from sweeper.planning import make_plan
from sweeper.run import run_study
from sweeper.store import Store
from sweeper.store.names import row_name
from sweeper.study import load_study

STUDY = """
name: many
cells:
  data: digits
  latents: 40-40-40-40
  objective: ou
  rho: {{from: 0.5, to: 0.999, points: {points}}}
  learning_rate: [0.001, 0.0005]
  seed: {{from: 0, to: 49, step: 1}}
train: {{steps: 1000}}
"""


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--cells", type=int, default=10_000, help="a multiple of 200  [default: %(default)s]")
    parser.add_argument(
        "--names", action="store_true", help="rows are empty files: planning reads their names alone (for 100,000)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="[default: %(default)s]")


def run(args: Namespace) -> None:
    """Time the functions in this process, and the commands with all that they import."""
    circumstances(f"Median of {args.repeats} repeats, files in the system's cache.")
    rows: list[list[str]] = []

    def row(what: str, seconds: Callable[[], tuple[float, float]]) -> None:
        wall, processor = (sorted(each) for each in zip(*(seconds() for _ in range(args.repeats)), strict=True))
        rows.append(
            [what, *(f"{statistics.median(each):.2f} ({each[0]:.2f}–{each[-1]:.2f})" for each in (wall, processor))]
        )

    def command(what: str, *words: str) -> None:
        full = [sys.executable, "-m", "sweeper", *words]
        row(what, lambda: spent(lambda: subprocess.run(full, check=True, stdout=subprocess.DEVNULL)))

    with tempfile.TemporaryDirectory() as folder:
        path, root = Path(folder) / "many.yaml", Path(folder) / "store"
        path.write_text(STUDY.format(points=args.cells // 100), encoding="utf-8")
        study = load_study(path)
        row("reading the study", lambda: spent(lambda: load_study(path)))
        row("planning it, no store", lambda: spent(lambda: make_plan(study, None)))
        command("`sweeper plan`, no store", "plan", str(path), "--store", str(root))
        store = Store.create(root)
        store.paths.study.write_text(study.to_yaml(), encoding="utf-8")
        finished = study.cells[: -args.cells // 100]
        evaluation = study.evaluation_settings("digits").id()
        if args.names:
            for cell in finished:
                store.paths.new_row("cells", row_name(cell_id(cell), study.steps, evaluation)).touch()
        else:
            fill(store, [(cell_id(cell), cell) for cell in finished], evaluation)
        row("planning it, 99 % finished", lambda: spent(lambda: make_plan(study, store)))
        command("`sweeper status`, 99 % finished", "status", str(root))
        command("`sweeper plan`, 99 % finished", "plan", str(path), "--store", str(root))

        for who, whose in (("this process", resource.RUSAGE_SELF), ("the largest command", resource.RUSAGE_CHILDREN)):
            rows.append([f"memory of {who}, GB", f"{resource.getrusage(whose).ru_maxrss * 1024 / 1e9:.2f}", ""])
        heads = ["seconds (lowest–highest)", "of the processor"]
        if args.names:
            table([f"{len(study.cells):,} cells, by names alone", *heads], rows)
            return

        def resume(verified: bool) -> tuple[float, float]:
            if not verified:
                store.paths.verified.unlink(missing_ok=True)
            return _start_of_a_resume(path, root)

        resume(False)  # the first one loads the data, and verifies every row
        row("start of a resume up to Ray's, 99 % finished", lambda: resume(True))
        row("the same, no row verified before", lambda: resume(False))
    table([f"{len(study.cells):,} cells", *heads], rows)


class _Arrival:
    """An executor that carries nothing out and tells when it was asked to."""

    at = 0.0, 0.0

    def execute(self, work: Assignment) -> None:
        """Here a run would start Ray."""
        self.at = time.perf_counter(), time.process_time()


def _start_of_a_resume(path: Path, root: Path) -> tuple[float, float]:
    """Seconds, and those of the processor, in which a run reads the study, opens the store, verifies its rows, plans,
    and has jobs for workers."""
    begun, arrival = (time.perf_counter(), time.process_time()), _Arrival()
    run_study(load_study(path), Store.open(root), lambda plan: arrival)
    return arrival.at[0] - begun[0], arrival.at[1] - begun[1]
