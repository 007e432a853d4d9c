"""The store of a study's results: open, lock, commit, read."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sweeper.errors import StoreDamaged, StoreNewer, StoreUnreadable, StoreUnwritable, StudyError
from sweeper.store import lock, quarantine, reading, repair, verify
from sweeper.store.atomic import TEMPORARY, make_folder, remove, reported, write_bytes
from sweeper.store.checkpoints import Checkpoints
from sweeper.store.columns import SCHEMA_VERSION, SCHEMAS
from sweeper.store.part_files import Tables
from sweeper.store.parts import Parts
from sweeper.store.paths import Committed, StorePaths
from sweeper.store.pictures import check_png
from sweeper.store.rows import Damaged, encode, history_table, row_table
from sweeper.store.status import Status

if TYPE_CHECKING:
    import pandas

# What systems put into a folder by themselves: of a new disk, of a file browser, of a cloud folder, of NFS.
DROPPED = re.compile(
    r"lost\+found|Thumbs\.db|[Dd]esktop\.ini|Icon\r|\.(DS_Store|directory|st(folder|ignore|versions)|dropbox|nfs[0-9a-f]+)"
)


class Store(Checkpoints, Status):
    """A folder of results. Readers need no lock; a run holds `lock()` and begins with `repair()`.

    Every method raises StoreUnwritable when the disk fails it, naming path and free space.
    """

    def __init__(self, root: Path | str):
        """Use `Store.open` or `Store.create`: this checks nothing."""
        self.paths = StorePaths(root)
        self.parts = Parts(self.paths)

    # --- opening ---

    @classmethod
    def open(cls, root: Path | str, create: bool = False) -> Store:
        """The store at `root`, made if `create` and the folder is new or empty.

        Raises StoreNewer (written by a later version; untouched), StoreDamaged, StudyError (a folder of something
        else), StoreUnwritable (no such folder, or it cannot be read).
        """
        store = cls(root)
        with reported(store.paths.version):
            # Listed before the version is looked for: of a store that another process makes meanwhile, what the
            # list shows came after the version.
            names = [path.name for path in store.paths.root.iterdir()] if store.paths.root.is_dir() else []
            if store.paths.version.exists():
                store._check_version()
                if create:
                    store._make_folders()
                return store
        if any(not (TEMPORARY.fullmatch(name) or DROPPED.fullmatch(name)) for name in names):
            raise StudyError(f"{root} holds other files and is no store of sweeper: name another folder")
        if not create:
            raise StoreUnwritable(f"no store at {root}")
        return cls.create(root)

    @classmethod
    def create(cls, root: Path | str) -> Store:
        """A new store at `root`. The file that makes it one is written first, so that a kill leaves no other folder."""
        store = cls(root)
        make_folder(store.paths.root, parents=True)
        note = {"format": "sweeper store", "schema_version": SCHEMA_VERSION}
        write_bytes(store.paths.version, (json.dumps(note) + "\n").encode(), exclusive=True)
        store._check_version()
        store._make_folders()
        return store

    def _make_folders(self) -> None:
        for folder in self.paths.folders:
            make_folder(folder)

    def _check_version(self) -> None:
        try:
            version = json.loads(self.paths.version.read_bytes())["schema_version"]
        except (ValueError, KeyError, TypeError) as fault:
            raise StoreDamaged(f"{self.paths.version} is torn: of a whole store it says the version") from fault
        if not isinstance(version, int) or version < 1:
            raise StoreDamaged(f"{self.paths.version}: schema version should be a number ≥ 1, got {version!r}")
        if version > SCHEMA_VERSION:
            raise StoreNewer(
                f"{self.paths.root} was written by a newer sweeper (schema version {version}, this one knows up to "
                f"{SCHEMA_VERSION}); nothing was changed: install that version"
            )
        for folder in self.paths.folders:
            if any(part.is_symlink() for part in (folder, folder.parent) if part != self.paths.root):
                raise StoreDamaged(f"{folder} is a link: a store's folders should be its own")

    def lock(self) -> AbstractContextManager[None]:
        """Hold the store for a run. Raises StoreInUse with host, process and age; a dead process holds nothing."""
        return lock.locked(self.paths)

    def holder(self) -> dict[str, Any] | None:
        """Who runs on the store (host, pid, started_at, command), or None."""
        return lock.holder(self.paths)

    # --- rows ---

    def committed(self) -> dict[str, list[Committed]]:
        """The finished rows of each cell, by file names alone; the first of a cell's is the one that counts."""
        return reading.newest(reading.commits(self.paths))

    def commit(
        self, row: Mapping[str, Any], history: Sequence[Mapping[str, Any]], pictures: bytes | None = None
    ) -> bool:
        """Add a finished cell: its history and pictures whole first, then its row. Older rows move to superseded/.

        When this returns, the row is in the folders for readers of Parquet too (`sweeper.store.parts`).

        `row` and each of `history` have exactly the columns of `columns.CELL_COLUMNS` and `HISTORY_COLUMNS`; `pictures`
        is a PNG (`sweeper.store.pictures`). Returns
        False, with nothing changed, if this commit or one with more steps is there. Raises ValueError naming wrong
        columns.
        """
        name, table = row_table(row)
        histories = history_table(history, row)
        present = reading.commits(self.paths, cell_id=row["cell_id"])
        if any(other.name == name or other.steps > row["step"] for other in present):
            return False
        return self.link(
            row["cell_id"],
            name,
            encode(table, "cells", name),
            encode(histories, "history", name),
            pictures,
            {"cells": {name: table}, "history": {name: histories}},
        )

    def link(
        self,
        cell_id: str,
        name: str,
        row: bytes,
        history: bytes,
        pictures: bytes | None = None,
        tables: Tables = MappingProxyType({}),
    ) -> bool:
        """Add a row, its history and pictures as the sealed bytes that they are; False if a row of this name is there.

        The history comes first, the row makes all of them count, then readers of Parquet are shown it, and the cell's
        older rows go. A kill before it is shown leaves a row that counts and is shown when the next run begins.
        `tables`: those in the bytes, if they are at hand.
        """
        for kind in ("history", "cells"):
            make_folder(self.paths.rows(kind).parent)  # a store of an earlier version has none
            make_folder(self.paths.rows(kind))
        write_bytes(self.paths.new_row("history", name), history)
        if pictures is not None:
            make_folder(self.paths.pictures)  # a store of an earlier version has none
            write_bytes(self.paths.picture(name), pictures)
        if not write_bytes(self.paths.new_row("cells", name), row, exclusive=True):
            return False
        if not self.paths.row("history", name).exists():
            # This process was stopped for so long that a later run took the history for a killed commit's.
            write_bytes(self.paths.new_row("history", name), history)
        rows = self.parts.show(cell_id, name, tables)
        repair.supersede(self.paths, [rows])  # listing a folder of ten thousand once more takes 5 ms
        remove(self.paths.failure(cell_id))
        return True

    def read_row(self, path: Path, columns: Sequence[str] = ()) -> dict[str, Any]:
        """The row in a commit's file, or in one that was superseded, verified: some columns [all; times load pandas].

        Raises StoreDamaged, StoreUnreadable, StoreNewer.
        """
        try:
            table = reading.read_file(path, "cells")
            row: dict[str, Any] = (table.select(columns) if columns else table).to_pylist()[0]
        except FileNotFoundError as fault:
            raise StoreDamaged(f"{path}: no such file") from fault
        except (StoreDamaged, StoreUnreadable) as fault:
            raise type(fault)(f"{path}: {fault}") from fault
        return row

    def pictures(
        self, cell_id: str, committed: Mapping[str, list[Committed]] | None = None
    ) -> tuple[bytes, list[str]] | None:
        """The PNG of the row that counts, and what its rows show; None where there is none that is whole.

        `committed`: the rows, if they are at hand [listed], for which a folder is read as often as there are calls.
        """
        if committed is None:
            committed = reading.newest(reading.commits(self.paths, cell_id=cell_id))
        present = committed.get(cell_id)
        if not present:
            return None
        try:
            data = self.paths.picture(present[0].name).read_bytes()
            return data, check_png(data)
        except (OSError, StoreDamaged):
            return None

    def read(self, kind: str) -> tuple[pa.Table, list[Damaged]]:
        """`cells` (one row per cell, most steps) or `history` (one row per cell and step), ordered by cell id, and the
        files that could not be used.
        """
        if kind not in SCHEMAS:
            raise ValueError(f"what to read should be one of {', '.join(SCHEMAS)}, got {kind!r}")
        return reading.read_folder(self.paths, kind)

    def cells(self) -> pandas.DataFrame:
        """One row per cell; columns as in docs/columns.md. Warns, naming them, of files that could not be used."""
        return self._frame("cells")

    def history(self) -> pandas.DataFrame:
        """One row per cell and evaluated step; columns as in docs/columns.md. Warns of files that could not be used."""
        return self._frame("history")

    def _frame(self, kind: str) -> pandas.DataFrame:
        table, damaged = self.read(kind)
        for fault in damaged:
            warnings.warn(f"left out {fault}", stacklevel=3)
        return table.to_pandas()

    # --- repair ---

    def repair(self) -> list[Damaged]:
        """Quarantine damaged files and finish what a killed run left half done. Only under the lock.

        Returns the files that were quarantined, and those that were found and left alone.
        """
        self._make_folders()
        return repair.repair(self.paths, self.parts)

    def check(self) -> list[Damaged]:
        """Every file verified by reading it all, checkpoints too; changes nothing."""
        with reported(self.paths.root):
            return verify.check(self.paths)

    def quarantine(self, path: Path, reason: str) -> Damaged:
        """Move a file to the quarantine, `aside/`, with the reason beside it. Only under the lock."""
        return quarantine.quarantine(self.paths, path, reason)

    def quarantined(self) -> list[Damaged]:
        """The files in quarantine: where each was and why it was moved."""
        return quarantine.quarantined(self.paths)
