"""The plan of a run: every cell of the study with what is missing of it, and the jobs that would supply that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.cell import Cell, cell_id, cell_size
from sweeper.errors import StudyError
from sweeper.machine import Machine, machine
from sweeper.planning.decide import Item, decide
from sweeper.planning.evidence import gather
from sweeper.planning.jobs import Job, make_jobs, max_stack
from sweeper.planning.refinement import asked_cells, proposals
from sweeper.planning.settled import settled
from sweeper.store import Store
from sweeper.study import Study

if TYPE_CHECKING:
    from sweeper.refine.ask import Proposal


@dataclass(frozen=True)
class Plan:
    """All cells of a study with what is missing of them, and the jobs that would supply it.

    `refinement`: where each curve of a study that refines stands; the cells that it asks for next are among the items.
    """

    study: Study
    items: tuple[Item, ...]
    jobs: tuple[Job, ...]
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
        return max((sum(cell_size(c).memory_bytes for c in job.cells) for job in self.jobs), default=0)

    @property
    def disk_bytes(self) -> int:
        """Of the kept states of the missing cells, and two generations of checkpoints of the running stacks."""
        per_number = {"full": 12, "weights": 4, "none": 0}[self.study.train.keep]
        kept = sum(cell_size(item.cell).parameters * per_number for item in self.missing)
        largest = max((sum(cell_size(c).parameters for c in job.cells) for job in self.jobs), default=0)
        return kept + 2 * 12 * largest * self.workers

    def to_dict(self, estimate: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Plain values for JSON; `estimate`: those of what it will cost."""
        stacks = [{"name": o.name, "cells": len(o.cells), "start": o.start, "steps": o.steps} for o in self.jobs]
        return {
            "study": self.study.name,
            "cells": len(self.items),
            "steps": self.study.steps,
            "counts": self.counts,
            "missing": len(self.missing),
            "workers": self.workers,
            "device": self.device,
            "stacks": stacks,
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
            "estimate": estimate,
            "to_do": [{"cell_id": i.cell_id, "action": i.action, "start": i.start, "why": i.why} for i in self.missing],
            "refinement": [proposal.to_dict() for proposal in self.refinement],
        }


def make_plan(
    study: Study,
    store: Store | None,
    here: Machine | None = None,
    planned: Sequence[Cell] = (),
    failed: Collection[str] = (),
    free: int | None = None,
) -> Plan:
    """What a run of `study` on `store` would do (None: the store does not exist yet).

    In the midst of a run, planned: cells that have a job already, which are in this plan's items and in none of its
    jobs; failed: ids of those that came to nothing; free: workers without a job [all].
    What the study leaves open is as the store has it (`planning.settled`), and said in the plan's study.
    Raises StudyError where the study asks for a GPU and there is none, or refines and has no curve.
    """
    here, study = here or machine(), settled(study, store)
    device = _device(study, here)
    asked = tuple(dict.fromkeys([*asked_cells(study, store), *planned]))
    evidence = gather(study, asked, store)
    items = [decide(cell, evidence) for cell in asked]
    refinement: tuple[Proposal, ...] = ()
    if study.refine is not None:
        refinement = tuple(proposals(study, store, items, failed))
        items += [
            Item(cell, cell_id(cell), "train", 0, study.steps, f"refinement: {proposal.advice.why}")
            for proposal in refinement
            for cell in proposal.cells
        ]
    workers = _workers(study, device, here)
    had = set(planned)
    jobs = make_jobs(
        study,
        [item for item in items if item.missing and item.action != "wait" and item.cell not in had],
        workers if free is None else free,
        lambda cell: max_stack(cell, study, store, workers, device, here),
        device,
    )
    if study.refine is None:
        workers = min(workers, max(len(jobs), 1))
    return Plan(study, tuple(items), tuple(jobs), workers, device, refinement)


def _device(study: Study, here: Machine) -> str:
    device = study.run.device if study.run.device != "auto" else ("cuda" if here.gpu_memory_bytes else "cpu")
    if device == "cuda" and not here.gpu_memory_bytes:
        raise StudyError("run.device: cuda asked for, and there is no GPU here; auto or cpu trains on the processor")
    return device


def _workers(study: Study, device: str, here: Machine) -> int:
    """How many stacks are trained side by side."""
    if study.run.executor == "inline":
        return 1
    if study.run.workers:
        return study.run.workers
    if device == "cuda":
        return max(1, len(here.gpu_memory_bytes))
    return max(1, here.cores // study.run.threads)
