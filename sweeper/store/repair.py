"""Verifies a store's files, and quarantines what is torn or altered, so that its cell is trained again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sweeper.errors import StoreDamaged, StoreNewer, StoreUnreadable, StoreUnwritable
from sweeper.store.atomic import TEMPORARY, link, move, remove, write_bytes
from sweeper.store.columns import SCHEMA_VERSION
from sweeper.store.parts import Parts
from sweeper.store.paths import ATTEMPT, CELL_ID, PART_FILE, REASON, ROW_FILE, Committed, StorePaths
from sweeper.store.pictures import check_png
from sweeper.store.reading import Stamp, commits, newest, read_file, scan, stamp
from sweeper.store.records import read_record, read_tensors, record_paths
from sweeper.store.rows import UNREADABLE, Damaged, check_seal, upgraded

Verified = dict[str, Stamp]
UNVERIFIED: Stamp = (0, 0, 0)
SHOWN_FILE = re.compile(f"{ROW_FILE.pattern}|{PART_FILE.pattern}")

# A history without a row may be half of a commit: workers live on for a while after their driver was killed.
GRACE_NS = 10 * 60 * 10**9


# What programs call a copy that they make beside a file: of two that changed in one cloud folder, or of a download.
_COPY = re.compile(r"conflict|[ _-]copy\b|copy of |\([0-9]+\)|~$|\.(orig|bak)$", re.IGNORECASE)


def foreign(name: str) -> str:
    """Why a file is none of the store's, by its name."""
    copy = "a copy by another program, " if _COPY.search(name) else ""
    read = "; whatever reads the folder's Parquet files reads it too" if name.endswith(".parquet") else ""
    return f"{copy}not a file of this store{read}"


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


def quarantine(paths: StorePaths, path: Path, reason: str) -> Damaged:
    """Move a file to the quarantine, `aside/`, with the reason beside it; returns where it was and why."""
    target = paths.quarantined(path)
    note = {"path": str(path.relative_to(paths.root)), "reason": reason}
    write_bytes(paths.reason(target), json.dumps(note).encode())
    move(path, target)
    return Damaged(path, reason)


def quarantined(paths: StorePaths) -> list[Damaged]:
    """The files in quarantine: where each was and why it was moved."""
    found = []
    for entry in paths.entries(paths.aside):
        if entry.name.endswith(REASON):
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = json.loads(Path(entry).read_bytes())
                found.append(Damaged(paths.inside(content["path"]), str(content["reason"])))
    return found


def damaged_rows(
    paths: StorePaths, verified: dict[str, Verified], earlier: list[Path] | None = None
) -> Iterator[Damaged]:
    """Files of commits, and parts, that are torn, altered or missing; `verified` is brought up to date.

    Those of other programs, and those that may not be read, are among them as left alone.

    A file whose stamp stands in `verified` is not read again. Those with the columns of an earlier schema version are
    added to `earlier`. Raises StoreNewer.
    """
    for kind in ("cells", "history"):
        before, now = verified.get(kind, {}), Verified()
        for folder in (paths.shown(kind), paths.rows(kind)):
            for entry in paths.entries(folder):
                name, path = entry.name, Path(entry)
                if name[0] in "._":
                    continue  # readers of the folder skip these
                if not (ROW_FILE if folder == paths.rows(kind) else SHOWN_FILE).fullmatch(name):
                    yield Damaged(path, foreign(name), left_alone=True)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    yield Damaged(path, "not a file of this store, but a link or a folder")
                    continue
                try:
                    now[name] = stamp(entry)
                    if before.get(name) != now[name]:
                        with open(entry, "rb", buffering=0) as file:
                            current = check_seal(file.readall(), kind, name)
                        if not current and earlier is not None:
                            earlier.append(path)
                except FileNotFoundError:
                    now.pop(name, None)  # superseded meanwhile
                except StoreNewer as fault:
                    raise StoreNewer(f"{path}: {fault}") from fault
                except PermissionError as fault:
                    now[name] = UNVERIFIED
                    yield Damaged(path, f"{UNREADABLE} ({fault.strerror})", left_alone=True)
                except (StoreDamaged, OSError) as fault:
                    now.pop(name, None)
                    yield Damaged(path, str(fault))
        verified[kind] = now
    histories = {row.name for row in commits(paths, "history")}
    for name in sorted(_rows(verified["cells"]) - histories):
        if paths.row("cells", name).exists():
            yield Damaged(paths.row("history", name), "missing")


def _rows(verified: Verified) -> set[str]:
    """The names of commits among files that were verified."""
    return {name for name in verified if ROW_FILE.fullmatch(name)}


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
    verified = _read_verified(paths)
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
        _set_aside_a_copy(paths, path)
    upgrade(earlier, verified)
    alone = sorted(_rows(verified["history"]) - verified["cells"].keys())
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


def _set_aside_a_copy(paths: StorePaths, part: Path) -> None:
    """Keep what a damaged part was in the quarantine; it stays where readers look until it is made again."""
    target = paths.quarantined(part)
    note = {"path": str(part.relative_to(paths.root)), "reason": "damaged; made again from its rows"}
    write_bytes(paths.reason(target), json.dumps(note).encode())
    if part.is_file() and not part.is_symlink():
        link(part, target)
    else:
        move(part, target)


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


def check(paths: StorePaths) -> list[Damaged]:
    """Every file verified by reading all of it: rows, histories (superseded ones too) and checkpoints."""
    damaged = list(damaged_rows(paths, {}))
    known = {fault.path for fault in damaged}
    for kind in ("cells", "history"):
        for rows in (commits(paths, kind), scan(paths, paths.superseded_rows(kind))):
            for committed in rows:
                try:
                    if committed.path not in known:
                        read_file(committed.path, kind)
                except FileNotFoundError:
                    continue  # superseded meanwhile
                except (StoreDamaged, StoreUnreadable) as fault:
                    damaged.append(Damaged(committed.path, str(fault), isinstance(fault, StoreUnreadable)))
    for entry in paths.entries(paths.pictures):
        path = Path(entry)
        try:
            if entry.name[0] not in "._":
                if not ROW_FILE.fullmatch(f"{path.stem}.parquet"):
                    damaged.append(Damaged(path, foreign(entry.name), left_alone=True))
                    continue
                check_png(path.read_bytes())
        except FileNotFoundError:
            continue  # superseded meanwhile
        except PermissionError as fault:
            damaged.append(Damaged(path, f"{UNREADABLE} ({fault.strerror})", left_alone=True))
        except (StoreDamaged, OSError) as fault:
            damaged.append(Damaged(path, str(fault)))
    for folder in paths.subfolders(paths.running, ATTEMPT) + paths.subfolders(paths.checkpoints, CELL_ID):
        for path in record_paths(folder):
            try:
                read_tensors(read_record(path))
            except (StoreDamaged, StoreUnreadable) as fault:
                reason = str(fault).removeprefix(f"{path}: ")
                damaged.append(Damaged(path, reason, isinstance(fault, StoreUnreadable)))
    return damaged


def sweep_temporary(paths: StorePaths) -> None:
    """Remove what killed writers left: files whose temporary name never became a real one."""
    for name in paths.walk():
        if TEMPORARY.fullmatch(name.rpartition("/")[2]):
            remove(paths.inside(name))


def _read_verified(paths: StorePaths) -> dict[str, Verified]:
    try:
        content = json.loads(paths.verified.read_bytes())
        if content.get("schema_version", 1) != SCHEMA_VERSION:
            return {}  # files that were verified then have other columns
        return {kind: {name: (v[0], v[1], v[2]) for name, v in content[kind].items()} for kind in ("cells", "history")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}
