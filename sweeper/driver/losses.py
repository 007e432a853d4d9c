"""Workers whose process is gone: why, and when and beside how many others their jobs are handed out again.

Memory is a case of its own. Ray ends workers when their machine has next to none left, whoever took it, and so does the
system: that is neither the job's fault nor for ever. Fewer stacks then run side by side, and one more is tried after a
while. A stack goes on in halves (`retries.carry_out` sees to that); one that was alone waits before, each time longer.
Whether a job is tried again is `retry_policy`'s to say; here is counted, waited and said.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable

from sweeper.driver.retry_policy import Decision, Killed, KilledForMemory, RetryPolicy
from sweeper.machine import killed_for_memory
from sweeper.wording import duration, plural

_RAY_SAYS = re.compile(r"running low on memory")
_FIGURES = re.compile(r"Memory on the node \(IP: ([^,)]+).*?\) was ([0-9.]+)GB(?: used)? / ([0-9.]+)GB", re.DOTALL)


class Losses:
    """What became of the processes that carried out the jobs of a run on so many `workers`.

    `killed_here` counts the processes that this machine's system has killed for their memory.
    """

    def __init__(
        self,
        workers: int,
        policy: RetryPolicy,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        killed_here: Callable[[], int] = killed_for_memory,
    ):
        self.workers = self.side_by_side = workers
        self.policy, self.say, self.clock, self.killed_here = policy, say, clock, killed_here
        self.killed: Counter[int] = Counter()
        self.killed_alone: Counter[int] = Counter()
        self.not_before, self.hopeless = 0.0, False
        self.calm_s, self.calm_at = policy.first_calm_s, 0.0
        self.handed_at: dict[int, float] = {}
        self.short_at = -math.inf  # when memory last ran out beside other jobs
        self.killed_before = killed_here()

    def room(self, running: int) -> bool:
        """Whether a job may be handed out now, beside so many that are carried out."""
        now = self.clock()
        if self.side_by_side < self.workers and now >= self.calm_at:
            self.side_by_side += 1
            self.calm_at = now + self.calm_s
        return running < self.side_by_side and now >= self.not_before

    def handed_out(self, number: int) -> None:
        """Job `number` goes to a worker, which may have to come up first."""
        self.handed_at[number] = self.clock()

    def finished(self) -> None:
        """A job was carried out, so there was memory for it."""
        self.hopeless = False

    def lost(self, number: int, cells: int, stack: int, beside: int, reason: str) -> str | None:
        """The process of job `number` is gone, for the `reason` that Ray gives.

        Args:
            cells: of the job; `stack`: those that the process was training (0: it had not begun).
            beside: how many other jobs are carried out; those whose workers have yet to come up are not counted.

        Returns:
            None where the job is to be handed out again, else the reason why not, its last line in our words.
        """
        memory = self._memory(reason)
        if memory is None:
            self.killed[number] += 1
            decision = self.policy.after(Killed(self.killed[number], cells, stack))
            return None if decision.retry else reason
        if not beside:
            self.killed_alone[number] += 1
        times, known = self.killed_alone[number], self.handed_at.get(number, math.inf) <= self.short_at
        event = KilledForMemory(times, cells, stack, beside, self.calm_s, self.hopeless, known)
        decision = self.policy.after(event)
        if not decision.retry:
            self.hopeless = True  # the next jobs need not wait as long to see it
            return f"{reason}\n{memory}, {decision.reason}"
        self._wait(decision)
        self.say(f"{memory}: {_what_follows(stack, decision)}")
        return None

    def _wait(self, decision: Decision) -> None:
        now = self.clock()
        if decision.max_running:
            self.side_by_side = min(self.side_by_side, decision.max_running)
            self.calm_s, self.calm_at, self.short_at = decision.calm_s, now + decision.calm_s, now
        if decision.wait_s:
            self.not_before = now + decision.wait_s

    def _memory(self, reason: str) -> str | None:
        """Words for memory that ran out: where, and how much is in use. None if something else ended the process."""
        killed = self.killed_here()
        by_the_system, self.killed_before = killed > self.killed_before, killed
        if _RAY_SAYS.search(reason):
            found = _FIGURES.search(reason)
            return "memory ran out" + (f" on {found[1]} ({found[2]} of {found[3]} GB in use)" if found else "")
        return "memory ran out (the system ended a process for it)" if by_the_system else None


def _what_follows(stack: int, decision: Decision) -> str:
    """What was lost, and what is done about it."""
    who = f"a stack of {plural(stack, 'cell')} lost its worker" if stack else "a new worker was ended"
    then = "it goes on from its last checkpoint" if stack else "another is started"
    if decision.max_stack:
        then += f" with at most {plural(decision.max_stack, 'cell')} at a time"
    if decision.max_running:
        return f"{who}; {then}, when a stack has ended or in {duration(decision.calm_s)}"
    return f"{who}; in {duration(decision.wait_s)} {then}"
