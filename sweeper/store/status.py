"""The status of a run, in small files beside the results: progress of running stacks, requests to stop, failures.

None of it is a result; a file that cannot be read is as good as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeper.store.atomic import make_folder, remove, write_bytes
from sweeper.store.names import ATTEMPT, CELL_ID, checked
from sweeper.store.paths import StorePaths


@dataclass(frozen=True)
class Failure:
    """Why a cell failed in the last run: the remote traceback and the path of the log."""

    cell_id: str
    attempt: str
    traceback: str
    log: str


class Status:
    """The part of a store through which processes tell each other how they are."""

    paths: StorePaths

    def write_progress(self, attempt: str, progress: Mapping[str, Any]) -> None:
        """Say how far a stack is (plain JSON), in place of what was said before. Raises StoreUnwritable."""
        path = self.paths.progress(attempt)
        make_folder(path.parent)
        write_bytes(path, json.dumps({**progress, "attempt": attempt}).encode(), durable=False)

    def progress(self) -> list[dict[str, Any]]:
        """What the stacks last said, by attempt. After a kill it stays until the next run repairs the store."""
        attempts = [folder.name for folder in self.paths.subfolders(self.paths.running, ATTEMPT)]
        return [note for attempt in attempts if (note := _note(self.paths.progress(attempt))) is not None]

    def clear_progress(self, attempt: str) -> None:
        """The stack says no more; its folder goes too if nothing else is in it."""
        remove(self.paths.progress(attempt))
        with suppress(OSError):
            self.paths.attempt(attempt).rmdir()

    def forget_progress(self, attempt: str) -> list[dict[str, Any]]:
        """What an attempt and its parts last said, of which nothing is kept: their process is dead, or about to end."""
        said = [note for note in self.progress() if str(note["attempt"]).startswith(attempt)]
        for note in said:
            self.clear_progress(note["attempt"])
        return said

    def note_fitting(self, key: str, cells: int, why: Mapping[str, Any]) -> None:
        """Remember that memory holds no more than so many cells of a shape on a machine; `key` names both."""
        write_bytes(self.paths.fitting(key), json.dumps({"cells": cells, **why}).encode(), durable=False)

    def fitting(self, key: str) -> int:
        """Most cells in a stack as remembered by `note_fitting`; 0: memory never ran out."""
        cells = (_note(self.paths.fitting(key)) or {}).get("cells", 0)
        return cells if isinstance(cells, int) else 0

    def request_stop(self, run_id: str) -> None:
        """Ask the workers of a run, wherever they are, to write checkpoints and stop."""
        write_bytes(self.paths.stop, json.dumps({"run_id": checked(run_id, ATTEMPT, "run id")}).encode(), durable=False)

    def stop_requested(self, run_id: str) -> bool:
        """Whether this run was asked to stop; a request to an earlier run does not count."""
        return (_note(self.paths.stop) or {}).get("run_id") == run_id

    def clear_stop(self) -> None:
        """Forget the request."""
        remove(self.paths.stop)

    def note_hang(self, attempt: str) -> None:
        """Count a process of this attempt that made no progress and ends."""
        path = self.paths.hung(attempt)
        make_folder(path.parent)
        write_bytes(path, json.dumps({"hangs": self.hangs(attempt) + 1}).encode())

    def hangs(self, attempt: str) -> int:
        """How often that was noted."""
        count = (_note(self.paths.hung(attempt)) or {}).get("hangs", 0)
        return count if isinstance(count, int) else 0

    def record_failure(self, cell_ids: Sequence[str], attempt: str, traceback: str, log: str) -> None:
        """Note that these cells failed. Forgotten when a cell commits, and by `clear_failures` when a run begins."""
        for cell_id in cell_ids:
            failure = asdict(Failure(cell_id, attempt, traceback, str(log)))
            write_bytes(self.paths.failure(cell_id), json.dumps(failure).encode())

    def failures(self) -> list[Failure]:
        """The cells that failed in the last run, by id."""
        found = []
        for path in self._failure_files():
            note = _note(path) or {}
            with suppress(TypeError):
                found.append(Failure(**note))
        return found

    def clear_failures(self) -> None:
        """Forget all failures: a new run retries these cells."""
        for path in self._failure_files():
            remove(path)

    def _failure_files(self) -> list[Path]:
        entries = self.paths.entries(self.paths.failures)
        return [Path(entry) for entry in entries if CELL_ID.fullmatch(entry.name.removesuffix(".json"))]


def _note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None
