"""Ray's own processes ended without its waits.

`ray.shutdown` asks each of the processes it has started to end, by SIGTERM, waits a second and then kills it, one after
the other. Ours never hear that request: signals are blocked in them (see `sweeper.driver.session`). So whoever has been
asked is killed here at once, and the five seconds are saved. A system without `/proc` keeps them.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LOOK_S = 0.01


@contextmanager
def killed_when_asked_to_end(processes: Collection[psutil.Process]) -> Iterator[None]:
    """While inside, SIGKILL each process to which a SIGTERM was sent that it has blocked.

    One that has such a signal waiting from before is left alone: somebody else sent it, perhaps to the whole group.
    """
    waiting = [each for each in processes if not _has_sigterm_pending(each)]
    left = threading.Event()

    def watch() -> None:
        while not left.wait(LOOK_S):
            for process in waiting:
                if _has_sigterm_pending(process):
                    with suppress(psutil.Error):
                        process.kill()

    watcher = threading.Thread(target=watch, name="shutdown", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()


def _has_sigterm_pending(process: psutil.Process) -> bool:
    """By the mask of signals that wait for the process as a whole (Linux)."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False
