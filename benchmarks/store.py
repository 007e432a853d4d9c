"""How long a store of ten thousand cells takes to list, verify, load and add to.

Rows are as of a 40-40-40-40 cell, with ten rows of history each. They are written without flushing, which is timed
apart; files are in the system's cache, as they are when a run resumes on the machine that wrote them.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas

import sweeper
from benchmarks.measure import circumstances, spent, table
from benchmarks.workload import cells
from models.cell import Cell, cell_id
from sweeper.store import CELL_COLUMNS, HISTORY_COLUMNS, Store
from sweeper.store.atomic import write_bytes
from sweeper.store.columns import SCHEMA_VERSION
from sweeper.store.rows import encode, history_table, row_table

LAYERS, UNITS = 4, 40
COMMITS = 20


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--cells", type=int, default=10_000, help="[default: %(default)s]")


def run(args: Namespace) -> None:
    """Time a store in a temporary folder."""
    circumstances(f"Once each; commits: median of {COMMITS}.")
    every = [(cell_id(cell), cell) for cell in cells("4x40", args.cells + COMMITS)]
    found: list[list[str]] = []

    def time(what: str, action: Callable[[], object]) -> None:
        found.append([what, *(f"{each:.3f}" for each in spent(action))])

    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "store")
        time("write all, unflushed", lambda: fill(store, every[: args.cells]))
        time("`committed()`, by names alone", store.committed)
        time("`repair()`, nothing verified or shown yet", store.repair)
        time("`repair()`, again", store.repair)
        for kind in ("cells", "history"):
            load = partial(sweeper.load, store.paths.root, kind)
            time(f"`load` of {kind}, no cache", load)
            time(f"`load` of {kind}, cached", load)
        time("`pandas.read_parquet(store / 'cells')`", lambda: pandas.read_parquet(store.paths.cells))
        few = _one_row_files(store, Path(folder) / "few")
        seconds = spent(lambda: pandas.read_parquet(few))
        whole = [f"{each / len(list(few.iterdir())) * args.cells:.3f}" for each in seconds]
        found.append(["the same, were each row a file (from 250 of them)", *whole])
        commits = [row(name, cell, "abcd1234", np.random.default_rng(0)) for name, cell in every[args.cells :]]
        took = zip(*(spent(partial(store.commit, *each)) for each in commits), strict=True)
        found.append(["`commit()`, flushed", *(f"{statistics.median(each):.3f}" for each in took)])
        size = sum(path.stat().st_size for path in store.paths.rows("cells").iterdir()) / len(every)
    table([f"{args.cells:,} cells, {size:,.0f} bytes per row", "seconds", "of the processor"], found)


def _one_row_files(store: Store, folder: Path, number: int = 250) -> Path:
    """A folder with some of the commits' own files, as a store of schema version 4 had all of them."""
    folder.mkdir()
    for name in sorted(rows[0].name for rows in store.committed().values())[:number]:
        os.link(store.paths.row("cells", name), folder / name)
    return folder


def fill(store: Store, cells: Sequence[tuple[str, Cell]], evaluation_id: str = "abcd1234") -> None:
    """Write a finished row and its history for each cell, as `commit` does, without its flushes and without parts."""
    rng = np.random.default_rng(0)
    for own_id, cell in cells:
        finished, history = row(own_id, cell, evaluation_id, rng)
        name, columns = row_table(finished)
        histories = encode(history_table(history, finished), "history", name)
        write_bytes(store.paths.new_row("history", name), histories, durable=False)
        write_bytes(store.paths.new_row("cells", name), encode(columns, "cells", name), durable=False)


def row(
    own_id: str, cell: Cell, evaluation_id: str, rng: np.random.Generator
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of a cell and its history, of random numbers."""

    def value(type: str) -> Any:
        return {
            "string": cell.architecture,
            "int64": 1,
            "double": rng.normal(),
            "list<int64>": [UNITS] * LAYERS,
            "list<double>": rng.normal(size=LAYERS).tolist(),
            "list<list<double>>": rng.normal(size=(LAYERS, UNITS)).tolist(),
            "timestamp[us, UTC]": datetime.now(UTC),
        }[type]

    own = {"cell_id": own_id, "step": 1000}
    finished = {column.name: value(column.type) for column in CELL_COLUMNS} | own
    finished |= {"state": "done", "diverged_at": None, "evaluation_id": evaluation_id, "schema_version": SCHEMA_VERSION}
    finished["schedule_ended_at"] = None
    finished |= {"cell": cell.to_json(), "device": "cpu"}
    histories = [{c.name: value(c.type) for c in HISTORY_COLUMNS} | own | {"step": 100 * i} for i in range(10)]
    return finished, histories
