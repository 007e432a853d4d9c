"""Reading a folder of sealed rows into one table, with a cache of what was read before.

Row files never change once they have their name, so the cache is keyed on each file's name, size and times, and only
files that it lacks are read. It is sealed like the rows, lies outside their folder, and may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.errors import StoreDamaged, StoreNewer, StoreUnreadable, StoreUnwritable
from sweeper.store.atomic import write_bytes
from sweeper.store.columns import SCHEMAS
from sweeper.store.paths import Committed, StorePaths, parse_row
from sweeper.store.rows import UNREADABLE, Damaged, decode, encode

Stamp = tuple[int, int, int]  # size in bytes, times of last change of content and of entry in ns
NEW_FILES_CACHED = 20  # fewer are read again each time rather than rewriting the cache


def scan(paths: StorePaths, folder: Path, cell_id: str = "") -> list[Committed]:
    """The rows in a folder, or those of one cell, by their names alone, ordered by name. Raises StoreUnwritable."""
    entries = (entry for entry in paths.entries(folder) if entry.name.startswith(cell_id))
    found = (parse_row(folder, entry.name) for entry in entries if entry.is_file(follow_symlinks=False))
    return [committed for committed in found if committed is not None]


def newest(rows: list[Committed]) -> dict[str, list[Committed]]:
    """Rows by cell, the one that counts first: most steps, then the file changed last, then the later name."""
    cells: dict[str, list[Committed]] = {}
    for row in rows:
        cells.setdefault(row.cell_id, []).append(row)
    for several in cells.values():
        if len(several) > 1:
            several.sort(key=lambda row: (row.steps, _changed(row.path), row.name), reverse=True)
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
        counted = {rows[0].name: rows[0] for rows in newest(scan(paths, paths.cells)).values()}
        try:
            return _read(paths, kind, sorted(counted))
        except FileNotFoundError:
            if last:
                raise
    raise AssertionError("not reached")


def _read(paths: StorePaths, kind: str, names: list[str]) -> tuple[pa.Table, list[Damaged]]:
    import pyarrow.compute as pc  # its import takes as long as all else that planning needs of pyarrow

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
