"""Where the cells of a job start: at step 0, at a checkpoint, at a kept state, or with the weights of other cells.

The store decides: it is asked when a worker begins, so that a job may be run again at any time, by any process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import models.data
from models.cell import Cell, cell_id
from models.cell.continuation import Passed, origin
from models.stack.stack import Stack
from sweeper.driver.states import as_stack_of_one, can_be_trained
from sweeper.errors import StoreDamaged
from sweeper.planning import Job
from sweeper.store import Store


@dataclass(frozen=True)
class Source:
    """A state in the store: a checkpoint of `attempt`, or the cell's own kept state where `attempt` is empty."""

    step: int
    attempt: str = ""


@dataclass
class Start:
    """Cells that go on from one step. By cell id: the arrays of their states, each (1, …), and what lay beside these.

    Both are empty where they start at step 0.
    """

    step: int
    cells: list[Cell] = field(default_factory=list)
    states: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    metas: dict[str, dict[str, Any]] = field(default_factory=dict)


def find_starts(job: Job, store: Store, kept: Mapping[str, int], say: Callable[[str], object]) -> list[Start]:
    """The job's unfinished cells by the step of their most advanced state that loads, in rising order of steps.

    A state that is damaged is said and not used: its cells fall back to their next best one, in the end to step 0.

    Args:
        kept: steps of the kept states, by cell id.
    """
    starts: dict[int, Start] = {}
    missing = _unfinished(job, store)
    found = _load_best(_sources(job, store, missing, kept), job.steps, store, say)
    for cell in missing:
        name = cell_id(cell)
        step = found[name][0] if name in found else 0
        start = starts.setdefault(step, Start(step))
        start.cells.append(cell)
        if name in found:
            _, start.states[name], start.metas[name] = found[name]
    return [starts[step] for step in sorted(starts)]


def make_stack(start: Start, job: Job, store: Store, kept: Mapping[str, int]) -> Stack:
    """The stack of a start, whose states it takes over. Raises StoreDamaged where weights to begin with are gone."""
    stack = Stack(start.cells, models.data.data_of(start.cells[0]), job.device)
    if start.step:
        stack.load(_stacked(start, stack), start.step)
    else:
        _take_over(stack, store, kept)
    return stack


def _unfinished(job: Job, store: Store) -> list[Cell]:
    committed, evaluations = store.committed(), job.evaluation.accepted()
    return [
        cell
        for cell in job.cells
        if not any(row.satisfies(job.steps, evaluations) for row in committed.get(cell_id(cell), []))
    ]


def _sources(job: Job, store: Store, cells: Sequence[Cell], kept: Mapping[str, int]) -> dict[str, list[Source]]:
    """By cell id: the states that the job could go on from, most steps first, a kept one before a checkpoint."""
    sources = {cell_id(cell): [Source(kept.get(cell_id(cell), 0))] for cell in cells}
    for record in store.running():
        for name in sources.keys() & set(record.cell_ids):
            sources[name].append(Source(record.step, record.attempt))
    return {
        name: sorted((each for each in found if 0 < each.step <= job.steps), key=lambda source: -source.step)
        for name, found in sources.items()
    }


def _load_best(
    sources: Mapping[str, list[Source]], steps: int, store: Store, say: Callable[[str], object]
) -> dict[str, tuple[int, dict[str, np.ndarray], dict[str, Any]]]:
    """Step, state and meta of each cell that has a source that loads. A checkpoint is read once for all its cells."""
    found = {}
    waiting = list(sources)
    while waiting:
        asked: dict[Source, list[str]] = defaultdict(list)
        for name in waiting:
            if sources[name]:
                asked[sources[name].pop(0)].append(name)
        for source, names in asked.items():
            for group in [names] if source.attempt else [[name] for name in names]:
                try:
                    loaded = _load(source, group, store)
                except StoreDamaged as fault:
                    say(f"not used: {fault}")
                    continue
                for name, (state, meta) in loaded.items():
                    if can_be_trained(state) or source.step == steps:  # weights alone are only evaluated
                        found[name] = source.step, state, meta
        waiting = [name for names in asked.values() for name in names if name not in found]
    return found


def _load(
    source: Source, names: Sequence[str], store: Store
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """State, each array (1, …), and meta of these cells. Raises StoreDamaged."""
    if not source.attempt:
        (name,) = names
        kept, meta = store.load_state(name)
        return {name: (as_stack_of_one(kept), meta)}
    arrays, meta = store.load_running(source.attempt, source.step, names)
    return {
        name: ({key: array[i : i + 1] for key, array in arrays.items()}, meta["cells"][name])
        for i, name in enumerate(names)
    }


def _stacked(start: Start, stack: Stack) -> dict[str, torch.Tensor]:
    """The states as one, which are gone afterwards; moments that were not kept are zero (it is only evaluated)."""
    ids = [cell_id(cell) for cell in start.cells]
    stacked = {}
    for key, like in stack.tensors().items():
        parts = [start.states[name].get(key) for name in ids]
        whole = [part for part in parts if part is not None]
        if len(whole) == len(parts):
            stacked[key] = torch.from_numpy(np.concatenate(whole))
        elif key.startswith(("adam.", "sgd.", "best/")):
            stacked[key] = like
        else:
            raise StoreDamaged(f"a kept state of {', '.join(ids)} lacks {key}")
    start.states.clear()
    return stacked


def _take_over(stack: Stack, store: Store, kept: Mapping[str, int]) -> None:
    """Give cells that continue from others the weights of these. Raises StoreDamaged where they are gone."""
    tensors = stack.tensors()
    for i, cell in enumerate(stack.cells):
        passed, before = Passed.of(cell.procedure), origin(cell)
        if passed is None or before is None:
            continue
        if kept.get(cell_id(before)) != passed.steps:
            raise StoreDamaged(f"{cell_id(cell)} continues from {cell_id(before)}, whose state is not there")
        state, _ = store.load_state(cell_id(before))
        for name in stack.params:
            tensors[f"param/{name}"][i].copy_(torch.from_numpy(state[f"param/{name}"]))
