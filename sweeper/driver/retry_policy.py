"""Whether, when, how often and in how large stacks a job is tried again. The one place that decides this.

Pure: an event goes in with all that the decision needs, a decision comes out; no clock, no store, no process. Whoever
sees the event counts (how often a job's code raised, how often its process died) and carries the decision out:

- `retries` what happens within a process: code that raises, memory that runs out.
- `watchdog` a process that hangs, and ends itself.
- `losses` processes of Ray's workers that are gone, for memory or anything else.
- `waiting` workers that do not start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sweeper.wording import duration


@dataclass(frozen=True)
class Raised:
    """The job's code raised, for the `times`-th time in this process."""

    times: int


@dataclass(frozen=True)
class OutOfMemory:
    """Memory did not suffice for a stack of so many `cells`, and the process lives to say so."""

    cells: int


@dataclass(frozen=True)
class Hung:
    """No step of the job finished within `limit_s`, for the `times`-th time; its process ends."""

    times: int
    limit_s: float


@dataclass(frozen=True)
class Killed:
    """The job's process or its node is gone, for the `times`-th time, and memory is not known to be the reason.

    `cells`: of the job; `stack`: of these, the ones that the process was training, 0 where it had not begun.
    """

    times: int
    cells: int
    stack: int = 0


@dataclass(frozen=True)
class KilledForMemory:
    """The job's process was ended because its machine had next to no memory left, whoever took it.

    `cells`, `stack`: as in `Killed`; `beside`: how many other jobs are carried out; `times`: how often this has
    happened to the job while there were none; `calm_s`: how long the run now waits until it trains one more stack side
    by side; `hopeless`: whether another job was given up for memory, and none has been carried out since; `known`:
    whether the job was handed out before the last such kill, so that this one is of the same shortage.
    """

    times: int
    cells: int
    stack: int
    beside: int
    calm_s: float
    hopeless: bool = False
    known: bool = False


@dataclass(frozen=True)
class NotStarted:
    """No worker has come up for `waited_s`; `taken`: because work of others holds the cores or GPUs of a cluster."""

    waited_s: float
    limit_s: float
    taken: bool


Event = Raised | OutOfMemory | Hung | Killed | KilledForMemory | NotStarted


@dataclass(frozen=True)
class Decision:
    """What is done after an event.

    - `retry`: the job is tried again, from its last checkpoint; if not it is given up.
    - `wait_s`: no job is handed out before; `max_running`: no more jobs side by side (0: as many as before), until
      nothing was killed for `calm_s`.
    - `max_stack`: no larger stacks of this job (0: as before); `alone`: each of its cells is a stack of its own, so
      that one cannot fail the others.
    - `reason`: in words, where the policy has something to say beside the fault's own words.
    """

    retry: bool
    wait_s: float = 0.0
    max_running: int = 0
    calm_s: float = 0.0
    max_stack: int = 0
    alone: bool = False
    reason: str = ""


@dataclass(frozen=True)
class RetryPolicy:
    """The limits, in attempts and in seconds.

    - `max_attempts`: of a job that raises or hangs, the first included. The last takes its cells one by one.
    - `max_restarts`: of a job whose process died, and `max_memory_restarts`: where memory ran out though nothing else
      was going on (waits of 4 minutes in all); both on top of those that halve its stack to one cell.
    - `first_wait_s`, `max_wait_s`: before such a restart, twice as long each time.
    - `first_calm_s`, `max_calm_s`: without a kill for memory until one more stack is trained side by side, twice as
      long after each shortage.
    """

    max_attempts: int = 3
    max_restarts: int = 2
    max_memory_restarts: int = 6
    first_wait_s: float = 5.0
    max_wait_s: float = 60.0
    first_calm_s: float = 60.0
    max_calm_s: float = 3600.0

    def after(self, event: Event) -> Decision:
        """What is done after `event`.

        | event                    | tried again                                       | given up                     |
        |--------------------------|---------------------------------------------------|------------------------------|
        | raised, hung             | at once; in the last attempt each cell alone      | after `max_attempts`         |
        | out of memory, alive     | at once, in half the stack                        | a stack of one cell          |
        | killed, node lost        | at once, in half the stack                        | after `max_restarts`, (1)    |
        | killed for memory,       | in half the stack, and with fewer jobs side by    | never                        |
        | beside other jobs        | side until it has been calm                       |                              |
        | killed for memory, alone | after a wait, in half the stack                   | after `max_memory_restarts`, |
        |                          |                                                   | (1)                          |
        | not started              | until the limit; for ever where others hold cores | after the limit, and the run |

        (1) and as many more as halve the job to one cell.
        """
        match event:
            case Raised(times):
                return self._attempt(times)
            case Hung(times, limit_s):
                return replace(self._attempt(times), reason=f"no step finished within {duration(limit_s)} (run.hang_s)")
            case OutOfMemory(cells):
                return Decision(cells > 1, max_stack=halved(cells))
            case Killed(times, cells, stack):
                return Decision(times <= self.max_restarts + halvings(cells), max_stack=halved(stack))
            case KilledForMemory(beside=beside, stack=stack, calm_s=calm_s, known=known) if beside:
                longer = calm_s if known else min(2 * calm_s, self.max_calm_s)
                return Decision(True, max_running=beside, calm_s=longer, max_stack=halved(stack))
            case KilledForMemory(times, cells, stack):
                if event.hopeless or times > self.max_memory_restarts + halvings(cells):
                    return Decision(False, reason=_NO_ROOM.format(times=times))
                wait_s = min(self.first_wait_s * 2 ** (times - 1), self.max_wait_s)
                return Decision(True, wait_s=wait_s, max_stack=halved(stack))
            case NotStarted(waited_s, limit_s, taken):
                if waited_s <= limit_s or taken:
                    return Decision(True)
                return Decision(False, reason=f"no worker came up within {duration(limit_s)} (run.start_s)")

    def _attempt(self, times: int) -> Decision:
        """After so many attempts that came to nothing."""
        return Decision(times < self.max_attempts, alone=times >= self.max_attempts - 1)


DEFAULT = RetryPolicy()

_NO_ROOM = (
    "{times} times though nothing else of this run was going on: free some there, or make stacks smaller "
    "(run.max_stack); run the same command to resume from the last checkpoint"
)


def halved(stack: int) -> int:
    """Most cells of the next stack after one of so many; 0, which is no limit, where there was none or but one cell."""
    return math.ceil(stack / 2) if stack > 1 else 0


def halvings(cells: int) -> int:
    """How often a stack of so many cells is halved until it is one cell."""
    return (cells - 1).bit_length()
