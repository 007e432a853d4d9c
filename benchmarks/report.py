"""How long the report of ten thousand cells takes, how large its page is, and how long a browser takes to show it.

Two curves of 100 values of ρ and 50 seeds: rows of a 40-40-40-40 cell with ten rows of history each, whose top KL falls
with log(1 − ρ) as that of trained cells does. All else in the rows is random. Of what is measured on request they have
the Hermite weights of the means alone. Without a Chromium on PATH the page is not opened.
"""

from __future__ import annotations

import resource
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measure import circumstances, table, timed
from benchmarks.planning import STUDY
from benchmarks.store import row
from models.cell import Cell, cell_id
from sweeper.report import write_report
from sweeper.store import CELL_COLUMNS, HISTORY_COLUMNS, Store
from sweeper.store.atomic import write_bytes
from sweeper.store.columns import NOT_ASKED_ALONG
from sweeper.store.parts import CELLS
from sweeper.store.rows import encode_part, history_table, row_table
from sweeper.study import load_study
from tests.sweeper.browser import Browser, find_browser

COLUMNS = {column.name for column in CELL_COLUMNS}
# What an evaluation measures on request alone, which the rows lack as those of most studies do.
ON_REQUEST = {column.name: None for column in CELL_COLUMNS if "does not ask for it" in column.null}
ON_REQUEST_ALONG = {column.name: None for column in HISTORY_COLUMNS if column.null == NOT_ASKED_ALONG}


SWITCH = "figure.chart input[data-key=seed][data-value='1']"


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--cells", type=int, default=10_000, help="a multiple of 100  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Time the report of a store in a temporary folder."""
    circumstances("Once, in this process. Processor time is of all threads.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.yaml"
        path.write_text(STUDY.format(points=args.cells // 100), encoding="utf-8")
        study, store = load_study(path), Store.create(Path(folder) / "store")
        for start in range(0, len(study.cells), CELLS):
            _fill(store, study.cells[start : start + CELLS], study.evaluation_settings("digits").id(), start // CELLS)
        begun = time.perf_counter(), time.process_time()
        found = write_report(study, store)
        wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
        assert found.page is not None
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        size = found.page.stat().st_size / 1e6
        shown = _in_a_browser(found.page)
    rows = [
        ["seconds", f"{wall:.1f}"],
        ["seconds of processor time", f"{processor:.1f}"],
        ["the page, MB", f"{size:.1f}"],
        ["memory of the process at most, GB", f"{memory:.2f}"],
        *shown,
    ]
    table([f"{len(study.cells):,} cells", "report"], rows)


def _in_a_browser(page: Path) -> list[list[str]]:
    """Seconds until a browser has loaded and laid out the page, and from a click until it is drawn anew."""
    path = find_browser()
    if path is None:
        return []
    with Browser(path) as browser:
        browser.open(page)  # once before, for the browser's own start

        def seconds(action: Callable[[], object]) -> str:
            return f"{timed(lambda: (action(), browser.value('0'))):.1f}"  # until all is laid out

        first = "document.querySelector('table.sortable')"
        browser.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
        sort = seconds(lambda: browser.value(f"{first}.querySelectorAll('th button')[2].click()"))
        found = browser.value(f"[...{first}.tBodies[0].rows].map(row => Number(row.cells[2].dataset.value))")
        assert found == sorted(found) and len(found) > 2 and browser.complaints == []
        return [
            ["until a browser shows the page, s", seconds(lambda: browser.open(page))],
            ["from a click on a switch of the first chart, s", seconds(lambda: browser.click(SWITCH))],
            ["from a click on a table's head until it is sorted, s", sort],
        ]


def _fill(store: Store, cells: Sequence[Cell], evaluation_id: str, number: int) -> None:
    """Write one part of finished cells. Of their own files only the names are read, so these are left empty."""
    rng = np.random.default_rng(number)
    tables: dict[str, list[pa.Table]] = {"cells": [], "history": []}
    names = []
    for cell in cells:
        finished, history = _planted(cell, *row(cell_id(cell), cell, evaluation_id, rng), rng)
        name, columns = row_table(finished)
        tables["cells"].append(columns)
        tables["history"].append(history_table(history, finished))
        names.append(name)
        store.paths.new_row("cells", name).touch()
    part = f"part-{number + 1:06d}.parquet"
    for kind, several in tables.items():
        data = encode_part(pa.concat_tables(several).combine_chunks(), kind, part, sorted(names))
        write_bytes(store.paths.part(kind, part), data, durable=False)


def _planted(
    cell: Cell, finished: dict[str, Any], history: list[dict[str, Any]], rng: np.random.Generator
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row and its history with the cell's own options, and numbers that a report looks at."""
    own = {name: value for name, value in asdict(cell).items() if name in COLUMNS and name != "latents"}
    top = max(0.2 + 9 * max(np.log(1 - cell.rho) - np.log(0.05), 0.0) + 0.1 * rng.normal(), 0.01)
    share = min(1.0, 0.1 * top)
    finished |= own | ON_REQUEST | {
        "study": "many", "data_digest": "0" * 8, "depth": 4, "split": "test", "steps_asked": 1000,
        "elbo": -25 - 0.2 * top + 0.1 * rng.normal(), "kl_top": top, "kl_per_layer": [8.0, 7.0, 5.0, top],
        "active_units": [40, 30, 20, round(40 * share)], "relative_activity": [1.0, 0.75, 0.5, share],
        "hermite_mean": [[0.1] * 5] * 4,
    }  # fmt: skip
    for number, entry in enumerate(history):
        entry |= ON_REQUEST_ALONG | {
            "step": 100 * (number + 1), "split": "validation", "study": "many",
            "elbo": -25 - 100 * np.exp(-number / 2), "kl_top": top * (1 - np.exp(-0.4 * (number + 1))),
        }  # fmt: skip
    return finished, history
