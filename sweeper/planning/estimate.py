"""What a plan will cost: from the timings of finished cells, or from a short measured run of each shape."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.cell import CONTINUE, Cell, cell_id, cell_work
from models.cell.continuation import COLD, Passed, branch, cold_start
from sweeper.errors import StoreDamaged
from sweeper.planning import Item, Job, Plan
from sweeper.store import Store

PROBE_STEPS, WARM_UP_STEPS = 20, 3
MAX_ROWS_PER_SHAPE, MAX_ROWS_OF_OTHERS = 5, 50  # read for the cost of a plan

Shape = tuple[Any, ...]
StepTimes = Mapping[Shape, float]  # seconds of one cell's step, by the shape as which it is timed


@dataclass(frozen=True)
class Cost:
    """Of all that is missing. `device_s`: seconds of workers' time; `wall_s`: with all workers busy.

    `source` says what it rests on. Evaluation and starting up are not in it.
    """

    device_s: float
    wall_s: float
    source: str


def estimate(plan: Plan, times: StepTimes, source: str) -> Cost | None:
    """The plan's cost from seconds per cell-step; None if a shape was never timed.

    Cells that wait for others are in it: a branch's one after the other, its seeds together.
    """
    waiting = [item for item in plan.items if item.action == "wait"]
    cells = [cell for job in plan.jobs for cell in job.cells] + [item.cell for item in waiting]
    if not cells or any(_timed_as(cell) not in times for cell in cells):
        return None
    each = [times[_timed_as(o.cells[0])] * len(o.cells) * (o.steps - o.start) for o in plan.jobs]
    later = [times[_timed_as(item.cell)] * (item.steps - item.start) for item in waiting]
    total = sum(each) + sum(later)
    return Cost(total, max([total / plan.workers, *each, *_branches(plan, each, waiting, later)]), source)


def _branches(plan: Plan, jobs: list[float], waiting: list[Item], later: list[float]) -> list[float]:
    """Seconds of each branch with waiting cells, from those of the jobs and of the waiting cells."""
    most = max((len(job.cells) for job in plan.jobs), default=1)
    begun = {name: seconds for job, seconds in zip(plan.jobs, jobs, strict=True) for name in job.cell_ids}
    places: dict[tuple[Shape, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    first: dict[tuple[Shape, str], float] = {}
    for item, seconds in zip(waiting, later, strict=True):
        passed = Passed.of(item.cell.procedure)
        assert passed is not None  # nothing else waits
        key = item.cell.shape(), branch(item.cell.procedure, item.cell.rho)
        places[key][len(passed.rhos)].append(seconds)
        first[key] = begun.get(cell_id(cold_start(item.cell)), 0.0)
    return [first[key] + sum(sum(cells[:most]) for cells in each.values()) for key, each in places.items()]


def _timed_as(cell: Cell) -> Shape:
    """The shape whose steps take as long: with weights taken over as from a cold start."""
    if CONTINUE not in cell.shape():
        return cell.timing()
    return replace(cell, procedure=COLD, rho=min(cell.rho, 0.5)).timing()  # a cold start at ρ = 1 smooths nothing


def _cold(cell: Cell) -> Cell:
    """A cell that starts cold and is timed as this one. Begun cold, one at ρ = 1 would be the plain VAE: not that."""
    passed = Passed.of(cell.procedure)
    return cell if passed is None else replace(cell, procedure=COLD, rho=min(cell.rho, *passed.rhos))


def times_of(plan: Plan, store: Store | None) -> StepTimes:
    """Median seconds of a cell's step by shape, from some of the store's rows of the plan's type of device.

    Of ten thousand rows only a few are read: `MAX_ROWS_PER_SHAPE` of each shape that the plan trains. Their shapes are
    those of the study's own cells; where it has none finished, `MAX_ROWS_OF_OTHERS` rows of other studies are read.
    """
    shapes = {item.cell_id: _timed_as(item.cell) for item in plan.items}
    wanted = {shapes[item.cell_id] for item in plan.missing}
    if store is None or not wanted:
        return {}
    found: dict[Shape, list[float]] = defaultdict(list)
    left, others = Counter(dict.fromkeys(wanted, MAX_ROWS_PER_SHAPE)), []
    for name, (row, *_) in store.committed().items():
        shape = shapes.get(name)
        if shape is None:
            others.append(row.path)
        elif left[shape] > 0:
            left[shape] -= 1
            _read(store, row.path, plan.device, found)
    if wanted - found.keys():
        for path in others[:MAX_ROWS_OF_OTHERS]:
            _read(store, path, plan.device, found)
    return {shape: sorted(each)[len(each) // 2] for shape, each in found.items()}


def _read(store: Store, path: Path, device: str, found: dict[Shape, list[float]]) -> None:
    """Add a row's timing to `found`, if it is of this device and whole."""
    with suppress(StoreDamaged):
        row = store.read_row(path, ["device", "cell", "step_s"])
        if row["device"] == device:
            found[_timed_as(Cell.from_json(row["cell"]))].append(row["step_s"])


def probe(plan: Plan) -> StepTimes:
    """Train a stack of each shape for a moment, in this process, and time it. Imports torch."""
    times: dict[Shape, float] = {}
    for job in plan.jobs:
        if _timed_as(job.cells[0]) not in times:
            cold = replace(job, cells=tuple(map(_cold, job.cells)))
            times[_timed_as(job.cells[0])] = _probe(cold)
    return times


def _probe(job: Job) -> float:
    import torch

    from models.data import data_of
    from models.stack.heap import keep_freed_memory
    from models.stack.stack import Stack

    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    keep_freed_memory()
    try:
        stack = Stack(job.cells, data_of(job.cells[0]), job.device)
        moments = []
        for steps in (WARM_UP_STEPS, WARM_UP_STEPS + PROBE_STEPS):
            stack.train(steps)
            if job.device == "cuda":
                torch.cuda.synchronize()
            moments.append(time.perf_counter())
        return (moments[1] - moments[0]) / PROBE_STEPS / len(job.cells)
    finally:
        torch.set_num_threads(before)


def relative_work(plan: Plan) -> dict[str, float]:
    """Share of each missing cell in the plan's operations, by cell id; the shares sum to 1."""
    work = {item.cell_id: cell_work(item.cell, item.start, max(item.steps, item.start + 1)) for item in plan.missing}
    total = sum(work.values()) or 1.0
    return {name: amount / total for name, amount in work.items()}
