"""The quarantine: files that are torn or altered, out of everybody's way, each with a note of where it was and why."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from sweeper.store.atomic import link, move, write_bytes
from sweeper.store.names import REASON
from sweeper.store.paths import StorePaths
from sweeper.store.rows import Damaged


def quarantine(paths: StorePaths, path: Path, reason: str) -> Damaged:
    """Move a file to the quarantine, `aside/`, with the reason beside it; returns where it was and why."""
    target = paths.quarantined(path)
    note = {"path": str(path.relative_to(paths.root)), "reason": reason}
    write_bytes(paths.reason(target), json.dumps(note).encode())
    move(path, target)
    return Damaged(path, reason)


def quarantine_a_copy(paths: StorePaths, part: Path) -> None:
    """Keep what a damaged part was in the quarantine; it stays where readers look until it is made again."""
    target = paths.quarantined(part)
    note = {"path": str(part.relative_to(paths.root)), "reason": "damaged; made again from its rows"}
    write_bytes(paths.reason(target), json.dumps(note).encode())
    if part.is_file() and not part.is_symlink():
        link(part, target)
    else:
        move(part, target)


def quarantined(paths: StorePaths) -> list[Damaged]:
    """The files in quarantine: where each was and why it was moved."""
    found = []
    for entry in paths.entries(paths.aside):
        if entry.name.endswith(REASON):
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = json.loads(Path(entry).read_bytes())
                found.append(Damaged(paths.inside(content["path"]), str(content["reason"])))
    return found
