"""Blocks that say what has no value and why, what the study asked for, and with what it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from models.cell import Cell
from sweeper.analysis.html.blocks import Block, code, paragraph, table
from sweeper.store.status import Failure

MAX_TRACEBACKS = 20  # different ones; cells of one stack fail with the same


def without_value(cells: pd.DataFrame, asked: Mapping[str, Cell] | None, failures: Sequence[Failure]) -> list[Block]:
    """Cells that diverged or failed, one by one, and how many are still to be trained. `cells`: those of the study."""
    diverged = cells[cells["state"] == "diverged"] if len(cells) else cells
    nan = "its loss or a weight became NaN or infinite"
    rows = [
        [row.cell_id, row.data, row.architecture, row.objective, row.rho, row.seed, "diverged", row.step, nan]
        for row in diverged.sort_values(["data", "architecture", "rho", "seed"]).itertuples()
    ]  # fmt: skip
    failed = [f for f in failures if asked is None or f.cell_id in asked]
    for failure in failed:
        cell = (asked or {}).get(failure.cell_id)
        known = [cell.data_words, cell.architecture, cell.objective, cell.rho, cell.seed] if cell else [None] * 5
        rows.append([failure.cell_id, *known, "failed", None, _last_line(failure.traceback)])
    blocks: list[Block] = []
    columns = ["cell", "data", "architecture", "objective", "ρ", "seed", "state", "step", "why"]
    if rows:
        blocks.append(
            table("Diverged and failed cells", columns, rows, note="Failed cells are tried afresh by the next run.")
        )
    tracebacks: dict[str, list[str]] = {}
    for failure in failed:
        tracebacks.setdefault(failure.traceback, []).append(failure.cell_id)
    for traceback, ids in list(tracebacks.items())[:MAX_TRACEBACKS]:
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        blocks.append(code(f"Traceback of cell {ids[0]}{more}", traceback, fold=True))
    known_ids = {*(cells["cell_id"] if len(cells) else ()), *(failure.cell_id for failure in failed)}
    waiting = Counter((c.data_words, c.architecture) for name, c in (asked or {}).items() if name not in known_ids)
    if waiting:
        blocks.append(
            table("Not trained yet", ["data", "architecture", "cells"], [[*key, n] for key, n in waiting.items()])
        )
    return blocks or [paragraph("Every cell that the study asks for has a value.")]


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def provenance(cells: pd.DataFrame, study_text: str) -> list[Block]:
    """Cost and machines, versions, evaluation, and the study as it was run."""
    blocks = [code("study.yaml, as last run", study_text)] if study_text else []
    return [_machines(cells), _versions(cells), *blocks] if len(cells) else blocks


def _machines(cells: pd.DataFrame) -> Block:
    rows = []
    for (device, name, threads), part in cells.groupby(["device", "device_name", "threads"]):
        each = 1 if device == "cuda" else int(threads)  # a GPU-hour is one of the device, whatever threads feed it
        hours = [f"{each * part[column].sum() / 3600:.2f}" for column in ("wall_s", "evaluation_s")]
        used = "GPU" if device == "cuda" else f"{threads} core{'s' * (threads > 1)} per worker"
        memory = part["peak_memory_bytes"].max()
        rows.append(
            [
                name, used, len(part), *hours,
                "GPU-hours" if device == "cuda" else "core-hours", f"{1000 * part['step_s'].median():.3g}",
                None if pd.isna(memory) else f"{memory / 1e9:.2g}",
            ]
        )  # fmt: skip
    columns = [
        "hardware",
        "used as",
        "cells",
        "training",
        "evaluation",
        "unit",
        "ms per cell-step (median)",
        "peak memory (GB)",
    ]
    return table("Hardware and cost", columns, rows)


_FACTS = (
    ("version_sweeper", "sweeper"),
    ("git_revision", "source revision"),
    ("version_python", "Python"),
    ("version_torch", "PyTorch"),
    ("version_numpy", "NumPy"),
    ("draws", "random draws"),
    ("split", "evaluated on"),
    ("images", "images evaluated"),
    ("iw_samples", "K of the importance-weighted bound"),
    ("iw_images", "images with K chains"),
    ("step", "training steps"),
    ("data_digest", "digest of the data"),
)


def _versions(cells: pd.DataFrame) -> Block:
    rows: list[list[Any]] = [["cells", f"{len(cells):,}"]]
    for column, words in _FACTS:
        values = sorted(cells[column].dropna().unique()) if column in cells else []
        if len(values):
            texts = [
                f"{value:,.0f}" if isinstance(value, float) or column == "step" else str(value) for value in values
            ]
            rows.append([words, ", ".join(texts)])
    if "finished_at" in cells:
        first, last = cells["finished_at"].min(), cells["finished_at"].max()
        rows.append(["finished", f"{first:%Y-%m-%d %H:%M} – {last:%Y-%m-%d %H:%M} UTC"])
    return table("Made with", ["", ""], rows)
