"""One run at a time: a native lock on a file of the store, which the system frees when its holder dies."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from sweeper.errors import StoreInUse
from sweeper.store.atomic import remove, reported, write_bytes
from sweeper.store.paths import StorePaths

PATIENCE_S = 0.3  # covers another process that only looks


@contextmanager
def locked(paths: StorePaths) -> Iterator[None]:
    """Hold the store. Raises StoreInUse, naming the holder, or StoreUnwritable. A dead holder's lock is free."""
    lock = FileLock(paths.lock)
    with reported(paths.lock):
        paths.version.stat()  # taking the lock would make the folder of a store that is gone
        try:
            lock.acquire(timeout=PATIENCE_S, poll_interval=0.05)
        except Timeout:
            raise StoreInUse(f"{paths.root} is in use by {describe(_read(paths))}: wait for it, or stop it") from None
    try:
        info = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv),
        }
        write_bytes(paths.lock_info, json.dumps(info).encode())
        yield
    finally:
        # The note goes while the lock is still held, lest it be a successor's.
        with suppress(Exception):
            remove(paths.lock_info)
        lock.release()


def holder(paths: StorePaths) -> dict[str, Any] | None:
    """Who holds the store: `host`, `pid`, `started_at`, `command`; None if nobody does.

    Looks without taking anything, so it works on a read-only store. A holder on another machine is taken at its word.
    """
    info = _read(paths)
    if info is None or (info["host"] == socket.gethostname() and not alive(info["pid"])):
        return None
    return info


def describe(info: dict[str, Any] | None) -> str:
    """A holder in words, with its age."""
    if info is None:
        return "another process"
    age = max(0.0, time.time() - datetime.fromisoformat(info["started_at"]).timestamp())
    length = f"{age:.0f} s" if age < 120 else f"{age / 60:.0f} min" if age < 7200 else f"{age / 3600:.1f} h"
    return f"process {info['pid']} on {info['host']}, started {length} ago ({info['command']})"


def _read(paths: StorePaths) -> dict[str, Any] | None:
    try:
        info = json.loads(paths.lock_info.read_bytes())
        datetime.fromisoformat(info["started_at"])
        return {key: info[key] for key in ("host", "pid", "started_at", "command")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
