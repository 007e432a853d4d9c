"""Progress of a run, read from the store: an overall bar with time left and a line a running stack.

Nothing but files passes between workers and driver here, so `status` shows the same from another process.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from models.registry import cell_size
from sweeper.planning import Plan
from sweeper.planning.estimate import relative_work
from sweeper.store import Store
from sweeper.store.lock import alive
from sweeper.wording import duration, plural

LOOK_S = 0.5
PLAIN_LINE_S = 30.0  # between lines where there is no terminal


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
                trained = min(reached.get(item.cell_id, 0), item.steps) - item.start
                done = max(trained, 0) / max(item.steps - item.start, 1)
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
        work = float(cell_size(item.cell).flops)
        step = max(item.start, min(reached.get(item.cell_id, 0), item.steps)) if item.missing else item.steps
        total, done = total + work * item.steps, done + work * step
    return done / total if total else 1.0


class Watch:
    """Shows a run's progress while inside, on stderr: bars on a terminal, elsewhere (a notebook is none) a plain line
    every `line_s` seconds [`PLAIN_LINE_S`]."""

    def __init__(self, plan: Callable[[], Plan], store: Store, line_s: float | None = None):
        self.meter, self.begun = Meter(plan, store), time.monotonic()
        self.line_s = PLAIN_LINE_S if line_s is None else line_s
        self.console = Console(stderr=True, force_terminal=sys.stderr is not None and sys.stderr.isatty())
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join(timeout=5.0)  # it is a daemon: a store or terminal that hangs must not hold back the results

    def _watch(self) -> None:
        """Show until the end. Whatever goes wrong here is no fault of the run, which goes on without being shown."""
        with suppress(Exception):
            if self.console.is_terminal:
                self._bars()
            else:
                self._lines()

    def _read(self) -> Snapshot | None:
        """The state of things, or None where it cannot be read now: a busy file system may answer the next time."""
        try:
            return self.meter.read()
        except Exception:
            return None

    def _bars(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=self.console, transient=True) as progress:
            overall = progress.add_task("all cells", total=1.0, note="starting workers")
            tasks: dict[str, TaskID] = {}
            looked_s = 0.0
            while not self.ended.wait(max(LOOK_S, 20 * looked_s)):  # a large store is looked at less often
                begun = time.monotonic()
                now = self._read()
                looked_s = time.monotonic() - begun
                if now is None:
                    continue
                progress.update(overall, completed=now.share, note=self._sentence(now))
                gone = set(tasks) - {note["attempt"] for note in now.stacks}
                for attempt in gone:
                    progress.remove_task(tasks.pop(attempt))
                for note in now.stacks:
                    if note["attempt"] not in tasks:
                        tasks[note["attempt"]] = progress.add_task("", total=note["steps"], note="")
                    title = f"  {note['data']} {note['architecture']} × {note['cells']}"
                    progress.update(
                        tasks[note["attempt"]], description=title, completed=note["step"], note=stack_sentence(note)
                    )

    def _lines(self) -> None:
        next_line = time.monotonic() + LOOK_S
        while not self.ended.wait(LOOK_S):
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + self.line_s
                now = self._read()
                if now is not None:
                    stacks = f"{plural(len(now.stacks), 'stack')} running"
                    print(f"{self._sentence(now)}; {stacks}", file=sys.stderr, flush=True)

    def _sentence(self, now: Snapshot) -> str:
        spent = time.monotonic() - self.begun
        left = f", about {duration(spent * (1 - now.share) / now.share)} left" if now.share > 0.01 else ""
        return f"{now.committed}/{now.missing} cells, {100 * now.share:.0f} % of the work in {duration(spent)}{left}"


def stack_sentence(note: Mapping[str, Any]) -> str:
    """What a running stack is doing, from its note in the store."""
    if note["phase"] == "compiling":
        return "compiling, once on this machine"
    if note["phase"] != "training":
        return f"{note['phase']} after step {note['step']:,}"
    pace = f", {1e3 * note['stack_step_s'] / note['cells']:.1f} ms per cell-step" if note.get("stack_step_s") else ""
    return f"step {note['step']:,} of {note['steps']:,}{pace}"
