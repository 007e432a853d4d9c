"""From a study and its store to the work that is missing: cells → orders for stacks. No torch, nothing written.

What is asked for less what is committed is what a run does; resuming is nothing else. A cell that has a checkpoint goes
on from it, one that is trained but evaluated otherwise is evaluated anew, and the rest start at step 0.

A study that refines asks for its grid, for the cells of the store that lie on its curves, whether finished or begun,
and for what follows from these.
"""

from __future__ import annotations

import hashlib
import math
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.cell import CONTINUE, Cell, cell_id, cell_size
from models.cell.continuation import Passed, origin
from models.cell.registry import find
from models.evaluation.settings import Evaluation
from sweeper.errors import StoreDamaged, StudyError
from sweeper.machine import Machine, machine
from sweeper.parameters.control import RHO
from sweeper.settled import settled
from sweeper.store import Committed, Store
from sweeper.store.records import read_record, record_paths
from sweeper.study import Study

if TYPE_CHECKING:
    from sweeper.refine.ask import Proposal

# Beyond these a stack on a CPU is hardly faster, and a finished cell waits longer for its commit: small cells need more
# company to make a step's fixed cost small (`benchmarks train`).
CPU_STACK, CPU_STACK_OF_SMALL, CPU_STEP_FLOPS = 12, 48, 1.5e9
GPU_STACK = 256
MEMORY_SHARE = 0.5  # of what is available, for all workers together: the model of memory is rough


@dataclass(frozen=True)
class Item:
    """One cell of the study and what is to be done with it.

    `action`: `done`, `diverged` (finished as well, or there is nothing to take over), `train`, `continue`, `evaluate`
    or `wait` (for the cell whose weights it takes over); `start`: step it goes on from; `steps`: where it goes to;
    `why`: a few words for people.
    """

    cell: Cell
    cell_id: str
    action: str
    start: int
    steps: int
    why: str

    @property
    def missing(self) -> bool:
        """Whether a run has anything to do for it."""
        return self.action not in ("done", "diverged")


@dataclass(frozen=True)
class Order:
    """What one worker is asked to do: cells of one shape, from one step, to be trained and evaluated as one stack."""

    name: str
    study: str
    cells: tuple[Cell, ...]
    steps: int
    start: int
    evaluation: Evaluation
    every: int
    validation_images: int
    pictures: int
    checkpoint_s: float
    hang_s: float
    start_s: float
    keep: str
    device: str
    threads: int

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Ids of the cells, in order."""
        return tuple(cell_id(cell) for cell in self.cells)

    @property
    def work(self) -> float:
        """Floating-point operations of its training: to take the longest first."""
        return sum(float(cell_size(cell).flops) for cell in self.cells) * (self.steps - self.start)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, the form in which it travels to a worker."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Order:
        """The inverse of `to_dict`."""
        cells = tuple(Cell(**fields) for fields in values["cells"])
        return cls(**(values | {"cells": cells, "evaluation": Evaluation(**values["evaluation"])}))


@dataclass(frozen=True)
class Plan:
    """All cells of a study with what is missing of them, and the orders that would supply it.

    `refinement`: where each curve of a study that refines stands; the cells that it asks for next are among the items.
    """

    study: Study
    items: tuple[Item, ...]
    orders: tuple[Order, ...]
    workers: int
    device: str
    refinement: tuple[Proposal, ...] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Cells by action."""
        return dict(Counter(item.action for item in self.items))

    @cached_property
    def missing(self) -> tuple[Item, ...]:
        """Cells that a run has something to do for."""
        return tuple(item for item in self.items if item.missing)

    @property
    def memory_bytes(self) -> int:
        """Of the largest stack, estimated."""
        return max((sum(cell_size(c).memory_bytes for c in order.cells) for order in self.orders), default=0)

    @property
    def disk_bytes(self) -> int:
        """Of the kept states of the missing cells, and two generations of checkpoints of the running stacks."""
        per_number = {"full": 12, "weights": 4, "none": 0}[self.study.train.keep]
        kept = sum(cell_size(item.cell).parameters * per_number for item in self.missing)
        largest = max((sum(cell_size(c).parameters for c in order.cells) for order in self.orders), default=0)
        return kept + 2 * 12 * largest * self.workers


def make_plan(
    study: Study,
    store: Store | None,
    here: Machine | None = None,
    ordered: Sequence[Cell] = (),
    failed: Collection[str] = (),
    free: int | None = None,
) -> Plan:
    """What a run of `study` on `store` would do (None: the store does not exist yet).

    In the midst of a run, ordered: cells it was asked for already, which are in the plan and in no order; failed: ids
    of those that came to nothing; free: workers without an order [all].
    What the study leaves open is as the store has it (`sweeper.settled`), and said in the plan's study.
    Raises StudyError where the study asks for a GPU and there is none, or refines and has no curve.
    """
    here, study = here or machine(), settled(study, store)
    device = study.run.device if study.run.device != "auto" else ("cuda" if here.gpu_memory_bytes else "cpu")
    if device == "cuda" and not here.gpu_memory_bytes:
        raise StudyError("run.device: cuda asked for, and there is no GPU here; auto or cpu trains on the processor")
    asked = tuple(dict.fromkeys([*asked_cells(study, store), *ordered]))
    items = _items(study, asked, store)
    refinement: tuple[Proposal, ...] = ()
    if study.refine is not None:
        refinement = tuple(_proposals(study, store, items, failed))
        items += [
            Item(cell, cell_id(cell), "train", 0, study.steps, f"refinement: {proposal.advice.why}")
            for proposal in refinement
            for cell in proposal.cells
        ]
    workers = study.run.workers or (max(1, len(here.gpu_memory_bytes)) if device == "cuda" else here.cores)
    if study.run.executor == "inline":
        workers = 1
    elif not study.run.workers and device == "cpu":
        workers = max(1, here.cores // study.run.threads)
    had = set(ordered)
    todo = [item for item in items if item.missing and item.action != "wait" and item.cell not in had]
    orders = _orders(
        study,
        todo,
        workers if free is None else free,
        lambda cell: _largest_stack(cell, study, store, workers, device, here),
        device,
    )
    if study.refine is None:
        workers = min(workers, max(len(orders), 1))
    return Plan(study, tuple(items), tuple(orders), workers, device, refinement)


def asked_cells(study: Study, store: Store | None) -> tuple[Cell, ...]:
    """The cells that a study asks for: its grid and, where it refines, what the store has on its curves."""
    if study.refine is None or store is None:
        return study.cells
    from sweeper.refine.lines import lines_of, points_of

    begun = (meta["cell"] for record in store.running() for meta in record.meta["cells"].values() if "cell" in meta)
    texts = [*store.read("cells")[0]["cell"].to_pylist(), *begun]
    lines = lines_of(study.cells, RHO)
    found = points_of(lines, map(Cell.from_json, texts))
    return tuple(dict.fromkeys([*study.cells, *(cell for points in found.values() for cell in points.values())]))


def _proposals(study: Study, store: Store | None, items: Sequence[Item], failed: Collection[str]) -> list[Proposal]:
    """What refinement asks for next, given what is finished of the cells asked for so far."""
    from sweeper.refine.ask import ask
    from sweeper.refine.lines import lines_of
    from sweeper.refine.points import Goal

    assert study.refine is not None
    lines = lines_of(study.cells, RHO)
    if not lines:
        raise StudyError(
            "refine: there is no curve to refine: no cell of the study is smoothed (objective: ou, rho < 1)"
        )
    values: dict[str, float | None] = {}
    if store is not None:
        rows = store.read("cells")[0].select(["cell_id", study.analysis.order_parameter])
        values = dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    over = [item for item in items if not item.missing or item.cell_id in failed]
    return ask(
        lines,
        Goal(study.refine.half_width, study.refine.cells),
        study.analysis.rho_ref,
        {item.cell: None if item.missing else values.get(item.cell_id) for item in over},
        [item.cell for item in items if item.missing and item.cell_id not in failed],
        failed,
    )


def fitting_key(cell: Cell, device: str) -> str:
    """Names a shape on a type of device of this machine, for remembering how many such cells fit in its memory."""
    return hashlib.sha256(repr((socket.gethostname(), device, cell.shape())).encode()).hexdigest()[:16]


def _items(study: Study, cells: Sequence[Cell], store: Store | None) -> list[Item]:
    committed = store.committed() if store else {}
    running: dict[str, list[int]] = defaultdict(list)
    for record in store.running() if store else []:
        for name in record.cell_ids:
            running[name].append(record.step)
    kept = store.states() if store else {}
    evaluations = {data: study.evaluation_settings(data).accepted() for data in {cell.data for cell in cells}}
    asked, items = study.steps, []
    for cell in cells:
        name = cell_id(cell)
        rows = committed.get(name, [])
        if any(row.satisfies(asked, evaluations[cell.data]) for row in rows):
            gone = all(row.state == "diverged" for row in rows)
            items.append(Item(cell, name, "diverged" if gone else "done", asked, asked, "finished"))
            continue
        most = max((row.steps for row in rows), default=-1)
        steps = max(asked, most)  # fewer steps than a committed row has would never replace it
        state = kept.get(name, 0)
        if state == most == steps:
            items.append(Item(cell, name, "evaluate", steps, steps, "evaluated with other settings"))
            continue
        start = max((step for step in running[name] if step <= steps), default=0)
        if start < state <= steps and (state == steps or _can_train_on(store, name)):
            start = state
        if most == steps:
            why = "evaluated with other settings, and its state was not kept"
        elif rows:
            why = f"{asked:,} steps asked, {most:,} done" + ("" if start else ", and no state to train on was kept")
        else:
            why = f"stopped at step {start:,}" if start else "new"
        action = "continue" if start else "train"
        if not start and cell.procedure.startswith(CONTINUE):
            action, why = _taking_over(cell, committed, kept) or (action, why)
        items.append(Item(cell, name, action, start, steps, why))
    return items


def _taking_over(
    cell: Cell, committed: Mapping[str, Sequence[Committed]], kept: Mapping[str, int]
) -> tuple[str, str] | None:
    """What keeps a cell from taking over weights, as action and reason; None if they are there."""
    passed, before = Passed.of(cell.procedure), origin(cell)
    assert passed is not None and before is not None
    if kept.get(cell_id(before)) == passed.steps:
        return None
    earlier: Cell | None = before
    while earlier is not None:
        rows = committed.get(cell_id(earlier), [])
        if rows and all(row.state == "diverged" for row in rows):
            return "diverged", f"its branch diverged at rho = {earlier.rho:g}"
        earlier = origin(earlier)
    if committed.get(cell_id(before)):
        return "wait", f"its origin's weights at step {passed.steps:,} were not kept: use a store of its own"
    return "wait", "the cell before it in its branch comes first"


def _can_train_on(store: Store | None, name: str) -> bool:
    """Whether a cell's kept state has the optimiser's moments, as it says itself."""
    try:
        record = read_record(record_paths(store.paths.kept(name))[0]) if store else None
    except (StoreDamaged, IndexError):
        return False
    return record is not None and bool(record.meta.get("trainable", True))


def _orders(
    study: Study, items: Sequence[Item], workers: int, largest: Callable[[Cell], int], device: str
) -> list[Order]:
    """Stacks of one shape, start and end, small enough for memory and for every worker to have one; longest first."""
    groups: dict[tuple[Any, ...], list[Item]] = defaultdict(list)
    for item in items:
        groups[(item.cell.shape(), item.start, item.steps)].append(item)
    works = {key: sum(cell_size(i.cell).flops * max(i.steps - i.start, 1) for i in g) for key, g in groups.items()}
    share = sum(works.values()) / workers if works else 0.0
    orders = []
    for key, unsorted in groups.items():
        group = sorted(unsorted, key=lambda item: item.cell.seed)  # cells of one seed share their draws
        most = largest(group[0].cell)
        its_workers = math.ceil(works[key] / share - 1e-9) if share else 1
        rounds = math.ceil(len(group) / (most * its_workers))
        stacks = min(rounds * its_workers, len(group))  # in full rounds: a last one on few workers idles the others
        for number in range(stacks):
            part = group[number * len(group) // stacks : (number + 1) * len(group) // stacks]
            orders.append(_order(study, part, device))
    return sorted(orders, key=lambda order: -order.work)


def _largest_stack(cell: Cell, study: Study, store: Store | None, workers: int, device: str, here: Machine) -> int:
    """Most cells of this shape in one stack: as memory, the study and the device's habits allow."""
    remembered = store.fitting(fitting_key(cell, device)) if store else 0
    budget = study.run.memory_gb * 1e9
    if not budget:
        available = min(here.gpu_memory_bytes) if device == "cuda" and here.gpu_memory_bytes else here.memory_bytes
        budget = MEMORY_SHARE * available / (1 if device == "cuda" else workers)
    fits = max(1, int(budget // cell_size(cell).memory_bytes))
    habit = GPU_STACK
    if device == "cpu":
        habit = min(max(CPU_STACK, math.ceil(CPU_STEP_FLOPS / cell_size(cell).flops)), CPU_STACK_OF_SMALL)
    limit = find("network", cell.network).max_stack or fits
    return min(fits, limit, remembered or fits, study.run.max_stack or habit)


def _order(study: Study, items: Sequence[Item], device: str) -> Order:
    first = items[0]
    return Order(
        name=f"{first.cell_id[:12]}-{len(items)}",
        study=study.name,
        cells=tuple(item.cell for item in items),
        steps=first.steps,
        start=first.start,
        evaluation=study.evaluation_settings(first.cell.data),
        every=study.evaluation.every,
        validation_images=study.evaluation.validation_images,
        pictures=study.evaluation.pictures,
        checkpoint_s=study.train.checkpoint_s,
        hang_s=study.run.hang_s,
        start_s=study.run.start_s,
        keep=study.train.keep,
        device=device,
        threads=study.run.threads,
    )
