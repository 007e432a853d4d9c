"""How long a store of many cells takes to list, verify and load: `python benchmarks/store.py [CELLS]`.

Rows are as of a 40-40-40-40 cell, with ten rows of history each. They are written without flushing, which is timed
apart; files are in the system's cache, as they are when a run resumes on the machine that wrote them.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas

import sweeper
from sweeper.store import CELL_COLUMNS, HISTORY_COLUMNS, Store
from sweeper.store.atomic import write_bytes
from sweeper.store.rows import encode, history_table, row_table

LAYERS, UNITS = 4, 40


def timed(what: str, action: Callable[[], Any]) -> Any:
    """Run `action` once and print its wall time."""
    start = time.perf_counter()
    result = action()
    print(f"{what:<44}{time.perf_counter() - start:8.3f} s", flush=True)
    return result


def rows(number: int, rng: np.random.Generator) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row and its history, of random numbers."""

    def value(type: str) -> Any:
        return {
            "string": "mlp 40-40-40-40 (200-200)",
            "int64": number,
            "double": rng.normal(),
            "list<int64>": [UNITS] * LAYERS,
            "list<double>": rng.normal(size=LAYERS).tolist(),
            "list<list<double>>": rng.normal(size=(LAYERS, UNITS)).tolist(),
            "timestamp[us, UTC]": datetime.now(UTC),
        }[type]

    own = {"cell_id": f"{number:024x}", "step": 1000}
    row = {column.name: value(column.type) for column in CELL_COLUMNS} | own
    row |= {"state": "done", "diverged_at": None, "evaluation_id": "abcd1234", "schema_version": 1}
    histories = [{c.name: value(c.type) for c in HISTORY_COLUMNS} | own | {"step": 100 * i} for i in range(10)]
    return row, histories


def fill(store: Store, cells: int) -> None:
    """Write rows as `commit` does, without its flushes."""
    rng = np.random.default_rng(0)
    for number in range(cells):
        row, history = rows(number, rng)
        name, table = row_table(row)
        write_bytes(store.paths.history / name, encode(history_table(history, row), "history", name), durable=False)
        write_bytes(store.paths.cells / name, encode(table, "cells", name), durable=False)


def main(cells: int) -> None:
    """Print the timings for a store of `cells` cells in a temporary folder."""
    root = Path(tempfile.mkdtemp())
    try:
        store = Store.create(root / "store")
        timed(f"write {cells:,} cells, unflushed", lambda: fill(store, cells))
        size = sum(path.stat().st_size for path in store.paths.cells.iterdir()) / cells
        print(f"{'bytes a row':<44}{size:8.0f}")
        assert len(timed("committed()", store.committed)) == cells
        timed("heal(), nothing verified yet", store.heal)
        timed("heal(), again", store.heal)
        for kind in ("cells", "history"):
            timed(f"load({kind!r}), no cache", lambda kind=kind: sweeper.load(store.paths.root, kind))
            timed(f"load({kind!r}), cached", lambda kind=kind: sweeper.load(store.paths.root, kind))
        frame = timed("pandas.read_parquet(cells), plain", lambda: pandas.read_parquet(store.paths.cells))
        assert len(frame) == cells
        took = []
        for number in range(cells, cells + 20):
            row, history = rows(number, np.random.default_rng(number))
            start = time.perf_counter()
            store.commit(row, history)
            took.append(time.perf_counter() - start)
        print(f"{'commit() with flushes, median of 20':<44}{statistics.median(took):8.3f} s")
        timed("load('cells'), cached, 20 new", lambda: sweeper.load(store.paths.root))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
