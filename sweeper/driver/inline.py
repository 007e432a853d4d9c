"""The executor without workers: one job after the other in this process, for tests, debugging and tiny studies."""

from __future__ import annotations

from sweeper.driver import Assignment
from sweeper.driver.retry_policy import DEFAULT, RetryPolicy
from sweeper.store import Store


class Inline:
    """Carries out jobs here, tried again as `policy` says."""

    def __init__(self, policy: RetryPolicy = DEFAULT):
        self.policy = policy

    def execute(self, work: Assignment) -> None:
        """Every job in turn, until a stop is requested."""
        from sweeper.driver.watchdog import carry_out_watched
        from sweeper.driver.worker import Stopped

        store = Store.open(work.root)
        while not work.stopping() and (taken := work.jobs.take()) is not None:
            number, job = taken
            try:
                carry_out_watched(job, store, work.attempt(number), work.stopping, self.policy)
            except Stopped:
                return
            work.jobs.ended(number)
