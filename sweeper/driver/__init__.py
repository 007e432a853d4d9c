"""Executors: they bring orders to workers. One interface, two ways: Ray Tune, or this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweeper.plan import Order

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # ask a run to stop; the last: a batch system's warning


@dataclass(frozen=True)
class Assignment:
    """Orders and the circumstances under which they are carried out.

    - `root`: the store, as all workers can reach it; `run_id`: names this run's attempts and its request to stop.
    - `stopping`: asked whether a stop was requested in this process; `listen`: hear such requests again, where a
      library put its own signal handlers in place of ours.
    """

    orders: Sequence[Order]
    root: Path
    run_id: str
    workers: int
    stopping: Callable[[], bool]
    listen: Callable[[], None] = lambda: None

    def attempt(self, number: int) -> str:
        """Name of the attempt at order `number`."""
        return f"{self.run_id}-{number:05d}"


class Executor(Protocol):
    """Carries out orders. What became of them stands in the store; a worker's death is not an error here."""

    def execute(self, work: Assignment) -> None:
        """Return when every order was carried out, given up, or stopped."""
        ...
