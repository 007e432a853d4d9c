"""Makes a store whole before a run: what a killed run left half done is finished, and what is torn or altered goes to
the quarantine, so that its cell is trained again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from sweeper.errors import StoreUnwritable
from sweeper.store.atomic import TEMPORARY, move, remove, write_bytes
from sweeper.store.columns import SCHEMA_VERSION
from sweeper.store.names import ATTEMPT, PART_FILE, ROW_FILE
from sweeper.store.parts import Parts
from sweeper.store.paths import Committed, StorePaths
from sweeper.store.quarantine import quarantine, quarantine_a_copy
from sweeper.store.reading import commits, newest, stamp
from sweeper.store.rows import Damaged, upgraded
from sweeper.store.verify import Verified, commit_names, damaged_rows, read_verified

# A history without a row may be half of a commit: workers live on for a while after their driver was killed.
GRACE_NS = 10 * 60 * 10**9


def supersede(paths: StorePaths, cells: Iterable[Sequence[Committed]]) -> None:
    """Move every row of a cell but its first, the one that counts, to `superseded/`, and its history with it."""
    for rows in cells:
        for row in rows[1:]:
            move(row.path, paths.superseded_row("cells", row.name))
            move(paths.row("history", row.name), paths.superseded_row("history", row.name))
            _move_pictures(paths, row.name)


def _move_pictures(paths: StorePaths, row: str) -> None:
    """Pictures go where their row goes."""
    move(paths.picture(row), paths.superseded_picture(row))


def repair(paths: StorePaths, parts: Parts) -> list[Damaged]:
    """Finish what a killed run left half done and quarantine what is damaged: only under the lock, before any worker.

    A row and its history are one commit: when either is damaged both leave, and the planner sees the cell as missing.
    Files of an earlier schema version get this one's columns. Then the parts have exactly the rows that count; a
    damaged one is made again, and a copy of it is quarantined.
    """
    raise_version(paths)
    sweep_temporary(paths)
    for attempt in paths.subfolders(paths.running, ATTEMPT):
        remove(paths.progress(attempt.name))
    supersede(paths, newest(commits(paths)).values())
    verified = read_verified(paths)
    before = json.dumps(verified, sort_keys=True)
    earlier: list[Path] = []
    damaged = list(damaged_rows(paths, verified, earlier))
    broken = [each.path for each in damaged if PART_FILE.fullmatch(each.path.name) and not each.left_alone]
    for fault in (each for each in damaged if not each.left_alone and each.path not in broken):
        if fault.path.exists() or fault.path.is_symlink():
            quarantine(paths, fault.path, fault.reason)
        kind = fault.path.parent.name
        twin = paths.row("history" if kind == "cells" else "cells", fault.path.name)
        if ROW_FILE.fullmatch(twin.name) and twin.exists():
            quarantine(paths, twin, f"its {'row' if kind == 'cells' else 'history'} was damaged or missing")
    for path in broken:
        quarantine_a_copy(paths, path)
    upgrade(earlier, verified)
    alone = sorted(commit_names(verified["history"]) - verified["cells"].keys())
    now = _clock(paths) if alone else 0
    for name in alone:
        # Of a commit that was killed before its row, or between the two moves of an older row.
        if paths.superseded_row("cells", name).exists():
            move(paths.row("history", name), paths.superseded_row("history", name))
        elif now - verified["history"][name][1] > GRACE_NS:
            remove(paths.row("history", name))
    for entry in paths.entries(paths.pictures):
        row = f"{Path(entry.name).stem}.parquet"
        if ROW_FILE.fullmatch(row) and row not in verified["cells"]:
            if paths.superseded_row("cells", row).exists():
                _move_pictures(paths, row)
            else:
                remove(Path(entry))
    parts.reconcile(broken)
    if json.dumps(verified, sort_keys=True) != before:
        with suppress(StoreUnwritable):
            note = verified | {"schema_version": SCHEMA_VERSION}
            write_bytes(paths.verified, json.dumps(note, sort_keys=True).encode(), durable=False)
    return damaged


def raise_version(paths: StorePaths) -> None:
    """Make it a store of this schema version, before any of its files is: an earlier version refuses it from now on."""
    note = json.loads(paths.version.read_bytes())
    if note["schema_version"] < SCHEMA_VERSION:
        write_bytes(paths.version, (json.dumps(note | {"schema_version": SCHEMA_VERSION}) + "\n").encode())


def upgrade(files: Sequence[Path], verified: dict[str, Verified]) -> None:
    """Give these files this version's columns, one after the other, each replaced as a whole.

    In order of names, so that each folder's first file, whose columns readers of Parquet take for all, comes first.
    What a kill leaves is read like the rest, and done by the next run.
    """
    for path in sorted(files):
        kind = path.parent.name
        with suppress(FileNotFoundError):  # it is in quarantine
            write_bytes(path, upgraded(path.read_bytes(), kind, path.name))
            verified[kind][path.name] = stamp(path)


def _clock(paths: StorePaths) -> int:
    """The time in ns by the clock that gives files theirs: on a network it is not this machine's."""
    write_bytes(paths.clock, b"", durable=False)
    return stamp(paths.clock)[1]


def sweep_temporary(paths: StorePaths) -> None:
    """Remove what killed writers left: files whose temporary name never became a real one."""
    for name in paths.walk():
        if TEMPORARY.fullmatch(name.rpartition("/")[2]):
            remove(paths.inside(name))
