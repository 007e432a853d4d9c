"""Private folders for Ray, one per run, and the removal of those that killed runs have left."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from sweeper.driver.shutdown import kill

LOST_S = 3600.0  # the age of a scratch folder without a lock that is no run's: one is without it for a moment only
SCRATCH, LOCK = "sw-", "lock"
MAX_FOLDER_LENGTH = 24  # sockets lie below it, and the system allows their paths 107 bytes


def scratch_folder() -> Path:
    """Where scratch folders lie."""
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) <= MAX_FOLDER_LENGTH else Path("/tmp")


@contextmanager
def own_scratch() -> Iterator[Path]:
    """A private folder for Ray, removed afterwards, and so are those that killed runs have left."""
    folder = scratch_folder()
    sweep(folder)
    made = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))  # mode 0700
    lock = FileLock(made / LOCK)
    lock.acquire()
    try:
        yield made
    finally:
        _empty(made)
        lock.release()
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the scratch folders in `folder` that no run uses.

    One in use is known by its lock, which the system frees when its process dies. Ray's workers and agents outlive a
    killed run by up to a minute and would write into it once more, so they are killed before it is emptied. The lock
    goes last: if one of them has written nevertheless, what is left is for the next run.
    """
    for left in folder.glob(f"{SCRATCH}*"):
        with suppress(OSError, Timeout):
            if left.stat().st_uid != os.getuid():
                continue
            if not (left / LOCK).exists():  # removed, and then an agent wrote
                if time.time() - left.stat().st_mtime > LOST_S:
                    shutil.rmtree(left, ignore_errors=True)
            else:
                with FileLock(left / LOCK, timeout=0):
                    kill(_left_of_ray(left.resolve()))
                    _empty(left)
                    if os.listdir(left) == [LOCK]:
                        shutil.rmtree(left, ignore_errors=True)


def _left_of_ray(scratch: Path) -> list[psutil.Process]:
    """Ray's workers and agents that have files open below a scratch folder, by the names that they give themselves."""

    def is_one(process: psutil.Process) -> bool:
        if not process.name().startswith("ray::") or process.uids().real != os.getuid():
            return False
        return any(Path(file.path).is_relative_to(scratch) for file in process.open_files())

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [process] * is_one(process)
    return found


def _empty(scratch: Path) -> None:
    """Remove all but the lock."""
    for path in scratch.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
