"""From cells that are missing to jobs: cells of one shape, from one step to another, trained as one stack."""

from __future__ import annotations

import hashlib
import itertools
import math
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.cell import Cell, cell_id, cell_size, cell_work, joint_steps
from models.cell.registry import find
from models.evaluation.settings import Evaluation
from sweeper.machine import Machine
from sweeper.planning.balance import STEP_FLOPS, Group, balanced
from sweeper.planning.decide import Item
from sweeper.store import Store
from sweeper.study import Study

# Beyond these a stack on a CPU is hardly faster, and a finished cell waits longer for its commit: small cells need more
# company to make a step's fixed cost small (`benchmarks train`).
MAX_CPU_STACK, MAX_CPU_STACK_OF_SMALL = 12, 48
MIN_CPU_STEP_FLOPS = 1.5e9  # of all cells of a stack: with fewer the cells are small
MAX_GPU_STACK = 256
MEMORY_SHARE = 0.5  # of what is available, for all workers together: the model of memory is rough


@dataclass(frozen=True)
class Job:
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
    validation_gradient_variance: int
    validation_mutual_information: int
    validation_posterior_mean: int

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Ids of the cells, in their order here."""
        return tuple(cell_id(cell) for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """The job as plain JSON values, the form in which it travels to a worker."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        """The inverse of `to_dict`."""
        cells = tuple(Cell(**fields) for fields in values["cells"])
        return cls(**(values | {"cells": cells, "evaluation": Evaluation(**values["evaluation"])}))


def make_jobs(
    study: Study, items: Sequence[Item], workers: int, max_stack: Callable[[Cell], int], device: str
) -> list[Job]:
    """Jobs for `items`, the longest first: each of one shape, start and end, in full rounds of the workers that a shape
    is work for, or of other sizes where all workers are then done sooner.

    `max_stack`: the most cells of a cell's shape in one stack.
    """
    groups: dict[tuple[Any, ...], list[Item]] = defaultdict(list)
    for item in items:
        groups[(item.cell.timing(), item.start, item.steps)].append(item)
    kinds = [_group(group, max_stack(group[0].cell), device) for group in groups.values()]
    share = sum(kind.cells * kind.per_cell for kind in kinds) / workers
    sizes = []
    for kind in kinds:
        its_workers = math.ceil(kind.cells * kind.per_cell / share - 1e-9) if share else 1
        rounds = math.ceil(kind.cells / (kind.max_stack * its_workers))
        stacks = min(rounds * its_workers, kind.cells)  # in full rounds: a last one on few workers idles the others
        sizes.append([(number + 1) * kind.cells // stacks - number * kind.cells // stacks for number in range(stacks)])
    if not study.run.max_stack:  # who sets it may want stacks that can be compared
        sizes = balanced(kinds, sizes, workers)
    jobs = []
    for kind, group, parts in zip(kinds, groups.values(), sizes, strict=True):
        waiting = iter(sorted(group, key=lambda item: item.cell.seed))  # cells of one seed share their draws
        jobs += [(kind.work(count), _job(study, list(itertools.islice(waiting, count)), device)) for count in parts]
    return [job for _, job in sorted(jobs, key=lambda each: -each[0])]


def _group(items: Sequence[Item], most: int, device: str) -> Group:
    """What the balance of stacks has to know of cells that may share one, `most` of them."""
    first = items[0]
    steps = max(first.steps, first.start + 1)
    fixed = STEP_FLOPS[device] * joint_steps(first.cell, first.start, steps)
    return Group(len(items), most, fixed, cell_work(first.cell, first.start, steps))


def max_stack(cell: Cell, study: Study, store: Store | None, workers: int, device: str, here: Machine) -> int:
    """Most cells of this shape in one stack: as memory, the network, the study and the device's habits allow."""
    remembered = store.fitting(fitting_key(cell, device)) if store else 0
    budget = study.run.memory_gb * 1e9
    if not budget:
        available = min(here.gpu_memory_bytes) if device == "cuda" and here.gpu_memory_bytes else here.memory_bytes
        budget = MEMORY_SHARE * available / (1 if device == "cuda" else workers)
    fits = max(1, int(budget // cell_size(cell).memory_bytes))
    habit = MAX_GPU_STACK
    if device == "cpu":
        fills_a_core = math.ceil(MIN_CPU_STEP_FLOPS / cell_size(cell).flops)
        habit = min(max(MAX_CPU_STACK, fills_a_core), MAX_CPU_STACK_OF_SMALL)
    limit = find("network", cell.network).max_stack or fits
    return min(fits, limit, remembered or fits, study.run.max_stack or habit)


def fitting_key(cell: Cell, device: str) -> str:
    """Names a shape on a type of device of this machine, for remembering how many such cells fit in its memory."""
    return hashlib.sha256(repr((socket.gethostname(), device, cell.shape())).encode()).hexdigest()[:16]


def _job(study: Study, items: Sequence[Item], device: str) -> Job:
    first = items[0]
    return Job(
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
        validation_gradient_variance=study.evaluation.validation_gradient_variance,
        validation_mutual_information=study.evaluation.validation_mutual_information,
        validation_posterior_mean=study.evaluation.validation_posterior_mean,
    )
