"""The files of parts, read and written as a whole: `sweeper.store.parts` decides which rows are in which."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from sweeper.errors import StoreDamaged, StoreUnreadable
from sweeper.store.atomic import make_folder, remove, write_bytes
from sweeper.store.columns import FINGERPRINTS, SCHEMAS, fingerprint
from sweeper.store.paths import StorePaths
from sweeper.store.reading import Stamp, cell_of, of_cells, order_of, part_names, read_file, read_part, stamp
from sweeper.store.rows import encode_part, rows_of_part

HISTORY_ROWS = 16_384  # of a part of the history that still takes further cells
MANY_CUTS = 32

Tables = Mapping[str, Mapping[str, pa.Table]]  # by kind and name of the commit
Version = tuple[int, Stamp]  # of a part's file, which two writers may replace within one tick of the clock of its times


class PartFiles:
    """The parts in the folders for readers, for one process: it remembers what it read and wrote last."""

    def __init__(self, paths: StorePaths):
        self.paths = paths
        self._rows: dict[Path, tuple[Version, tuple[str, ...], frozenset[str]]] = {}
        self._last: dict[str, tuple[Path, Version, pa.Table]] = {}

    def forget(self) -> None:
        """Remember nothing: other files may have taken these names."""
        self._rows.clear()
        self._last.clear()

    # --- which rows are in which ---

    def shown(self, kind: str) -> dict[str, tuple[str, ...]]:
        """The names of the commits in each part, by their footers; those of a torn one are none."""
        found = {}
        for name in part_names(self.paths, kind):
            path = self.paths.part(kind, name)
            now = _version(path)
            if path not in self._rows or self._rows[path][0] != now:
                try:
                    self._remember(path, now, rows_of_part(path))
                except StoreDamaged:
                    self._remember(path, now, ())
            found[name] = self._rows[path][1]
        return found

    def cells(self, kind: str, name: str) -> frozenset[str]:
        """The cells of a part that was listed by `shown`."""
        return self._rows[self.paths.part(kind, name)][2]

    def is_full(self, kind: str, name: str) -> bool:
        """Whether a part of the history has so many rows that it takes no further cells."""
        if kind == "cells":
            return False
        with suppress(StoreDamaged, OSError):
            return bool(self._table(kind, name).num_rows >= HISTORY_ROWS)
        return True

    def _remember(self, path: Path, at: Version, rows: tuple[str, ...]) -> None:
        self._rows[path] = at, rows, frozenset(map(cell_of, rows))

    # --- reading and writing them ---

    def replace(self, kind: str, name: str, before: Collection[str], after: list[str], tables: Tables) -> None:
        """Write a part anew, with these rows; those that it had `before` it keeps as they are in it."""
        stays = [row for row in after if row in before]
        found = {}
        if stays:
            try:
                table = self._table(kind, name)
            except (StoreDamaged, OSError):
                return  # the next run makes it again
            table = of_cells(table, [cell_of(row) for row in stays])
            found = dict.fromkeys(stays, table.slice(0, 0)) | {stays[0]: table}
        found |= self.tables(kind, [row for row in after if row not in found], tables)
        if found:
            self.write(kind, name, found)
        else:
            remove(self.paths.part(kind, name))

    def write(self, kind: str, name: str, found: Mapping[str, pa.Table], making: bool = False) -> None:
        """Write a part of these tables, by the names of their commits; `making`: into the folder that is being made."""
        if not found:
            return
        table = _ordered(pa.concat_tables(found.values()), kind)
        if fingerprint(table.schema) != FINGERPRINTS[kind]:
            table = table.cast(SCHEMAS[kind])  # Parquet calls the items of lists otherwise
        path = self.paths.new_part(kind, name) if making else self.paths.part(kind, name)
        make_folder(path.parent)
        # It is not flushed: `rows/` is, and after a power cut the next run makes it again from there.
        write_bytes(path, encode_part(table, kind, name, sorted(found)), durable=False)
        if not making:
            self._remember(path, _version(path), tuple(sorted(found)))
            self._last[kind] = path, self._rows[path][0], table

    def tables(self, kind: str, rows: Collection[str], tables: Tables) -> dict[str, pa.Table]:
        """The tables of these commits, without those that are damaged or gone: a run repairs them, and comes again."""
        found = {}
        for row in rows:
            if row in tables.get(kind, {}):
                found[row] = tables[kind][row].replace_schema_metadata(None)
                continue
            with suppress(StoreDamaged, StoreUnreadable, FileNotFoundError):
                found[row] = read_file(self.paths.row(kind, row), kind).replace_schema_metadata(None)
        return found

    def _table(self, kind: str, name: str) -> pa.Table:
        path = self.paths.part(kind, name)
        last = self._last.get(kind)
        now = _version(path)
        if last and last[:2] == (path, now):
            return last[2]
        self._last[kind] = path, now, read_part(path, kind)[0]
        return self._last[kind][2]


def is_numbered(part: str) -> bool:
    """Whether a part takes further cells; else it is that of a commit that had no turn."""
    return len(part) == len("part-000001.parquet")


def _version(path: Path) -> Version:
    return os.stat(path, follow_symlinks=False).st_ino, stamp(path)


def _ordered(table: pa.Table, kind: str) -> pa.Table:
    """A table in order. Mostly a row is added to ordered ones: then it is cut there, as copying takes longer."""
    import numpy as np
    import pyarrow.compute as pc

    order = pc.sort_indices(table, order_of(kind)).to_numpy()
    cuts = [0, *(np.flatnonzero(np.diff(order) != 1) + 1).tolist(), len(order)]
    if len(cuts) > MANY_CUTS:
        return table.take(order).combine_chunks()
    pieces = [table.slice(int(order[a]), b - a) for a, b in pairwise(cuts) if b > a]
    return pa.concat_tables(pieces).combine_chunks() if pieces else table
