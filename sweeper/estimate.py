"""What a plan will cost: from the timings of finished cells, or from a short measured run of each shape."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cell import Cell
from models.registry import cell_size
from sweeper.errors import StoreDamaged
from sweeper.plan import Order, Plan
from sweeper.store import Store

PROBE_STEPS, WARM_UP_STEPS = 20, 3
OF_A_SHAPE, OF_OTHERS = 5, 50  # rows read for the cost of a plan

StepTimes = Mapping[tuple[Any, ...], float]  # seconds of one cell's step, by the cell's shape


@dataclass(frozen=True)
class Cost:
    """Of all that is missing. `device_s`: seconds of workers' time; `wall_s`: with all workers busy.

    `source` says what it rests on. Evaluation and starting up are not in it.
    """

    device_s: float
    wall_s: float
    source: str


def estimate(plan: Plan, times: StepTimes, source: str) -> Cost | None:
    """The plan's cost from seconds per cell-step; None if a shape was never timed."""
    if not plan.orders or any(order.cells[0].shape() not in times for order in plan.orders):
        return None
    each = [times[o.cells[0].shape()] * len(o.cells) * (o.steps - o.start) for o in plan.orders]
    return Cost(sum(each), max(sum(each) / plan.workers, max(each)), source)


def times_of(plan: Plan, store: Store | None) -> StepTimes:
    """Median seconds of a cell's step by shape, from some of the store's rows of the plan's type of device.

    Of ten thousand rows only a few are read: `OF_A_SHAPE` of each shape that the plan trains. Their shapes are those of
    the study's own cells; where it has none finished, `OF_OTHERS` rows of other studies are looked at.
    """
    shapes = {item.cell_id: item.cell.shape() for item in plan.items}
    wanted = {order.cells[0].shape() for order in plan.orders}
    if store is None or not wanted:
        return {}
    found: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    left, others = Counter(dict.fromkeys(wanted, OF_A_SHAPE)), []
    for name, (row, *_) in store.committed().items():
        shape = shapes.get(name)
        if shape is None:
            others.append(row.path)
        elif left[shape] > 0:
            left[shape] -= 1
            _read(store, row.path, plan.device, found)
    if wanted - found.keys():
        for path in others[:OF_OTHERS]:
            _read(store, path, plan.device, found)
    return {shape: sorted(each)[len(each) // 2] for shape, each in found.items()}


def _read(store: Store, path: Path, device: str, found: dict[tuple[Any, ...], list[float]]) -> None:
    """Add a row's timing to `found`, if it is of this device and whole."""
    with suppress(StoreDamaged):
        row = store.read_row(path)
        if row["device"] == device:
            found[Cell.from_json(row["cell"]).shape()].append(row["step_s"])


def probe(plan: Plan) -> StepTimes:
    """Train the first stack of each shape for a moment, in this process, and time it. Imports torch."""
    times: dict[tuple[Any, ...], float] = {}
    for order in plan.orders:
        times.setdefault(order.cells[0].shape(), 0.0)
        if not times[order.cells[0].shape()]:
            times[order.cells[0].shape()] = _probe(order)
    return times


def _probe(order: Order) -> float:
    import torch

    from models.data import load
    from models.training import Stack

    before = torch.get_num_threads()
    torch.set_num_threads(order.threads)
    try:
        stack = Stack(order.cells, load(order.cells[0].data), order.device)
        stack.train(WARM_UP_STEPS)
        begun = time.perf_counter()
        stack.train(WARM_UP_STEPS + PROBE_STEPS)
        if order.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) / PROBE_STEPS / len(order.cells)
    finally:
        torch.set_num_threads(before)


def relative_work(plan: Plan) -> dict[str, float]:
    """Share of each missing cell in the plan's operations, by cell id; the shares sum to 1."""
    work = {item.cell_id: float(cell_size(item.cell).flops) * max(item.steps - item.start, 1) for item in plan.missing}
    total = sum(work.values()) or 1.0
    return {name: amount / total for name, amount in work.items()}
