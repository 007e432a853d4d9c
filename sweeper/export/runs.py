"""Cells as runs, as experiment trackers have them: hyper-parameters, final results, and curves over steps.

A run is exported again only where its content has changed, and then in place of what was there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from sweeper.errors import StudyError

FORMAT = 1  # of what is written for a run: raised when the same rows are to be exported otherwise
MARK = "sweeper.json"  # in a run's folder: that an export wrote it, and what
UNFINISHED = ".unfinished-"

RESULTS = (
    "elbo", "elbo_se", "reconstruction", "kl_total", "kl_top", "kl_top_se", "iw_bound", "iw_se", "iw_se_mc",
    "bits_per_dim", "bits_per_dim_iw",
    "train_objective", "parameters", "wall_s", "step_s", "evaluation_s", "peak_memory_bytes", "stack_cells",
)  # fmt: skip
RESULTS_BY_LAYER = {
    "kl_per_layer": "kl", "kl_cumulative": "kl_cumulative", "active_units": "active_units",
    "active_units_one_pass": "active_units_one_pass", "relative_activity": "relative_activity",
    "mutual_information": "mutual_information", "classification_accuracy": "classification_accuracy",
}  # fmt: skip
CURVES = (
    "elbo", "bits_per_dim", "reconstruction", "kl_total", "kl_top", "train_objective", "learning_rate", "kl_weight",
)  # fmt: skip
CURVES_BY_LAYER = {"kl_per_layer": "kl", "active_units_one_pass": "active_units_one_pass"}
NOTES = (
    "cell_id", "study", "state", "step", "diverged_at", "evaluation_id", "split", "images", "iw_samples", "device",
    "device_name", "threads", "host", "git_revision", "version_sweeper", "version_torch", "draws",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished cell.

    - `name`: short, for people; `group`: its data set and architecture; `folder`: a file name of its own.
    - `parameters`: every field of the cell. `results`: the final evaluation and the costs, as `result/elbo`, those
      by layer as `result/kl_layer_1`. `curves`: by step, as `history/elbo`. `notes`: where they come from.
    - `begun`, `ended`: with time zone.
    """

    cell_id: str
    name: str
    group: str
    parameters: Mapping[str, str | int | float]
    results: Mapping[str, float]
    curves: Mapping[str, list[tuple[int, float]]]
    notes: Mapping[str, str | int | float]
    step: int
    diverged: bool
    begun: datetime
    ended: datetime

    @property
    def folder(self) -> str:
        """`digits-mlp-3-2-8-rho-0.9-seed-0-1a2b3c4d5e6f`."""
        words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.group} {self.name}".replace("ρ", "rho")).strip("-.")
        return f"{words[:120]}-{self.cell_id[:12]}"

    @cached_property
    def digest(self) -> str:
        """Of all that an export writes of it."""
        return hashlib.sha256(json.dumps([FORMAT, asdict(self)], sort_keys=True, default=str).encode()).hexdigest()


def runs_of(rows: Iterable[Mapping[str, Any]], history: Iterable[Mapping[str, Any]]) -> list[Run]:
    """The runs of a store's rows, in the order in which they ended; numbers that are none are left out."""
    along: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in history:
        along[row["cell_id"]].append(row)
    return sorted((_run(row, along[row["cell_id"]]) for row in rows), key=lambda run: (run.ended, run.cell_id))


def _run(row: Mapping[str, Any], along: list[Mapping[str, Any]]) -> Run:
    parameters = json.loads(row["cell"])
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for point in sorted(along, key=lambda point: point["step"]):
        for name, value in _numbers(point, CURVES, CURVES_BY_LAYER).items():
            curves[f"history/{name}"].append((point["step"], value))
    ended: datetime = row["finished_at"]
    return Run(
        cell_id=row["cell_id"],
        name=f"{parameters['objective']} ρ {row['rho']:g} seed {row['seed']}",
        group=f"{row['data']} {row['architecture']}",
        parameters=parameters | {"architecture": row["architecture"], "depth": row["depth"]},
        results={f"result/{name}": value for name, value in _numbers(row, RESULTS, RESULTS_BY_LAYER).items()},
        curves=dict(curves),
        notes={name: row[name] for name in NOTES if row.get(name) is not None},
        step=row["step"],
        diverged=row["state"] == "diverged",
        begun=ended - timedelta(seconds=(row["wall_s"] or 0.0) + (row["evaluation_s"] or 0.0)),
        ended=ended,
    )


def _numbers(row: Mapping[str, Any], single: Iterable[str], by_layer: Mapping[str, str]) -> dict[str, float]:
    found = {name: row.get(name) for name in single}
    for column, name in by_layer.items():
        found |= {f"{name}_layer_{i}": value for i, value in enumerate(row.get(column) or (), start=1)}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def write_folders(runs: Iterable[Run], output: Path, write: Callable[[Run, Path], object]) -> int:
    """Have `write` fill a folder for each run that is new or has changed, and put it in place; how many there were.

    Raises StudyError where a folder of that name was not written by an export.
    """
    output.mkdir(parents=True, exist_ok=True)
    for left in output.glob(f"{UNFINISHED}*"):  # by an export that was killed
        shutil.rmtree(left)
    written = 0
    for run in runs:
        place, mark = output / run.folder, output / run.folder / MARK
        if place.exists():
            if not mark.exists():
                raise StudyError(f"{place} was not written by an export: name another folder with --output")
            if json.loads(mark.read_text()).get("digest") == run.digest:
                continue
        made = output / f"{UNFINISHED}{run.folder}"
        made.mkdir()
        write(run, made)
        (made / MARK).write_text(json.dumps({"cell_id": run.cell_id, "digest": run.digest}) + "\n")
        if place.exists():
            shutil.rmtree(place)
        os.rename(made, place)
        written += 1
    return written


def imported(module: str, tool: str, extra: str) -> Any:
    """A library that not everybody has. Raises StudyError that says how to get it."""
    try:
        return import_module(module)
    except ImportError as fault:
        raise StudyError(
            f'exporting to {tool} needs a package more: pip install "sweeper[{extra}]" ({fault})'
        ) from fault
