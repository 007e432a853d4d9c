"""What an attempt at a job has to say: a line for people on stderr, and all of it in a file of the store."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sweeper.store import Store


def log_path(store: Store, attempt: str) -> Path:
    """What an attempt has to say stands here."""
    return store.paths.log_file(attempt)


def log(store: Store, attempt: str, line: str, more: str = "") -> None:
    """A line for people, on stderr and with `more` in the store: a worker's stderr goes when Ray does."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    with suppress(OSError), open(log_path(store, attempt), "a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n{more}")
