"""Progress of a run, read from the store: an overall bar with time left and a line a running stack.

Nothing but files passes between workers and driver here, so `status` shows the same from another process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sweeper.estimate import relative_work
from sweeper.plan import Plan
from sweeper.store import Store
from sweeper.wording import duration

LOOK_S = 0.5
PLAIN_LINE_S = 30.0  # between lines where there is no terminal


@dataclass(frozen=True)
class Snapshot:
    """How far a run is: cells committed since its start, share of all work done, what its stacks last said."""

    committed: int
    share: float
    stacks: tuple[Mapping[str, Any], ...]


class Meter:
    """Measures how much of a plan's missing work is done."""

    def __init__(self, plan: Plan, store: Store):
        self.plan, self.store = plan, store
        self.shares = relative_work(plan)
        self.orders = {order.name: order for order in plan.orders}

    def read(self) -> Snapshot:
        """The state of things, from the store."""
        rows = self.store.committed()
        evaluation, steps = self.plan.study.evaluation_settings().id(), self.plan.study.steps
        done = {name for name in self.shares if any(row.satisfies(steps, evaluation) for row in rows.get(name, ()))}
        share = sum(self.shares[name] for name in done)
        stacks = tuple(note for note in self.store.progress() if note.get("order") in self.orders)
        for note in stacks:
            left = [name for name in self.orders[note["order"]].cell_ids if name in self.shares and name not in done]
            length = max(note["steps"] - note["start"], 1)
            share += sum(self.shares[name] for name in left) * (note["step"] - note["start"]) / length
        return Snapshot(len(done), min(share, 1.0), stacks)


class Watch:
    """Shows a run's progress while inside: bars on a terminal, a plain line now and then elsewhere; on stderr."""

    def __init__(self, plan: Plan, store: Store):
        self.meter, self.begun = Meter(plan, store), time.monotonic()
        self.total = len(plan.missing)
        self.console = Console(stderr=True)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        if self.console.is_terminal:
            self._bars()
        else:
            self._lines()

    def _bars(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=self.console, transient=True) as progress:
            overall = progress.add_task("all cells", total=1.0, note="starting workers")
            tasks: dict[str, TaskID] = {}
            while not self.ended.wait(LOOK_S):
                now = self.meter.read()
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
                next_line = time.monotonic() + PLAIN_LINE_S
                now = self.meter.read()
                print(f"{self._sentence(now)}; {len(now.stacks)} stacks running", file=sys.stderr, flush=True)

    def _sentence(self, now: Snapshot) -> str:
        spent = time.monotonic() - self.begun
        left = f", about {duration(spent * (1 - now.share) / now.share)} left" if now.share > 0.01 else ""
        return f"{now.committed}/{self.total} cells, {100 * now.share:.0f} % of the work in {duration(spent)}{left}"


def stack_sentence(note: Mapping[str, Any]) -> str:
    """What a running stack is doing, from its note in the store."""
    if note["phase"] != "training":
        return f"{note['phase']} after step {note['step']:,}"
    pace = f", {1e3 * note['stack_step_s'] / note['cells']:.1f} ms a cell-step" if note.get("stack_step_s") else ""
    return f"step {note['step']:,} of {note['steps']:,}{pace}"
