"""Reading all rows that count into one table: from the parts that readers of Parquet are shown, and what these lack.

That is read row by row: what an earlier version wrote, what a commit under way has not shown yet, what a damaged part
had. Such files never change once they have their name, so a cache of them is keyed on each file's name, size and times,
and only files that it lacks are read. It is sealed like the rows, and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.errors import StoreDamaged, StoreNewer, StoreUnreadable, StoreUnwritable
from sweeper.store.atomic import write_bytes
from sweeper.store.columns import SCHEMAS
from sweeper.store.names import PART_FILE
from sweeper.store.paths import Committed, StorePaths, parse_row
from sweeper.store.rows import UNREADABLE, Damaged, decode, encode, names_in

Stamp = tuple[int, int, int]  # size in bytes, times of last change of content and of entry in ns
NEW_FILES_CACHED = 20  # fewer are read again each time rather than rewriting the cache


def scan(paths: StorePaths, folder: Path, cell_id: str = "") -> list[Committed]:
    """The rows in a folder, or those of one cell, by their names alone, ordered by name. Raises StoreUnwritable."""
    entries = paths.entries(folder, cell_id)
    found = (parse_row(folder, entry.name) for entry in entries if entry.is_file(follow_symlinks=False))
    return [committed for committed in found if committed is not None]


def commits(paths: StorePaths, kind: str = "cells", cell_id: str = "") -> list[Committed]:
    """The files of all commits, or of one cell's, by their names alone, ordered by name: see `StorePaths.row`."""
    earlier = scan(paths, paths.shown(kind), cell_id)
    rows = scan(paths, paths.rows(kind), cell_id)
    if not earlier:
        return rows
    both = {row.name: row for row in rows} | {row.name: row for row in earlier}
    return [both[name] for name in sorted(both)]


def newest(rows: list[Committed], keep: str | None = None) -> dict[str, list[Committed]]:
    """Rows by cell, the one that counts first: most steps, then the file changed last, then the later name.

    `keep` names the one that counts among those of most steps: that of the commit under way.
    """
    cells: dict[str, list[Committed]] = {}
    for row in rows:
        cells.setdefault(row.cell_id, []).append(row)
    for several in cells.values():
        if len(several) > 1:
            several.sort(key=lambda row: (row.steps, row.name == keep, _changed(row.path), row.name), reverse=True)
    return cells


def stamp(path: os.PathLike[str]) -> Stamp:
    """What changes when a file's content does, or when it is another file. Raises OSError."""
    status = os.stat(path, follow_symlinks=False)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_file(path: Path, kind: str) -> pa.Table:
    """One row or history file, verified. Raises StoreDamaged, StoreUnreadable, StoreNewer, FileNotFoundError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise StoreUnreadable(f"{UNREADABLE} ({error.strerror})") from error
    except OSError as error:
        raise StoreDamaged(f"cannot be read: {error.strerror}") from error
    table = decode(data, kind, path.name)
    committed = parse_row(path.parent, path.name)
    if kind == "cells" and committed is not None:
        row = table.select(["cell_id", "step", "evaluation_id"]).to_pylist()
        expected = {"cell_id": committed.cell_id, "step": committed.steps, "evaluation_id": committed.evaluation_id}
        if row != [expected]:
            raise StoreDamaged("its row is not the one that its name says")
    return table


def read_folder(paths: StorePaths, kind: str) -> tuple[pa.Table, list[Damaged]]:
    """All of `cells` or `history` that counts, in order of file names, and the files that could not be used.

    Needs no lock: a row that is superseded between listing and reading is looked for again. Raises StoreNewer.
    """
    for last in (False, False, True):
        counted = {rows[0].name for rows in newest(commits(paths)).values()}
        try:
            return _read(paths, kind, counted)
        except FileNotFoundError:
            if last:
                raise
    raise AssertionError("not reached")


def _read(paths: StorePaths, kind: str, counted: set[str]) -> tuple[pa.Table, list[Damaged]]:
    """The rows of the commits of these names."""
    import pyarrow.compute as pc  # its import takes as long as all else that planning needs of pyarrow

    tables, left = [], set(counted)
    for name in part_names(paths, kind):
        with suppress(StoreDamaged, OSError):  # its rows are read one by one, and a run makes it again
            table, rows = read_part(paths.part(kind, name), kind)
            here = [row for row in rows if row in left]
            if len(here) < len(rows):
                table = of_cells(table, [cell_of(row) for row in here])
            left -= set(here)
            tables.append(table)
    rest, damaged = _read_one_by_one(paths, kind, sorted(left)) if left or not tables else (None, [])
    whole = pa.concat_tables([table for table in (*tables, rest) if table is not None])
    if tables:
        whole = whole.take(pc.sort_indices(whole, order_of(kind)))
    return whole, damaged


def part_names(paths: StorePaths, kind: str) -> list[str]:
    """The names of the parts of `kind` that readers of Parquet are shown, in order."""
    entries = paths.entries(paths.shown(kind), "part-")
    return [e.name for e in entries if PART_FILE.fullmatch(e.name) and e.is_file(follow_symlinks=False)]


def read_part(path: Path, kind: str) -> tuple[pa.Table, tuple[str, ...]]:
    """A part's table, verified, and the names of the commits in it. Raises StoreDamaged, StoreNewer, OSError."""
    data = path.read_bytes()
    try:
        return decode(data, kind, path.name).replace_schema_metadata(None), names_in(data)
    except StoreNewer as fault:
        raise StoreNewer(f"{path}: {fault}") from fault


def of_cells(table: pa.Table, cells: Collection[str]) -> pa.Table:
    """The rows of a table that are of these cells."""
    if set(table["cell_id"].to_pylist()) <= set(cells):
        return table
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["cell_id"], value_set=pa.array(sorted(cells), pa.string())))


def cell_of(row: str) -> str:
    """The cell whose commit is called so."""
    return row.partition("-")[0]


def order_of(kind: str) -> list[tuple[str, str]]:
    """By what a table of `kind` with one commit of each cell is ordered."""
    return [("cell_id", "ascending")] + [("step", "ascending")] * (kind == "history")


def _read_one_by_one(paths: StorePaths, kind: str, names: list[str]) -> tuple[pa.Table, list[Damaged]]:
    import pyarrow.compute as pc

    cached, stamps = _cached(paths, kind)
    tables, damaged, found, fresh = [], [], {}, 0
    keep = set()
    for name in names:
        path = paths.row(kind, name)
        try:
            now = stamp(path)
        except FileNotFoundError:
            if not paths.row("cells", name).exists():
                raise  # superseded meanwhile
            damaged.append(Damaged(path, "missing"))
            continue
        if stamps.get(name) == now:
            keep.add(name)
        else:
            try:
                table = read_file(path, kind)
            except StoreNewer as fault:
                raise StoreNewer(f"{path}: {fault}") from fault
            except (StoreDamaged, StoreUnreadable) as fault:
                damaged.append(Damaged(path, str(fault), isinstance(fault, StoreUnreadable)))
                continue
            fresh += 1
            tables.append(_named(table, name))
        found[name] = now
    whole = cached
    if len(keep) < len(stamps):
        whole = cached.filter(pc.is_in(cached["file"], value_set=pa.array(sorted(keep), pa.string())))
    if tables:
        whole = pa.concat_tables([whole, *_merged(tables)])
        whole = whole.take(pc.sort_indices(whole, [(key, "ascending") for key in _order(kind)]))
    if fresh > NEW_FILES_CACHED:
        data = encode(whole, f"cache-{kind}", paths.compacted(kind).name, {"files": json.dumps(found)})
        with suppress(StoreUnwritable):  # a reader may have no right to write, and then reads slowly
            write_bytes(paths.compacted(kind), data, durable=False)
    return whole.drop_columns(["file"]), damaged


def _order(kind: str) -> list[str]:
    return ["file"] if kind == "cells" else ["file", "step"]


def _named(table: pa.Table, name: str) -> pa.Table:
    return table.append_column("file", pa.array([name] * table.num_rows, pa.string())).replace_schema_metadata(None)


def _merged(tables: list[pa.Table], batch: int = 256) -> list[pa.Table]:
    """The tables with few chunks, merged as they go: ten thousand chunks per column are slow to work with."""
    return [pa.concat_tables(tables[i : i + batch]).combine_chunks() for i in range(0, len(tables), batch)]


def _cached(paths: StorePaths, kind: str) -> tuple[pa.Table, Mapping[str, Stamp]]:
    """The cache's table and the stamps of the files in it; empty if there is none, or not of use."""
    path = paths.compacted(kind)
    schema = pa.schema([*SCHEMAS[kind], pa.field("file", pa.string())])
    try:
        data = path.read_bytes()
        table = decode(data, f"cache-{kind}", path.name)
        stamps = json.loads(pq.read_metadata(pa.BufferReader(data)).metadata[b"files"])
        if table.schema.equals(schema):
            return table, {name: (value[0], value[1], value[2]) for name, value in stamps.items()}
    except (OSError, StoreDamaged):
        pass
    return schema.empty_table(), {}


def _changed(path: Path) -> int:
    try:
        return stamp(path)[1]
    except OSError:
        return 0
