"""Executors: they bring jobs to workers. One interface, two ways: Ray Tune, or this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweeper.planning import Job

# What asks a run to stop: a user's Ctrl-C and Ctrl-\, the end of a batch job or machine, a terminal that closes, a
# batch system's warning before its limit, and a limit on CPU time.
SIGNALS = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
)  # fmt: skip


class Jobs:
    """The jobs of a run, handed out one by one: those that are known at its start, then what follows from results.

    `more` is asked, with the number of free workers, when one of `workers` could take a job and none is left, and
    again whenever another has ended. It may have none: then the worker waits for the others.
    """

    def __init__(self, known: Sequence[Job], more: Callable[[int], Sequence[Job]] = lambda free: (), workers: int = 1):
        self.handed: list[Job] = []
        self._left, self._more, self._workers = list(known), more, workers
        self._running: set[int] = set()
        self._again: list[int] = []
        self._news = True  # since `more` last said none

    @property
    def first(self) -> Job:
        """Of all: the rest is for workers of the same kind."""
        return [*self.handed, *self._left][0]

    @property
    def running(self) -> int:
        """How many were taken and have not ended."""
        return len(self._running)

    def take(self) -> tuple[int, Job] | None:
        """The next job and its number; None if there is none now. With none running there will be none either."""
        if self._again:
            number = self._again.pop(0)
            self._running.add(number)
            return number, self.handed[number]
        if not self._left and self._news:
            self._left += self._more(max(self._workers - self.running, 1))
            self._news = bool(self._left)
        if not self._left:
            return None
        self.handed.append(self._left.pop(0))
        self._running.add(len(self.handed) - 1)
        return len(self.handed) - 1, self.handed[-1]

    def ended(self, number: int) -> None:
        """Job `number` was carried out or given up: what became of it stands in the store."""
        self._running.discard(number)
        self._news = True

    def again(self, number: int) -> None:
        """Job `number` lost its process, and is to be taken once more."""
        self._running.discard(number)
        self._again.append(number)


@dataclass(frozen=True)
class Assignment:
    """Jobs and the circumstances under which they are carried out.

    - `root`: the store, as all workers can reach it; `run_id`: names this run's attempts and its request to stop.
    - `stopping`: asked whether a stop was requested in this process; `listen`: hear such requests again, where a
      library put its own signal handlers in place of ours; `say`: shows people a line.
    """

    jobs: Jobs
    root: Path
    run_id: str
    workers: int
    stopping: Callable[[], bool]
    listen: Callable[[], None] = lambda: None
    say: Callable[[str], object] = lambda line: None

    def attempt(self, number: int) -> str:
        """Name of the attempt at job `number`."""
        return f"{self.run_id}-{number:05d}"


class Executor(Protocol):
    """Carries out jobs. What became of them stands in the store; a worker's death is not an error here."""

    def execute(self, work: Assignment) -> None:
        """Return when every job was carried out, given up, or stopped."""
        ...
