"""How far a store is, and how far a run on it: read from files alone, so that any process sees the same."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cell import cell_work
from sweeper.cloud import to_read
from sweeper.errors import StudyError
from sweeper.machine import ANYWHERE
from sweeper.planning import Plan, make_plan
from sweeper.planning.estimate import relative_work
from sweeper.store import Store
from sweeper.store.lock import alive
from sweeper.study import load_study
from sweeper.wording import last_line


@dataclass(frozen=True)
class Status:
    """A store as it stands.

    - `store`: its folder; `study`: name of the study that was last run on it, None where there is none or its file has
      a fault, which `study_fault` then says. `counts` (cells by action), `missing` and `share_of_work_done` (in
      operations) are of that study, and None without it; `refinement` has a dict per curve that it refines.
    - `committed`: finished cells, whatever study asked for them; `diverged`: how many of these did.
    - `in_use_by`: who runs on it, None if nobody does; `running`: what each stack of that run last said.
    - `failures`: cells that the last run could not finish; `aside`: damaged files that were quarantined.
    """

    store: str
    study: str | None
    study_fault: str | None
    committed: int
    diverged: int
    counts: dict[str, int] | None
    missing: int | None
    share_of_work_done: float | None
    refinement: list[dict[str, Any]]
    in_use_by: dict[str, Any] | None
    running: list[Mapping[str, Any]]
    failures: list[dict[str, str]]
    aside: list[dict[str, str]]

    @property
    def asked(self) -> int:
        """Cells that the study asks for; 0 without one."""
        return sum((self.counts or {}).values())

    @property
    def done(self) -> int:
        """How many of these need nothing more."""
        return self.asked - (self.missing or 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


def look(store: Path) -> Status:
    """The store at a folder or URI as it stands. Raises StoreUnwritable where there is none."""
    opened = Store.open(to_read(store))
    made, fault = None, None
    try:
        study = load_study(opened.paths.study) if opened.paths.study.exists() else None
        made = make_plan(study, opened, ANYWHERE) if study else None
    except StudyError as error:  # of another version, or edited: what is committed can be told all the same
        fault = str(error)
    return status_of(made, opened, fault)


def status_of(plan: Plan | None, store: Store, study_fault: str | None = None) -> Status:
    """An open store as it stands; `plan`: of its study, None where no study was run or its file has a fault."""
    rows = store.committed()
    holder = store.holder()
    notes = living(store.progress()) if holder else []
    return Status(
        store=str(store.paths.root),
        study=plan.study.name if plan else None,
        study_fault=study_fault,
        committed=len(rows),
        diverged=sum(each[0].state == "diverged" for each in rows.values()),
        counts=plan.counts if plan else None,
        missing=len(plan.missing) if plan else None,
        share_of_work_done=share_of_work(plan, notes) if plan else None,
        refinement=[proposal.to_dict() for proposal in plan.refinement] if plan else [],
        in_use_by=holder,
        running=notes,
        failures=[{"cell_id": f.cell_id, "reason": last_line(f.traceback), "log": f.log} for f in store.failures()],
        aside=[{"path": str(fault.path), "reason": fault.reason} for fault in store.quarantined()],
    )


@dataclass(frozen=True)
class Snapshot:
    """How far a run is: cells committed since its start, of so many that are known to be missing, share of their work
    done, what its stacks last said."""

    committed: int
    missing: int
    share: float
    stacks: tuple[Mapping[str, Any], ...]


class Meter:
    """Measures how much of the missing work of a plan, which may grow, is done."""

    def __init__(self, plan: Callable[[], Plan], store: Store):
        self.plan, self.store = plan, store
        self.measured: tuple[Plan, Mapping[str, float]] | None = None

    def read(self) -> Snapshot:
        """The state of things, from the store."""
        plan, rows, notes = self.plan(), self.store.committed(), living(self.store.progress())
        study, steps = plan.study, plan.study.steps
        names = {item.cell.data for item in plan.missing}
        evaluations = {data: study.evaluation_settings(data).accepted() for data in names}
        if self.measured is None or self.measured[0] is not plan:
            self.measured = plan, relative_work(plan)
        reached, shares = furthest(notes), self.measured[1]
        committed, share = 0, 0.0
        for item in plan.missing:
            if any(row.satisfies(steps, evaluations[item.cell.data]) for row in rows.get(item.cell_id, ())):
                committed, done = committed + 1, 1.0
            else:
                at = min(max(reached.get(item.cell_id, 0), item.start), item.steps)
                done = 0.0
                if at > item.start:  # of ten thousand cells those of the running stacks
                    done = cell_work(item.cell, item.start, at) / cell_work(item.cell, item.start, item.steps)
            share += shares[item.cell_id] * done
        return Snapshot(committed, len(plan.missing), min(share, 1.0), tuple(notes))


def living(notes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was said by processes that are still there, as far as this machine can tell."""
    here = socket.gethostname()
    return [note for note in notes if note.get("host") != here or alive(note["pid"])]


def furthest(notes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The step that each cell of the running stacks has reached."""
    reached: dict[str, int] = {}
    for note in notes:
        for name in note.get("cell_ids", ()):
            reached[name] = max(reached.get(name, 0), note["step"])
    return reached


def share_of_work(plan: Plan, notes: Sequence[Mapping[str, Any]]) -> float:
    """How much of all that the plan's study asks for is done, in operations; steps that no checkpoint holds too."""
    reached = furthest(notes)
    total = done = 0.0
    for item in plan.items:
        step = max(item.start, min(reached.get(item.cell_id, 0), item.steps)) if item.missing else item.steps
        work = cell_work(item.cell, 0, item.steps)
        total, done = total + work, done + (work if step == item.steps else cell_work(item.cell, 0, step))
    return done / total if total else 1.0
