"""The usual sweep: one Ray Tune trial per cell, one core each, against the same cells as stacks by `sweeper run`.

Both start Ray, train all cells with all cores and end; the time is that of the wall, start included. The usual trial is
the textbook's loop and saves nothing; ours writes checkpoints and results and evaluates on a few images.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.measure import circumstances, ratio, table
from benchmarks.workload import MODELS, cells
from models.cell import Cell

STUDY = """
name: tune
cells:
  data: {data}
  latents: {latents}
  hidden: {hidden}
  objective: ou
  rho: {rhos}
  batch_size: {batch}
  seed: 0
train: {{steps: {steps}, keep: none}}
evaluation: {{every: 0, importance_samples: 1, images: 2}}
run: {{device: cpu}}
"""


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument(
        "--model", choices=MODELS, default="quickstart", help="those of 28×28 pixels need MNIST's files"
    )
    parser.add_argument("--cells", type=int, default=16, help="[default: %(default)s]")
    parser.add_argument("--steps", type=int, default=1000, help="of each cell  [default: %(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=3, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Both, in turn."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    circumstances(f"{args.cells} cells of {args.steps:,} steps, batch {args.batch}, {cores} cores.")
    chosen = cells(args.model, args.cells, batch_size=args.batch)
    usual, ours, inside = [], [], []
    for _ in range(args.repeats):
        begun = time.perf_counter()
        inside += _in_a_process(_usual, chosen, args.steps, cores)
        usual.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        _in_a_process(_ours, args, chosen)
        ours.append(time.perf_counter() - begun)
    work = args.cells * args.steps / cores
    loop = work / (statistics.median(inside) * args.cells / cores)
    rows = [
        [
            "one Tune trial per cell",
            "1.00",
            f"{work / statistics.median(usual):.1f}",
            f"{statistics.median(usual):.1f}",
        ],
        ["of it the loops alone", "", f"{loop:.1f}", ""],
        [
            "`sweeper run`",
            ratio(usual, ours),
            f"{work / statistics.median(ours):.1f}",
            f"{statistics.median(ours):.1f}",
        ],
    ]
    table([args.model, "times as fast (lowest–highest)", "cell-steps per second and core", "wall s"], rows)


def _in_a_process(function: Callable[..., Any], *args: Any) -> Any:
    """Ray keeps the first token that a process sees: each run has a process of its own, whose start it pays for."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def _usual(chosen: list[Cell], steps: int, cores: int) -> list[float]:
    """Seconds that each trial's loop took."""
    import ray
    from ray import tune

    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(_trial, steps=steps), {"cpu": 1}),
                param_space={"cell": tune.grid_search([cell.to_json() for cell in chosen])},
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            )
            with redirect_stdout(io.StringIO()):  # its tables
                return [result.metrics["loop_s"] for result in tuner.fit()]
    finally:
        ray.shutdown()


def _trial(config: dict[str, Any], steps: int) -> dict[str, float]:
    """One cell, as a user of Tune would train it."""
    import torch

    import models.data
    from benchmarks.textbook import Textbook

    torch.set_num_threads(1)
    cell = Cell.from_json(config["cell"])
    textbook = Textbook(cell, models.data.load(cell.data))
    begun = time.perf_counter()
    textbook.train(steps)
    return {"loop_s": time.perf_counter() - begun}


def _ours(args: Namespace, chosen: list[Cell]) -> None:
    """The same cells by the project's own run."""
    from sweeper.driver.tune import RayTune
    from sweeper.run import run_study
    from sweeper.store import Store
    from sweeper.study import load_study

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        model = MODELS[args.model]
        rhos = [cell.rho for cell in chosen]
        path.write_text(STUDY.format(**model, rhos=rhos, batch=args.batch, steps=args.steps), encoding="utf-8")
        store = Store.open(Path(folder) / "store", create=True)
        outcome = run_study(load_study(path), store, lambda plan: RayTune())
        assert not outcome.after.missing
