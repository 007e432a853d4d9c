"""Planted rows with all the columns that a page shows, and hostile ones: a store may come from a stranger."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.cell import Cell
from sweeper.analysis.curves import curves
from sweeper.analysis.html import page_data
from sweeper.analysis.html.blocks import Block
from sweeper.analysis.report import Report
from sweeper.store.status import Failure
from tests.sweeper.synthetic import store

HOSTILE = (
    "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "'\"&\u202e\x00\ud800"
)


def planted(**options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows as a store has them (`synthetic.store`), with what each cell cost and with what it was made."""
    cells, history = store(**options)
    depth = cells["latents"].map(len)
    terms = [[10.0 - layer for layer in range(n - 1)] + [kl] for n, kl in zip(depth, cells["kl_top"], strict=True)]
    extra = {
        "kl_per_layer": terms, "kl_total": [sum(each) for each in terms], "active_units_one_pass": cells["latents"],
        "iw_bound": cells["elbo"] + 1, "reconstruction": cells["elbo"] + 20, "device": "cpu", "device_name": "a CPU",
        "threads": 1, "wall_s": 3600.0, "evaluation_s": 360.0, "step_s": 0.01, "peak_memory_bytes": 2 * 10**9,
        "version_sweeper": "0.1.0", "version_torch": "2.13.0", "git_revision": "abc123", "images": 2000,
        "finished_at": pd.date_range("2026-01-01", periods=len(cells), freq="min", tz="UTC"),
    }  # fmt: skip
    return cells.assign(**extra), history


def asked(cells: pd.DataFrame) -> dict[str, Cell]:
    """The cells by id, as a study that asks for them."""
    return {row.cell_id: Cell.from_json(row.cell) for row in cells.itertuples()}


def diverged(cells: pd.DataFrame, *numbers: int) -> pd.DataFrame:
    """The rows of these numbers as those of cells that diverged."""
    cells = cells.copy()
    places = cells.index[list(numbers)]
    cells.loc[places, "state"] = "diverged"
    cells.loc[places, "step"] = 123
    cells.loc[places, ["elbo", "kl_top", "kl_total", "iw_bound", "reconstruction"]] = np.nan
    for name in ("active_units", "active_units_one_pass", "kl_per_layer"):
        cells[name] = cells[name].where(~cells.index.isin(places), None)
    return cells


def failure(cell_id: str, text: str = "Traceback (most recent call last):\n  …\nValueError: no such thing") -> Failure:
    """A failure of a cell as a run notes it."""
    return Failure(cell_id, "attempt", text, "/nowhere/log")


@cache
def planted_report() -> tuple[Report, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """A report, its cells and history, and the other arguments of its page: two depths and widths, one cell diverged,
    one failed, one not trained."""
    folder = Path("/store/analysis")
    cells, history = planted(latents=("10-10", "20-20", "10-10-10"))
    wanted = asked(cells)
    failed, waiting = cells["cell_id"].iloc[[0, 20]]
    cells = diverged(cells[~cells["cell_id"].isin([failed, waiting])].reset_index(drop=True), 40)
    files = {"tables": [folder / "critical.csv", folder / "critical.parquet"], "figures": [folder / "phase.pdf"]}
    made = Report("planted study", "kl_top", curves(cells), **files, notes=["1 cell diverged"])
    more = {"folder": folder, "question": "Where?", "study_text": "name: planted\n", "asked": wanted}
    return made, cells, history, more | {"failures": [failure(failed)]}


def hostile_page() -> Block:
    """The same page where everything that a store can say is hostile, and with it every text of a chart."""
    made, cells, history, more = planted_report()
    names = ["data", "architecture", "device_name", "git_revision", "version_torch"]
    spoilt = cells.assign(**dict.fromkeys(names, HOSTILE.replace("\ud800", "")))  # half a pair is in no Parquet file
    said = {
        "question": HOSTILE,
        "study_text": HOSTILE,
        "failures": [failure(f.cell_id, HOSTILE) for f in more["failures"]],
    }
    page = page_data(replace(made, study=HOSTILE, notes=[HOSTILE]), spoilt, history, **more | said)
    for block in (b for part in page["sections"] for b in part["blocks"] if "controls" in b):
        block |= {"title": HOSTILE, "note": HOSTILE}
        for entry in [*block.get("legend", []), *(o for c in block["controls"] for o in c["options"])]:
            entry["text"] = HOSTILE
    return page
