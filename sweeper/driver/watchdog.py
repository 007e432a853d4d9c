"""A worker that makes no progress ends itself, so that its stack goes on from the checkpoint in a fresh process.

Code that hangs cannot be interrupted from within its process (a kernel that never returns, a file system that does not
answer), only left. A thread looks on. It counts its own turns instead of asking a clock, so that a process which was
stopped for an hour and goes on has not hung. What hangs and holds Python's interpreter lock holds the thread as well,
and is not noticed.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from sweeper.driver.retry_policy import DEFAULT, Hung, RetryPolicy
from sweeper.store import Store

if TYPE_CHECKING:
    from sweeper.planning import Job

LOOKS = 20  # within the limit
LAST_WORDS_S = 10.0  # for writing down what hung: the store may be what does not answer


class Watchdog:
    """While inside: if `limit_s` pass without a `beat`, `on_hang` is told where each thread stands; the process ends.

    Its exit code is 1. Nothing is cleaned up.
    """

    def __init__(self, limit_s: float, on_hang: Callable[[str], object]):
        self.limit_s, self.on_hang = limit_s, on_hang
        self.beats = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watchdog", daemon=True)

    def beat(self) -> None:
        """There was progress."""
        self.beats += 1

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _look_on(self) -> None:
        seen, looks = self.beats, 0
        while not self._done.wait(self.limit_s / LOOKS):
            seen, looks = (seen, looks + 1) if seen == self.beats else (self.beats, 0)
            if looks >= LOOKS:
                last_words = threading.Thread(target=self.on_hang, args=(_stacks(),), daemon=True)
                last_words.start()
                last_words.join(LAST_WORDS_S)
                os._exit(1)


def _stacks() -> str:
    """Where every thread of this process stands."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()


def carry_out_watched(
    job: Job, store: Store, attempt: str, stop: Callable[[], bool], policy: RetryPolicy = DEFAULT
) -> None:
    """`retries.carry_out` under a watchdog; progress is that it asks whether to stop, twice a second between steps.

    How often the attempt hung in earlier processes stands in the store. Where `policy` then takes the cells one by one,
    a cell that hangs has failed. Raises as `carry_out` does.
    """
    from sweeper.driver.log import log, log_path
    from sweeper.driver.retries import carry_out

    hangs = store.hangs(attempt)
    decision = policy.after(Hung(hangs + 1, job.hang_s))  # in case that it does
    parts = {attempt: job}
    if policy.after(Hung(hangs, job.hang_s)).alone:
        failed = {failure.cell_id for failure in store.failures()}
        cells = zip(job.cells, job.cell_ids, strict=True)
        parts = {
            f"{attempt}.alone-{i}": replace(job, cells=(c,)) for i, (c, name) in enumerate(cells) if name not in failed
        }
    for name, part in parts.items():

        def hung(stacks: str, name: str = name, part: Job = part) -> None:
            text = f"{stacks}{decision.reason}"
            store.note_hang(attempt)
            if not decision.retry:
                store.record_failure(part.cell_ids, name, text, str(log_path(store, attempt)))
            store.forget_progress(attempt)
            after = f"the process ends, its stack can go on from the last checkpoint (log: {log_path(store, attempt)})"
            log(store, attempt, f"{decision.reason}: {after}", text + "\n")

        with Watchdog(job.hang_s, hung) as watchdog:

            def asked(watchdog: Watchdog = watchdog) -> bool:
                answer = stop()
                watchdog.beat()
                return answer

            carry_out(part, store, name, asked, policy)
