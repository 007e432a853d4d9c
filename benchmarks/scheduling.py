"""What Ray's scheduling costs a stack, and whether it keeps many workers busy: stacks that only wait a while.

`RayTune` carries out jobs whose cells are not trained: in place of that a worker waits, and notes when. What lies
between two such notes of one process is what a stack costs beside its training: Tune's turn, the job's way to the
worker, the store opened. `--bare` leaves out all of sweeper on the workers, so that many fit on a small machine.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measure import circumstances, table
from sweeper.driver import Assignment, Jobs
from sweeper.driver import tune as driver
from sweeper.planning import make_plan
from sweeper.store import Store
from sweeper.study import load_study

STUDY = """
name: scheduling
cells: {{data: digits, latents: 10-10, seed: {{from: 1, to: {stacks}, step: 1}}}}
train: {{steps: 10}}
run: {{executor: ray, workers: {workers}, max_stack: 1, device: cpu, start_s: 600}}
"""

Waits = dict[str, list[tuple[float, float]]]  # from when to when, of each process


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--stacks", type=int, default=1000, help="[default: %(default)s]")
    parser.add_argument("--workers", type=int, default=2, help="of one logical core each  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a stack takes  [default: %(default)s]")
    parser.add_argument("--bare", action="store_true", help="workers import nothing and open no store")


def run(args: Namespace) -> None:
    """One run through Ray."""
    circumstances(f"{args.stacks:,} stacks of {args.seconds:g} s on {args.workers} workers, one run.")
    with tempfile.TemporaryDirectory() as folder:
        path, notes = Path(folder) / "study.yaml", Path(folder) / "notes"
        notes.mkdir()
        path.write_text(STUDY.format(stacks=args.stacks, workers=args.workers), encoding="utf-8")
        study, store = load_study(path), Store.create(Path(folder) / "store")
        jobs = make_plan(study, store).jobs
        driver.carry_out_job = _waiting(args.seconds, str(notes), args.bare)
        work = Assignment(
            Jobs(jobs, workers=args.workers), store.paths.root, "scheduling", args.workers, stopping=lambda: False
        )
        begun = time.perf_counter(), time.process_time()
        driver.RayTune().execute(work)
        wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
        waits = {note.name: _read(note) for note in notes.iterdir()}
    assert sum(map(len, waits.values())) == args.stacks, f"{waits} waits, {len(store.failures())} failures"
    gaps = sorted(1000 * (after[0] - before[1]) for each in waits.values() for before, after in pairwise(each))
    rows = [
        ["between two stacks of one worker, ms: mean", f"{statistics.mean(gaps):.1f}"],
        ["median (lowest–highest)", f"{statistics.median(gaps):.1f} ({gaps[0]:.1f}–{gaps[-1]:.1f})"],
        ["workers busy, from when all have begun until one has had its last", f"{_busy(waits):.1%}"],
        ["processes", len(waits)],
        ["the whole run, s", f"{wall:.1f}"],
        ["processor time of the driver, ms per stack", f"{1000 * processor / args.stacks:.1f}"],
    ]
    table([f"{args.stacks:,} stacks of {args.seconds:g} s, {args.workers} workers", "scheduling"], rows)


def _waiting(seconds: float, notes: str, bare: bool) -> Callable[..., dict[str, Any]]:
    """What Ray calls on a worker in place of `carry_out_job`. It is a closure, so that it travels as code."""

    def carry_out_job(config: dict[str, Any], source_root: str, **given: Any) -> dict[str, Any]:
        def wait(*_: Any) -> None:
            begun = time.time()
            time.sleep(seconds)
            with open(os.path.join(notes, str(os.getpid())), "a") as file:
                file.write(f"{begun} {time.time()}\n")

        if bare:
            wait()
            return {"stopped": 0}
        import sys

        sys.path.insert(0, source_root)
        from sweeper.driver import tune
        from sweeper.driver.worker import Worker

        Worker.run = wait  # type: ignore[method-assign]
        return tune.trial(config, **given)

    return carry_out_job


def _read(note: Path) -> list[tuple[float, float]]:
    """When a process waited, in order."""
    lines = [line.split() for line in note.read_text(encoding="utf-8").splitlines()]
    return sorted((float(begun), float(ended)) for begun, ended in lines)


def _busy(waits: Waits) -> float:
    """The share of their time that workers wait in, as long as all of them have stacks to carry out."""
    first, last = max(each[0][0] for each in waits.values()), min(each[-1][1] for each in waits.values())
    spent = sum(max(min(b, last) - max(a, first), 0.0) for each in waits.values() for a, b in each)
    return spent / (len(waits) * (last - first))
