"""Taking over what another store holds: rows with their histories and pictures, and kept states. It is only read.

Of each cell the row stays that readers keep, the one with most steps; of two with as many, the one finished later, so
that the order of merging does not matter. Bytes are copied as they are once every checksum in them was verified (rows
of an earlier schema version get the columns that they lack), each row by the protocol of a commit: a kill leaves cells
that are there and cells that are not, and merging again takes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.errors import StoreDamaged, StoreNewer, StoreUnreadable
from sweeper.store.columns import VOLATILE, comparable
from sweeper.store.names import CELL_ID
from sweeper.store.paths import Committed, StorePaths
from sweeper.store.pictures import check_png
from sweeper.store.reading import commits, newest, read_file
from sweeper.store.records import copy_record, prune, read_record, record_paths
from sweeper.store.rows import UNREADABLE, Damaged, upgraded
from sweeper.store.store import Store

# Columns in which one cell may differ between two studies.
OF_THE_RUN = VOLATILE | {"study", "steps_asked", "schema_version"}


@dataclass
class Taken:
    """What came of one source: cells by what became of them, and the files that could not be used.

    `added`: new here; `replaced`: there was a row with fewer steps, or an older one; `present`: the row here stays.
    `differing` are those of `present` that the source finished with other numbers: on another device, or after a
    change of the code. `states`: kept states taken.
    """

    source: Path
    added: int = 0
    replaced: int = 0
    present: int = 0
    differing: list[str] = field(default_factory=list)
    states: int = 0
    damaged: list[Damaged] = field(default_factory=list)


def survey(source: Store) -> tuple[list[Committed], list[Damaged]]:
    """The row of each cell that counts among those that are whole, and the files that are not. Raises StoreNewer."""
    rows, damaged = [], []
    for several in newest(commits(source.paths)).values():
        for row in several:
            faults = list(_faults(source.paths, row))
            damaged += faults
            if not faults:
                rows.append(row)
                break
    return rows, damaged


def take(target: Store, source: Store, rows: list[Committed], damaged: list[Damaged]) -> Taken:
    """Bring what `survey` found in `source` into `target`, whose lock is held. Raises StoreUnwritable."""
    taken = Taken(source.paths.root, damaged=list(damaged))
    for row in rows:
        _take_row(target, source.paths, row, taken)
    for folder in source.paths.subfolders(source.paths.checkpoints, CELL_ID):
        _take_state(target.paths, folder, taken)
    return taken


def _take_row(target: Store, source: StorePaths, row: Committed, taken: Taken) -> None:
    name = row.name
    here = newest(commits(target.paths, cell_id=row.cell_id)).get(row.cell_id, [])
    present = next((each for each in here if each.name == name), None)
    if present or (here and not _counts_more(source, row, target.paths, here[0])):
        taken.present += 1
        if present and _differ(_table(source, row)[0], _table(target.paths, present)[0]):
            taken.differing.append(row.cell_id)
        return
    faults = list(_faults(source, row))  # again, as time has passed
    if faults:
        taken.damaged += faults
        return
    bytes_of = {kind: upgraded(_find(source, kind, name).read_bytes(), kind, name) for kind in ("cells", "history")}
    target.link(row.cell_id, name, bytes_of["cells"], bytes_of["history"], _pictures(source, name, taken))
    if here:
        taken.replaced += 1
    else:
        taken.added += 1


def _pictures(source: StorePaths, row: str, taken: Taken) -> bytes | None:
    """The pictures that go with a row, if there are any, they are whole and may be read."""
    path = source.picture(row)
    try:
        data = path.read_bytes()
        check_png(data)
    except FileNotFoundError:
        return None
    except PermissionError as fault:
        taken.damaged.append(Damaged(path, f"{UNREADABLE} ({fault.strerror})", left_alone=True))
        return None
    except StoreDamaged as fault:
        taken.damaged.append(Damaged(path, str(fault)))
        return None
    return data


def _take_state(target: StorePaths, folder: Path, taken: Taken) -> None:
    """Take a cell's kept state where there is none here, or one of fewer steps."""
    steps, kept = -1, target.kept(folder.name)
    for path in record_paths(kept)[:1]:
        with suppress(StoreDamaged):
            steps = read_record(path).step
            prune(kept, 1)  # a merge may have been killed just before it did
    for path in record_paths(folder):
        try:
            record = read_record(path)
            if record.cell_ids != (folder.name,):
                raise StoreDamaged(f"{path}: it is the state of {', '.join(record.cell_ids)}")
            if record.step > steps:
                copy_record(record, kept)
                taken.states += 1
            return
        except (StoreDamaged, StoreUnreadable) as fault:
            where, _, reason = str(fault).partition(": ")
            taken.damaged.append(Damaged(Path(where), reason, isinstance(fault, StoreUnreadable)))


def _counts_more(source: StorePaths, row: Committed, target: StorePaths, here: Committed) -> bool:
    """Whether a source's row is to stand in place of the one here."""
    if row.steps != here.steps:
        return row.steps > here.steps
    return _finished(source, row) > _finished(target, here)


def _finished(paths: StorePaths, row: Committed) -> tuple[Any, str]:
    return _table(paths, row)[0]["finished_at"], row.name


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows of a cell say otherwise of it, in any bit of what both can say, and not only of their runs."""
    columns = sorted(comparable(one["schema_version"], other["schema_version"]) - OF_THE_RUN)
    return repr([one[name] for name in columns]) != repr([other[name] for name in columns])


def _table(paths: StorePaths, row: Committed) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_file(_find(paths, "cells", row.name), "cells").to_pylist()
    return rows


def _faults(paths: StorePaths, row: Committed) -> Iterator[Damaged]:
    """What is wrong with a commit's two files."""
    for kind in ("cells", "history"):
        path = _find(paths, kind, row.name)
        try:
            read_file(path, kind)
        except StoreNewer as fault:
            raise StoreNewer(f"{path}: {fault}") from fault
        except (StoreDamaged, StoreUnreadable) as fault:
            yield Damaged(path, str(fault), isinstance(fault, StoreUnreadable))
        except FileNotFoundError:
            yield Damaged(path, "missing")


def _find(paths: StorePaths, kind: str, name: str) -> Path:
    """Where a file of a commit is: a run that goes on may have superseded it meanwhile."""
    moved, path = paths.superseded_row(kind, name), paths.row(kind, name)
    return moved if moved.exists() and not path.exists() else path
