"""Writers of parts take turns, by a lock on a file that the system frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.store.atomic import reported
from sweeper.store.paths import StorePaths

TURN_S = 10.0  # a write takes some 20 ms: whoever holds the lock for so long was stopped


@contextmanager
def turn(paths: StorePaths) -> Iterator[bool]:
    """Be the one that writes parts. Yields whether it is: not where there are no locks, or a holder was stopped."""
    with reported(paths.part_lock):
        handle = os.open(paths.part_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Whether the lock on an open file was had, within `TURN_S`."""
    end = time.monotonic() + TURN_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        except OSError:
            return False
        else:
            return True
