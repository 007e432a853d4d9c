"""Verifies a store's files: what is torn, altered or missing, and what is none of the store's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from sweeper.errors import StoreDamaged, StoreNewer, StoreUnreadable
from sweeper.store.columns import SCHEMA_VERSION
from sweeper.store.names import ATTEMPT, CELL_ID, PART_FILE, ROW_FILE
from sweeper.store.paths import StorePaths
from sweeper.store.pictures import check_png
from sweeper.store.reading import Stamp, commits, read_file, scan, stamp
from sweeper.store.records import read_record, read_tensors, record_paths
from sweeper.store.rows import UNREADABLE, Damaged, check_seal

Verified = dict[str, Stamp]
UNVERIFIED: Stamp = (0, 0, 0)
SHOWN_FILE = re.compile(f"{ROW_FILE.pattern}|{PART_FILE.pattern}")

# What programs call a copy that they make beside a file: of two that changed in one cloud folder, or of a download.
_COPY = re.compile(r"conflict|[ _-]copy\b|copy of |\([0-9]+\)|~$|\.(orig|bak)$", re.IGNORECASE)


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
    for name in sorted(commit_names(verified["cells"]) - histories):
        if paths.row("cells", name).exists():
            yield Damaged(paths.row("history", name), "missing")


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


def foreign(name: str) -> str:
    """Why a file is none of the store's, by its name."""
    copy = "a copy by another program, " if _COPY.search(name) else ""
    read = "; whatever reads the folder's Parquet files reads it too" if name.endswith(".parquet") else ""
    return f"{copy}not a file of this store{read}"


def commit_names(verified: Verified) -> set[str]:
    """The names of commits among files that were verified."""
    return {name for name in verified if ROW_FILE.fullmatch(name)}


def read_verified(paths: StorePaths) -> dict[str, Verified]:
    """What was verified when the store was last repaired, as it then was; nothing where that is not known."""
    try:
        content = json.loads(paths.verified.read_bytes())
        if content.get("schema_version", 1) != SCHEMA_VERSION:
            return {}  # files that were verified then have other columns
        return {kind: {name: (v[0], v[1], v[2]) for name, v in content[kind].items()} for kind in ("cells", "history")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}
