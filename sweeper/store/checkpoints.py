"""Checkpoints of running stacks (leading axis = cells) and the kept states of committed cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from sweeper.errors import StoreDamaged
from sweeper.store.atomic import remove
from sweeper.store.names import ATTEMPT, CELL_ID
from sweeper.store.paths import StorePaths
from sweeper.store.records import Record, read_record, read_tensors, record_paths, write_record

GENERATIONS = 2  # of running checkpoints, so that a damaged one costs the work of one interval


class Checkpoints:
    """The part of a store that holds tensors: `running/` and `checkpoints/`."""

    paths: StorePaths

    def save_running(self, attempt: str, step: int, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Write a stack's checkpoint: `tensors[name]` is (cells, …) in the order of `meta["cell_ids"]`.

        `meta` is plain JSON. The newest two generations of the attempt stay. Raises StoreUnwritable, and
        ValueError on a wrong shape or name.
        """
        cell_ids = meta["cell_ids"]
        for name, tensor in tensors.items():
            if tensor.ndim == 0 or len(tensor) != len(cell_ids):
                raise ValueError(f"tensor {name!r} should have a leading axis of {len(cell_ids)}, got {tensor.shape}")
        write_record(self.paths.attempt(attempt), step, cell_ids, tensors, meta, GENERATIONS)

    def running(self) -> list[Record]:
        """Every whole checkpoint of a running stack, most steps first. Damaged ones are left out (see `check`).

        Raises StoreUnreadable: without it a cell would be trained anew.
        """
        records = []
        for folder in self.paths.subfolders(self.paths.running, ATTEMPT):
            for path in record_paths(folder):
                try:
                    records.append(read_record(path))
                except StoreDamaged:
                    continue
        return sorted(records, key=lambda record: (-record.step, record.attempt))

    def best_running(self) -> dict[str, Record]:
        """For each cell, its checkpoint with most steps."""
        best: dict[str, Record] = {}
        for record in self.running():
            for cell_id in record.cell_ids:
                best.setdefault(cell_id, record)
        return best

    def load_running(
        self, attempt: str, step: int, cell_ids: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Tensors (cells, …) of `cell_ids` in that order, and the checkpoint's `meta` (of all its cells).

        Raises StoreDamaged if anything of it was altered, or lacks a cell: then an earlier one may still load.
        """
        wanted = [path for path in record_paths(self.paths.attempt(attempt)) if int(path.stem) == step]
        if not wanted:
            raise StoreDamaged(f"{self.paths.attempt(attempt)}: no checkpoint of step {step}")
        record = read_record(wanted[0])
        missing = set(cell_ids) - set(record.cell_ids)
        if missing:
            raise StoreDamaged(f"{record.path}: no cells {', '.join(sorted(missing))}")
        rows = [record.cell_ids.index(cell_id) for cell_id in cell_ids]
        return {name: tensor[rows] for name, tensor in read_tensors(record).items()}, dict(record.meta)

    def remove_running(self, attempt: str) -> None:
        """Remove all of one attempt: its checkpoints and its progress."""
        remove(self.paths.attempt(attempt))

    def sweep_running(self, finished: Mapping[str, float], live: Collection[str] = ()) -> list[str]:
        """Remove attempts, except `live` ones, that are of no more use; returns their names.

        An attempt is of use while it holds the best checkpoint of a cell that has not finished as many steps, whether
        or not the study of the day asks for it. `finished`: steps of the committed cells, by id.
        """
        best = self.best_running().items()
        keep = set(live) | {record.attempt for cell_id, record in best if record.step > finished.get(cell_id, -1)}
        attempts = [folder.name for folder in self.paths.subfolders(self.paths.running, ATTEMPT)]
        swept = [attempt for attempt in attempts if attempt not in keep]
        for attempt in swept:
            self.remove_running(attempt)
        return swept

    def save_state(self, cell_id: str, steps: int, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Keep a committed cell's state (no axis of cells), in place of an older one. Raises StoreUnwritable."""
        write_record(self.paths.kept(cell_id), steps, [cell_id], tensors, meta, generations=1)

    def states(self) -> dict[str, int]:
        """Cells with a kept state, and its steps. From names alone: `load_state` verifies."""
        found = {}
        for folder in self.paths.subfolders(self.paths.checkpoints, CELL_ID):
            records = record_paths(folder)
            if records:
                found[folder.name] = int(records[0].stem)
        return found

    def load_state(self, cell_id: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A cell's kept tensors and `meta`. Raises StoreDamaged if there is none or it was altered."""
        records = record_paths(self.paths.kept(cell_id))
        if not records:
            raise StoreDamaged(f"{self.paths.kept(cell_id)}: no kept state")
        record = read_record(records[0])
        if record.cell_ids != (cell_id,):
            raise StoreDamaged(f"{record.path}: it is the state of {', '.join(record.cell_ids)}")
        return read_tensors(record), dict(record.meta)

    def remove_state(self, cell_id: str) -> None:
        """Remove a cell's kept state, if there is one."""
        remove(self.paths.kept(cell_id))
