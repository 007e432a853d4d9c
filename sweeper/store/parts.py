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

import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from sweeper.store.atomic import exchange, link, make_folder, remove, reported
from sweeper.store.names import PART_FILE, ROW_FILE
from sweeper.store.part_files import PartFiles, Tables, is_numbered
from sweeper.store.part_lock import turn
from sweeper.store.paths import Committed, StorePaths
from sweeper.store.reading import cell_of, commits, newest, scan

CELLS = 128  # of a part: writing one takes 10 ms then, and ten thousand cells are read in half a second
MANY_FILES = 256  # small ones, after which a folder is rebuilt
KINDS = ("history", "cells")  # curves first, as in a commit


class Parts:
    """The parts of the store at `paths`, for one process."""

    def __init__(self, paths: StorePaths):
        self.paths = paths
        self.files = PartFiles(paths)

    def show(self, cell_id: str, keep: str, tables: Tables) -> list[Committed]:
        """Have readers see the row of a cell that counts: see `newest` for `keep`. Returns the cell's rows, it first.

        `tables`: of commits, which need not be read then.
        """
        with turn(self.paths) as alone:
            rows = newest(commits(self.paths, cell_id=cell_id), keep).get(cell_id, [])
            for kind in KINDS:
                if alone:
                    self._bring_up_to_date(kind, {cell_id: rows[0].name} if rows else {}, {cell_id}, tables)
                elif rows and cell_id not in map(cell_of, self._everything_shown(kind)):
                    token = f"part-{secrets.token_hex(8)}.parquet"
                    self.files.write(kind, token, self.files.tables(kind, [rows[0].name], tables))
        return rows

    def show_again(self, cell_id: str) -> None:
        """Have readers see what the files of a cell's commit are by now: only where one was replaced by another's."""
        rows = newest(commits(self.paths, cell_id=cell_id)).get(cell_id, [])
        with turn(self.paths) as alone:
            for kind in KINDS if alone and rows else ():
                self._bring_up_to_date(kind, {cell_id: rows[0].name}, {cell_id}, {}, anew=frozenset({rows[0].name}))

    def reconcile(self, damaged: Collection[Path] = ()) -> None:
        """Have readers see exactly the rows that count: only under the store's lock. `damaged` parts are made again.

        Does nothing if another process holds the parts: one that was stopped, whose turn comes first.
        """
        with turn(self.paths) as alone:
            if not alone:
                return
            for kind in KINDS:
                self._take_down_leftovers(kind)
                winners = {cell: rows[0].name for cell, rows in newest(commits(self.paths)).items()}
                if self._small_files(kind) > MANY_FILES:
                    self._rebuild(kind, winners)
                    winners = {cell: rows[0].name for cell, rows in newest(commits(self.paths)).items()}
                self._bring_up_to_date(kind, winners, None, {}, damaged)

    def _everything_shown(self, kind: str) -> list[str]:
        earlier = [row.name for row in scan(self.paths, self.paths.shown(kind))]
        return [row for rows in self.files.shown(kind).values() for row in rows] + earlier

    def _small_files(self, kind: str) -> int:
        """Files of one cell: an earlier version's, and those of commits that had no turn."""
        earlier = len(scan(self.paths, self.paths.shown(kind)))
        return earlier + sum(not is_numbered(name) for name in self.files.shown(kind))

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
        shown = self.files.shown(kind)
        places: dict[str, list[str]] = {}
        broken = [name for name in shown if self.paths.part(kind, name) in damaged]
        beside = {row.name for row in scan(self.paths, self.paths.shown(kind))}  # an earlier version's, of one row
        seen = {cell for cell, row in winners.items() if row in beside}
        for name, rows in shown.items():
            if cells is not None and self.files.cells(kind, name).isdisjoint(cells):
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
            self.files.replace(kind, name, before, after, tables)

    def _with_room(
        self, kind: str, shown: Mapping[str, Collection[str]], new: list[str], broken: list[str]
    ) -> Iterator[tuple[str, list[str]]]:
        """Parts for new rows, each with all its rows then: broken ones, the last one while it has room, then others."""
        numbered = sorted(filter(is_numbered, shown))
        left = list(new)
        for name in dict.fromkeys([*broken, *numbered[-1:]]):
            rows = list(shown[name])
            takes_more = name in broken or (rows and not self.files.is_full(kind, name))  # one without rows is torn
            room = CELLS - len(rows) if takes_more else 0
            if left and room > 0:
                yield name, [*rows, *left[:room]]
                left = left[room:]
        number = int(numbered[-1][5:11]) if numbered else 0
        while left:
            number += 1
            yield f"part-{number:06d}.parquet", left[:CELLS]
            left = left[CELLS:]

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
            found = self.files.tables(kind, names[start : start + CELLS], {})
            self.files.write(kind, f"part-{number:06d}.parquet", found, making=True)
        exchange(shown, new, self.paths.taken_down(kind))
        self.files.forget()
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
