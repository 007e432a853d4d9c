"""Ray's own processes ended without its waits, and none of them left.

`ray.shutdown` asks each of the processes it has started to end, by SIGTERM, waits a second and then kills it, one after
the other. Ours never receive that request: signals are blocked in them (see `sweeper.driver.session`). So whoever has
been asked is killed here at once, which saves five seconds, together with the processes that it has started itself:
workers and agents would notice only after a while that it is gone, and write into its folder until then. A system
without `/proc` keeps Ray's waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LOOK_S = 0.01
LEAVE_S = 3.0  # for killed processes to be gone


@contextmanager
def killed_when_asked_to_end(processes: Collection[psutil.Process]) -> Iterator[None]:
    """While inside, kill each process to which a SIGTERM was sent that it has blocked, and all below it; then wait for
    them to be gone.

    One that has such a signal waiting from before is left alone: somebody else sent it, perhaps to the whole group.
    """
    waiting = [each for each in processes if not _has_sigterm_pending(each)]
    left, killed = threading.Event(), []

    def watch() -> None:
        while not left.wait(LOOK_S):
            for process in [each for each in waiting if _has_sigterm_pending(each)]:
                waiting.remove(process)
                killed.extend(_kill_tree(process))

    watcher = threading.Thread(target=watch, name="shutdown", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()
        psutil.wait_procs(killed, LEAVE_S)


def kill(processes: Collection[psutil.Process]) -> None:
    """Kill each process and all below it, and wait for them to be gone."""
    psutil.wait_procs([each for process in processes for each in _kill_tree(process)], LEAVE_S)


def _kill_tree(process: psutil.Process) -> list[psutil.Process]:
    """Kill the process and all below it, which are returned. It is suspended first, so that it starts no others."""
    tree = [process]
    with suppress(psutil.Error):
        process.suspend()
        tree += process.children(recursive=True)
    for each in tree:
        with suppress(psutil.Error):
            each.kill()
    return tree


def _has_sigterm_pending(process: psutil.Process) -> bool:
    """By the mask of signals that wait for the process as a whole (Linux)."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False
