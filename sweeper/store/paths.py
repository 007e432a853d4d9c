"""Where everything of a store lies. No other module joins these paths, which `tests/sweeper/test_store_paths.py` reads
from the source; `sweeper.store.names` has what files may be called.

    study.yaml                        the resolved study of the last run
    store.json                        that this folder is a store, and of which version
    rows/cells/<cell id>-<steps>-<evaluation id>.parquet     a row per finished cell: the commit
    rows/history/<the same name>      its curves over steps
    cells/part-<number>.parquet       the rows that count, of many cells: for readers of Parquet (`sweeper.store.parts`)
    history/part-<number>.parquet     their curves
    pictures/<the same stem>.png      what it draws, where the study asks for pictures
    running/<attempt>/<steps>.safetensors, .json        checkpoints of a running stack
    checkpoints/<cell id>/<steps>.safetensors, .json    kept state of a committed cell
    superseded/ aside/ log/ analysis/ cache/

Versions of the schema before 6 kept a row's file in `cells/` and its curves in `history/`, where they count as those in
`rows/` do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeper.store.atomic import reported
from sweeper.store.names import ATTEMPT, CELL_ID, DIVERGED, ENDED, REASON, ROW_FILE, checked, picture_name, step_name


@dataclass(frozen=True)
class Committed:
    """A finished cell as its file's name tells it. `evaluation_id` is None where the cell diverged at `steps`.

    `ended`: its schedule ended at `steps`, and no number of steps asks for more.
    """

    cell_id: str
    steps: int
    evaluation_id: str | None
    folder: Path
    name: str
    ended: bool = False

    @property
    def path(self) -> Path:
        """The commit's file."""
        return self.folder / self.name

    @property
    def state(self) -> str:
        """`done` or `diverged`, as in the row."""
        return "done" if self.evaluation_id else DIVERGED

    def covers(self, steps: int) -> bool:
        """Whether training to `steps` needs nothing more. A diverged cell covers every number: more cannot mend it.

        So does one whose schedule has ended.
        """
        return self.evaluation_id is None or self.ended or steps <= self.steps

    def satisfies(self, steps: int, evaluations: Collection[str]) -> bool:
        """Whether neither training to `steps` nor an evaluation with one of these ids needs anything more."""
        return self.evaluation_id is None or (self.covers(steps) and self.evaluation_id in evaluations)


def parse_row(folder: Path, name: str) -> Committed | None:
    """What the name of a file in `folder` says was committed; None if it is no name of a row."""
    match = ROW_FILE.fullmatch(name)
    if not match:
        return None
    cell_id, steps, ending = match.groups()
    evaluation = None if ending == DIVERGED else ending.removesuffix(ENDED)
    return Committed(cell_id, int(steps), evaluation, folder, name, ending.endswith(ENDED))


def record_file(folder: Path, step: int) -> Path:
    """The JSON of the record of `step` in a folder of records. Raises ValueError."""
    return folder / f"{step_name(step)}.json"


def tensors_file(record: Path) -> Path:
    """The tensors of the record whose JSON is `record`."""
    return record.with_suffix(".safetensors")


class StorePaths:
    """Every path of the store at `root`."""

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.study = self.root / "study.yaml"
        self.version = self.root / "store.json"
        self.lock = self.root / ".lock"
        self.lock_info = self.root / ".lock.json"
        self.stop = self.root / ".stop.json"
        self.cells = self.root / "cells"
        self.history = self.root / "history"
        self.committed = self.root / "rows"
        self.part_lock = self.root / ".parts.lock"
        self.pictures = self.root / "pictures"
        self.running = self.root / "running"
        self.checkpoints = self.root / "checkpoints"
        self.superseded = self.root / "superseded"
        self.aside = self.root / "aside"
        self.log = self.root / "log"
        self.failures = self.log / "failures"
        self.analysis = self.root / "analysis"
        self.cache = self.root / "cache"
        self.verified = self.cache / "verified.json"
        self.clock = self.cache / "clock"
        self.mirror = self.cache / "mirror.json"
        self.drawn = self.cache / "drawn.json"

    @property
    def folders(self) -> list[Path]:
        """The folders that a store has from its start, a folder before those in it."""
        return [
            self.cells, self.history, self.committed, self.rows("cells"), self.rows("history"),
            self.pictures, self.running, self.checkpoints, self.superseded,
            self.superseded_rows("cells"), self.superseded_rows("history"), self.superseded / "pictures", self.aside,
            self.log, self.failures, self.analysis, self.cache,
        ]  # fmt: skip

    def entries(self, folder: Path, beginning: str = "") -> list[os.DirEntry[str]]:
        """What lies in a folder of the store, by name; nothing if the folder is not there though the store is.

        `beginning`: of the names to be listed [all].

        (A store under version control has no empty folders.) Raises StoreUnwritable if the store itself is gone.
        """
        with reported(folder):
            try:
                with os.scandir(folder) as entries:
                    found = [entry for entry in entries if entry.name.startswith(beginning)] if beginning else entries
                    return sorted(found, key=lambda entry: entry.name)
            except FileNotFoundError:
                if not self.version.exists():
                    raise
                return []

    def subfolders(self, folder: Path, pattern: re.Pattern[str]) -> list[Path]:
        """The real folders in `folder` whose names match."""
        entries = self.entries(folder)
        return [Path(e) for e in entries if pattern.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]

    def walk(self) -> Iterator[str]:
        """The name of every file below the root, relative to it, its parts joined by `/`: see `inside`."""
        for folder, _, names in os.walk(self.root):
            inside = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if inside == "." else f"{inside}/"
            yield from (prefix + name for name in names)  # no path is made per file: a store may have 30,000

    def inside(self, name: str) -> Path:
        """The file or folder whose name relative to the root is `name`, its parts joined by `/`."""
        return self.root / name

    def shown(self, kind: str) -> Path:
        """The folder of `kind`, `cells` or `history`, in which readers of Parquet find every row once."""
        return {"cells": self.cells, "history": self.history}[kind]

    def rows(self, kind: str) -> Path:
        """The folder of the commits' files of `kind`, `cells` or `history`."""
        return self.committed / self.shown(kind).name

    def new_row(self, kind: str, name: str) -> Path:
        """Where a commit puts its file of `kind`, `cells` or `history`."""
        return self.rows(kind) / name

    def row(self, kind: str, name: str) -> Path:
        """Where the file of a commit is: among those that readers are shown, if an earlier version put it there."""
        earlier = self.shown(kind) / name
        return earlier if earlier.exists() else self.new_row(kind, name)

    def part(self, kind: str, name: str) -> Path:
        """The part called `name` among those of `kind` that readers are shown."""
        return self.shown(kind) / name

    def being_made(self, kind: str) -> Path:
        """Where a folder for readers is made before it takes the place of the one of `kind`, and what that becomes."""
        return self.root / f".{kind}.new"

    def new_part(self, kind: str, name: str) -> Path:
        """The part called `name` in the folder of `kind` that is being made."""
        return self.being_made(kind) / name

    def taken_down(self, kind: str) -> Path:
        """What the folder of `kind` becomes meanwhile on a system that cannot exchange two folders at once."""
        return self.root / f".{kind}.before"

    def picture(self, row: str) -> Path:
        """The pictures of the cell whose row's file is called `row`. Raises ValueError on a name that is none."""
        return self.pictures / picture_name(row)

    def superseded_rows(self, kind: str) -> Path:
        """The folder of `kind`, `cells` or `history`, for what a row of more steps has replaced."""
        return self.superseded / self.shown(kind).name

    def superseded_row(self, kind: str, name: str) -> Path:
        """Where the file called `name` of `kind`, `cells` or `history`, goes when a row of more steps replaces it."""
        return self.superseded_rows(kind) / name

    def superseded_picture(self, row: str) -> Path:
        """Where the pictures go that belong to the row's file called `row`, when that is replaced."""
        return self.superseded / "pictures" / picture_name(row)

    def quarantined(self, path: Path) -> Path:
        """A free name in the quarantine, `aside/`, for the store's file `path`: its folder and name, else numbered."""
        name = f"{path.parent.name}-{path.name}"
        target, number = self.aside / name, 1
        while target.exists():
            number += 1
            target = self.aside / f"{name}.{number}"
        return target

    def reason(self, aside: Path) -> Path:
        """The note beside a file in quarantine that says where it was and why it was moved."""
        return aside.with_name(f"{aside.name}{REASON}")

    def compacted(self, kind: str) -> Path:
        """The cache of `kind` that `load` reads; it may be deleted at any time."""
        return self.cache / f"{kind}.parquet"

    def fitting(self, key: str) -> Path:
        """How many cells of one shape fitted in memory on one machine."""
        return self.cache / f"fits-{checked(key, CELL_ID, 'key')}.json"

    def attempt(self, attempt: str) -> Path:
        """Folder of one running stack. Raises ValueError on a name that could leave the store."""
        return self.running / checked(attempt, ATTEMPT, "attempt")

    def progress(self, attempt: str) -> Path:
        """What the stack last said of itself."""
        return self.attempt(attempt) / "progress.json"

    def hung(self, attempt: str) -> Path:
        """How often the attempt's process made no progress."""
        return self.attempt(attempt) / "hung.json"

    def kept(self, cell_id: str) -> Path:
        """Folder of a committed cell's kept state."""
        return self.checkpoints / checked(cell_id, CELL_ID, "cell id")

    def log_file(self, attempt: str) -> Path:
        """What the processes of an attempt wrote for people."""
        return self.log / f"{attempt}.log"

    def analysis_file(self, name: str) -> Path:
        """A file or folder that an analysis or an export writes beside the report."""
        return self.analysis / name

    def failure(self, cell_id: str) -> Path:
        """Record of a cell's failure in the last run."""
        return self.failures / f"{checked(cell_id, CELL_ID, 'cell id')}.json"
