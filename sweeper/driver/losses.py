"""Workers whose process is gone: why, whether their job is tried again, when, and beside how many others.

Memory is a case of its own. Ray ends workers when their machine has next to none left, whoever took it, and so does the
system: that is neither the job's fault nor for ever. Fewer stacks then run side by side, and one more is tried after
a while. A stack goes on in halves (`tries.carry_out` sees to that); one that was alone waits before, each time longer.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable

from sweeper.machine import killed_for_memory
from sweeper.output import write_line
from sweeper.wording import duration, plural

RESTARTS = 2  # of a job whose process died, on top of those that halve its stack to one cell
MEMORY_RESTARTS = 6  # the same where memory ran out while no other job was carried out: waits of 4 minutes in all
FIRST_WAIT_S, MAX_WAIT_S = 5.0, 60.0
FIRST_CALM_S, MAX_CALM_S = 60.0, 3600.0  # without a loss of memory until one more stack is tried, doubled by each loss

_RAY_SAYS = re.compile(r"running low on memory")
_FIGURES = re.compile(r"Memory on the node \(IP: ([^,)]+).*?\) was ([0-9.]+)GB(?: used)? / ([0-9.]+)GB", re.DOTALL)


def tell(line: str) -> None:
    """A line for people."""
    write_line(line, sys.stderr)


class Losses:
    """What became of the processes that carried out the jobs of a run on so many `workers`.

    `ended_here` counts the processes that this machine's system has ended for their memory.
    """

    def __init__(
        self,
        workers: int,
        say: Callable[[str], object] = tell,
        clock: Callable[[], float] = time.monotonic,
        ended_here: Callable[[], int] = killed_for_memory,
    ):
        self.workers = self.side_by_side = workers
        self.say, self.clock, self.ended_here = say, clock, ended_here
        self.died: Counter[int] = Counter()
        self.without_memory: Counter[int] = Counter()
        self.not_before, self.hopeless = 0.0, False
        self.calm_s, self.calm_at = FIRST_CALM_S, 0.0
        self.ended_before = ended_here()

    def room(self, running: int) -> bool:
        """Whether a job may be handed out now, beside so many that are carried out."""
        now = self.clock()
        if self.side_by_side < self.workers and now >= self.calm_at:
            self.side_by_side += 1
            self.calm_at = now + self.calm_s
        return running < self.side_by_side and now >= self.not_before

    def finished(self) -> None:
        """A job was carried out, so there was memory for it."""
        self.hopeless = False

    def lost(self, number: int, cells: int, stack: int, others: int, reason: str) -> str | None:
        """The process of job `number` is gone, for the `reason` that Ray gives.

        Args:
            cells: of the job; `stack`: those that the process was training (0: it had not begun).
            others: how many jobs are carried out beside it.

        Returns:
            None where the job is to be handed out again, else the reason why not, its last line in our words.
        """
        halvings = (cells - 1).bit_length()
        memory = self._memory(reason)
        if memory is None:
            self.died[number] += 1
            return reason if self.died[number] > RESTARTS + halvings else None
        who = f"a stack of {plural(stack, 'cell')} lost its worker" if stack else "a new worker was ended"
        after = "it goes on from its last checkpoint" if stack else "another is started"
        if stack > 1:
            after += f" with at most {plural(math.ceil(stack / 2), 'cell')} at a time"
        if others:
            self.side_by_side = min(self.side_by_side, others)
            self.calm_s = min(2 * self.calm_s, MAX_CALM_S)
            self.calm_at = self.clock() + self.calm_s
            self.say(f"{memory}: {who}; {after}, when a stack has ended or in {duration(self.calm_s)}")
            return None
        self.without_memory[number] += 1
        tries = self.without_memory[number]
        if self.hopeless or tries > MEMORY_RESTARTS + halvings:
            self.hopeless = True  # the next jobs need not wait as long to see it
            return (
                f"{reason}\n{memory}, {tries} times though nothing else of this run was going on: free some there, or "
                "make stacks smaller (run.max_stack); the same command goes on from the last checkpoint"
            )
        wait_s = min(FIRST_WAIT_S * 2 ** (tries - 1), MAX_WAIT_S)
        self.not_before = self.clock() + wait_s
        self.say(f"{memory}: {who}; in {duration(wait_s)} {after}")
        return None

    def _memory(self, reason: str) -> str | None:
        """That memory ran out, where, and how much of it is in use; None if something else ended the process."""
        ended = self.ended_here()
        by_the_system, self.ended_before = ended > self.ended_before, ended
        if _RAY_SAYS.search(reason):
            found = _FIGURES.search(reason)
            return "memory ran out" + (f" on {found[1]} ({found[2]} of {found[3]} GB in use)" if found else "")
        return "memory ran out (the system ended a process for it)" if by_the_system else None
