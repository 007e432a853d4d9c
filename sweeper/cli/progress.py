"""Progress of a run, shown while it lasts: an overall bar with time left and one per running stack, or plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sweeper.cli.output import say
from sweeper.cli.words.status import stack_sentence
from sweeper.planning import Plan
from sweeper.status import Meter, Snapshot
from sweeper.store import Store
from sweeper.wording import duration, plural

LOOK_S = 0.5
PLAIN_LINE_S = 30.0  # between lines where there is no terminal


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
                    say(f"{self._sentence(now)}; {stacks}")

    def _sentence(self, now: Snapshot) -> str:
        spent = time.monotonic() - self.begun
        left = f", about {duration(spent * (1 - now.share) / now.share)} left" if now.share > 0.01 else ""
        if now.share > 0.995:  # of the training; an evaluation has no share, and may take minutes
            left = ", evaluating"
        return f"{now.committed}/{now.missing} cells, {100 * now.share:.0f} % of the work in {duration(spent)}{left}"
