"""The clock of a stack: how long its cells have trained, how fast its steps are, and when something is due."""

from __future__ import annotations

import time

LOOK_S = 0.5  # at most, between two looks at what is due: a heartbeat, a checkpoint, a request to stop


class Clock:
    """Started with a stack at some step; `checkpoint_s`: seconds from one checkpoint to the next."""

    def __init__(self, checkpoint_s: float):
        self.checkpoint_s = checkpoint_s
        self.look_s = min(LOOK_S, checkpoint_s)
        self.looked = self.saved = time.monotonic()
        self.start(0)

    def start(self, step: int) -> None:
        """Training goes on from `step` now; what came before is charged to no cell."""
        self.begun, self.at_begin = time.monotonic(), step

    def lap(self, step: int) -> float:
        """Seconds since the last start or lap; another begins, at `step`."""
        now = time.monotonic()
        spent, self.begun, self.at_begin = now - self.begun, now, step
        return spent

    def step_s(self, step: int) -> float | None:
        """Seconds per step since the last start or lap; None where no step was done."""
        done = step - self.at_begin
        return (time.monotonic() - self.begun) / done if done else None

    def look_due(self) -> bool:
        """Whether it is time to look at what else is due; if so the next time is counted from now."""
        now = time.monotonic()
        if now - self.looked < self.look_s:
            return False
        self.looked = now
        return True

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint was long enough ago, as of the last look."""
        return self.looked - self.saved >= self.checkpoint_s

    def checkpointed(self) -> None:
        """A checkpoint was written."""
        self.saved = time.monotonic()
