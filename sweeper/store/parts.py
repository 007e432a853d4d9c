"""Parts: the rows that count, many to a file, in the folders that readers of Parquet are pointed to.

A commit is a file of one row in `rows/` (`Store.link`), and opening ten thousand of those takes a reader half a minute.
So each commit then writes its row into a part: a file of up to `CELLS` cells in `cells/`, and one with their curves in
`history/`. Whatever reads these folders sees each shown cell exactly once at every moment, because

- a part is replaced as a whole by a rename, and whoever opened the old one reads that to its end;
- a cell stays in its part: a row of more steps takes the place of the older one in the same file;
- a part that was listed never goes, and no cell moves from one part to another.

The last is why rows are not collected first and put together later: then names would go, and a reader that has listed
them would miss rows (pyarrow leaves out a name that has gone, without a word) or fail. `rebuilt` is the one exception,
for many small files of an earlier version.

Parts hold nothing that `rows/` does not: a damaged one is made again from there. Writers take turns by a lock on a file
that the system frees when its holder dies. Where there are no locks, or a holder was stopped, a commit gets a part of
its own, which needs no turn.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from sweeper.errors import StoreDamaged, StoreUnreadable
from sweeper.store.atomic import exchange, link, make_folder, remove, reported, write_bytes
from sweeper.store.columns import FINGERPRINTS, SCHEMAS, fingerprint
from sweeper.store.paths import PART_FILE, ROW_FILE, Committed, StorePaths
from sweeper.store.reading import (
    Stamp,
    cell_of,
    commits,
    newest,
    of_cells,
    order_of,
    part_names,
    read_file,
    read_part,
    scan,
    stamp,
)
from sweeper.store.rows import encode_part, rows_of_part

CELLS = 128  # of a part: writing one takes 10 ms then, and ten thousand cells are read in half a second
HISTORY_ROWS = 16_384  # of a part of the history that still takes further cells
MANY_CUTS = 32
MANY_FILES = 256  # small ones, after which a folder is rebuilt
TURN_S = 10.0  # a write takes some 20 ms: whoever holds the lock for so long was stopped
KINDS = ("history", "cells")  # curves first, as in a commit

Tables = Mapping[str, Mapping[str, pa.Table]]  # by kind and name of the commit
Version = tuple[int, Stamp]  # of a part's file, which two writers may replace within one tick of the clock of its times


class Parts:
    """The parts of the store at `paths`, for one process: it remembers what it read and wrote last."""

    def __init__(self, paths: StorePaths):
        self.paths = paths
        self._rows: dict[Path, tuple[Version, tuple[str, ...], frozenset[str]]] = {}
        self._last: dict[str, tuple[Path, Version, pa.Table]] = {}

    def show(self, cell_id: str, keep: str, tables: Tables) -> list[Committed]:
        """Have readers see the row of a cell that counts: see `newest` for `keep`. Returns the cell's rows, it first.

        `tables`: of commits, which need not be read then.
        """
        with self._turn() as alone:
            rows = newest(commits(self.paths, cell_id=cell_id), keep).get(cell_id, [])
            for kind in KINDS:
                if alone:
                    self._bring_up_to_date(kind, {cell_id: rows[0].name} if rows else {}, {cell_id}, tables)
                elif rows and cell_id not in map(cell_of, self._everything_shown(kind)):
                    token = f"part-{secrets.token_hex(8)}.parquet"
                    self._write(kind, token, self._tables(kind, [rows[0].name], tables))
        return rows

    def show_again(self, cell_id: str) -> None:
        """Have readers see what the files of a cell's commit are by now: only where one was replaced by another's."""
        rows = newest(commits(self.paths, cell_id=cell_id)).get(cell_id, [])
        with self._turn() as alone:
            for kind in KINDS if alone and rows else ():
                self._bring_up_to_date(kind, {cell_id: rows[0].name}, {cell_id}, {}, anew=frozenset({rows[0].name}))

    def reconcile(self, damaged: Collection[Path] = ()) -> None:
        """Have readers see exactly the rows that count: only under the store's lock. `damaged` parts are made again.

        Does nothing if another process holds the parts: one that was stopped, whose turn comes first.
        """
        with self._turn() as alone:
            if not alone:
                return
            for kind in KINDS:
                self._take_down_leftovers(kind)
                winners = {cell: rows[0].name for cell, rows in newest(commits(self.paths)).items()}
                if self._small_files(kind) > MANY_FILES:
                    self._rebuild(kind, winners)
                    winners = {cell: rows[0].name for cell, rows in newest(commits(self.paths)).items()}
                self._bring_up_to_date(kind, winners, None, {}, damaged)

    # --- which rows are where ---

    def _shown(self, kind: str) -> dict[str, tuple[str, ...]]:
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

    def _remember(self, path: Path, at: Version, rows: tuple[str, ...]) -> None:
        self._rows[path] = at, rows, frozenset(map(cell_of, rows))

    def _everything_shown(self, kind: str) -> list[str]:
        earlier = [row.name for row in scan(self.paths, self.paths.shown(kind))]
        return [row for rows in self._shown(kind).values() for row in rows] + earlier

    def _small_files(self, kind: str) -> int:
        """Files of one cell: an earlier version's, and those of commits that had no turn."""
        earlier = len(scan(self.paths, self.paths.shown(kind)))
        return earlier + sum(not _numbered(name) for name in self._shown(kind))

    def _bring_up_to_date(
        self,
        kind: str,
        winners: Mapping[str, str],
        cells: Collection[str] | None,
        tables: Tables,
        damaged: Collection[Path] = (),
        anew: frozenset[str] = frozenset(),
    ) -> None:
        """Show of these cells [all] the commits in `winners`, and nothing else; those of `anew` as they are now."""
        shown = self._shown(kind)
        places: dict[str, list[str]] = {}
        broken = [name for name in shown if self.paths.part(kind, name) in damaged]
        beside = {row.name for row in scan(self.paths, self.paths.shown(kind))}  # an earlier version's, of one row
        seen = {cell for cell, row in winners.items() if row in beside}
        for name, rows in shown.items():
            if cells is not None and self._rows[self.paths.part(kind, name)][2].isdisjoint(cells):
                continue
            kept = []
            for row in () if name in broken else rows:
                cell = cell_of(row)
                if cells is not None and cell not in cells:
                    kept.append(row)
                elif cell in winners and cell not in seen:
                    kept.append(winners[cell])
                    seen.add(cell)
            if tuple(kept) != rows or name in broken or not anew.isdisjoint(kept):
                places[name] = kept
        new = [row for cell, row in winners.items() if cell not in seen]
        places |= self._with_room(kind, {**shown, **places}, new, broken)
        for name, after in places.items():
            before = set() if name in broken else set(shown.get(name, ())) - anew
            self._replace(kind, name, before, after, tables)

    def _with_room(
        self, kind: str, shown: Mapping[str, Collection[str]], new: list[str], broken: list[str]
    ) -> Iterator[tuple[str, list[str]]]:
        """Parts for new rows, each with all its rows then: broken ones, the last one while it has room, then others."""
        numbered = sorted(filter(_numbered, shown))
        left = list(new)
        for name in dict.fromkeys([*broken, *numbered[-1:]]):
            rows = list(shown[name])
            takes_more = name in broken or (rows and not self._is_full(kind, name))  # one without rows is torn
            room = CELLS - len(rows) if takes_more else 0
            if left and room > 0:
                yield name, [*rows, *left[:room]]
                left = left[room:]
        number = int(numbered[-1][5:11]) if numbered else 0
        while left:
            number += 1
            yield f"part-{number:06d}.parquet", left[:CELLS]
            left = left[CELLS:]

    def _is_full(self, kind: str, name: str) -> bool:
        """Whether a part of the history has so many rows that it takes no further cells."""
        if kind == "cells":
            return False
        with suppress(StoreDamaged, OSError):
            return bool(self._table(kind, name).num_rows >= HISTORY_ROWS)
        return True

    # --- reading and writing them ---

    def _table(self, kind: str, name: str) -> pa.Table:
        path = self.paths.part(kind, name)
        last = self._last.get(kind)
        now = _version(path)
        if last and last[:2] == (path, now):
            return last[2]
        self._last[kind] = path, now, read_part(path, kind)[0]
        return self._last[kind][2]

    def _replace(self, kind: str, name: str, before: Collection[str], after: list[str], tables: Tables) -> None:
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
        found |= self._tables(kind, [row for row in after if row not in found], tables)
        if found:
            self._write(kind, name, found)
        else:
            remove(self.paths.part(kind, name))

    def _tables(self, kind: str, rows: Collection[str], tables: Tables) -> dict[str, pa.Table]:
        """The tables of these commits, without those that are damaged or gone: a run repairs them, and comes again."""
        found = {}
        for row in rows:
            if row in tables.get(kind, {}):
                found[row] = tables[kind][row].replace_schema_metadata(None)
                continue
            with suppress(StoreDamaged, StoreUnreadable, FileNotFoundError):
                found[row] = read_file(self.paths.row(kind, row), kind).replace_schema_metadata(None)
        return found

    def _write(self, kind: str, name: str, found: Mapping[str, pa.Table], making: bool = False) -> None:
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

    # --- the lock ---

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Be the one that writes parts. Yields whether it is: not where there are no locks, or a holder was stopped."""
        with reported(self.paths.part_lock):
            handle = os.open(self.paths.part_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            yield _locked(handle)
        finally:
            os.close(handle)

    # --- an earlier version's rows ---

    def _rebuild(self, kind: str, winners: Mapping[str, str]) -> None:
        """Make the folder for readers anew, of full parts, and exchange the two.

        A reader that has listed the old folder and not yet opened all of it fails, or, if it is between listing and
        looking at what it listed, may miss rows: once in the life of a store that began under an earlier version.
        """
        shown, new = self.paths.shown(kind), self.paths.being_made(kind)
        for row in scan(self.paths, shown):
            link(row.path, self.paths.new_row(kind, row.name))
        remove(new)
        make_folder(new)
        names = sorted(winners.values())
        for number, start in enumerate(range(0, len(names), CELLS), 1):
            found = self._tables(kind, names[start : start + CELLS], {})
            self._write(kind, f"part-{number:06d}.parquet", found, making=True)
        exchange(shown, new, self.paths.taken_down(kind))
        self._rows.clear()
        self._last.clear()
        self._take_down_leftovers(kind)

    def _take_down_leftovers(self, kind: str) -> None:
        """Remove a folder that readers are no longer shown, or were not yet; what is of others goes back."""
        for folder in (self.paths.being_made(kind), self.paths.taken_down(kind)):
            if not folder.exists():
                continue
            for entry in self.paths.entries(folder):
                if ROW_FILE.fullmatch(entry.name):  # a worker of an earlier version may have just put it there
                    link(Path(entry), self.paths.new_row(kind, entry.name))
                elif not PART_FILE.fullmatch(entry.name) and not entry.name.startswith("."):
                    with reported(folder):
                        os.rename(entry, self.paths.part(kind, entry.name))
            remove(folder)


def _numbered(part: str) -> bool:
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


def _locked(handle: int) -> bool:
    """Whether the lock on an open file was had, within `TURN_S`."""
    end = time.monotonic() + TURN_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        except OSError:
            return False
        else:
            return True
