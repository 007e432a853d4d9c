"""A store's rows as Optuna studies, one per curve, for optuna-dashboard and whatever else reads an Optuna storage.

A trial is a cell: its parameters are ρ and the seed, its value the order parameter, its intermediate values the same
along the way, its attributes what the evaluation measured. Parquet stays the truth: a storage is written from it anew,
and nothing is read back.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import optuna
import pandas as pd
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from models.cell import Cell
from sweeper.analysis.curves import at_their_last_step
from sweeper.parameters.control import RHO, Axis
from sweeper.parameters.order import parse_order_parameter
from sweeper.refine.lines import Line, lines_of, points_of
from sweeper.refine.trials import trial_at

MARK = "sweeper.export"  # attribute of the studies that were exported, which alone are replaced
ATTRIBUTES = (
    "cell_id", "state", "step", "diverged_at", "split", "images", "elbo", "elbo_se", "reconstruction", "kl_total",
    "kl_per_layer", "kl_top", "active_units", "active_units_one_pass", "relative_activity", "mutual_information",
    "mi_cap", "iw_bound", "iw_samples", "iw_images", "iw_se", "bits_per_dim", "bits_per_dim_iw", "train_objective",
    "parameters", "wall_s", "step_s", "evaluation_s", "peak_memory_bytes",
    "stack_cells", "device", "device_name", "threads", "git_revision",
)  # fmt: skip


def open_storage(place: str) -> BaseStorage:
    """The Optuna storage at a URL of a database (`sqlite:///optuna.db`), or else in a journal file at a path."""
    if "://" in place:
        return RDBStorage(place)
    return JournalStorage(JournalFileBackend(os.path.expanduser(place)))


def export_optuna(
    rows: Iterable[Mapping[str, Any]],
    history: Iterable[Mapping[str, Any]],
    storage: BaseStorage,
    name: str,
    order_parameter: str = "kl_top",
    axis: Axis = RHO,
) -> list[str]:
    """Write a study for each curve of `rows` into `storage`, and return their names, which begin with `name`.

    rows, history: of a store, one per cell, and one per cell and step. Studies that an earlier export wrote are
    replaced. Raises ValueError where a study of such a name was not written by an export.
    """
    by_cell = {Cell.from_json(row["cell"]): row for row in rows}
    values, along = _values(pd.DataFrame(list(by_cell.values())), pd.DataFrame(list(history)), order_parameter)
    names = []
    for line in lines_of(by_cell, axis, alone=True):
        points = points_of([line], by_cell)[line]
        finished = sorted(points.items(), key=lambda entry: by_cell[entry[1]]["finished_at"])
        study = _replaced(storage, f"{name}: {line.label}", line, order_parameter)
        study.add_trials(_trial(point, line, by_cell[cell], values, along) for point, cell in finished)
        names.append(study.study_name)
    return names


def _values(
    cells: pd.DataFrame, history: pd.DataFrame, order_parameter: str
) -> tuple[dict[str, float], dict[str, dict[int, float]]]:
    """The order parameter of each cell, and at each step along the way; of what has none, nothing."""
    parameter = parse_order_parameter(order_parameter)
    along: dict[str, dict[int, float]] = defaultdict(dict)
    if parameter.in_history and len(history):
        measured = history.merge(cells[["cell_id", "latents"]], on="cell_id")
        for name, step, value in zip(measured["cell_id"], measured["step"], parameter.of(measured), strict=True):
            if math.isfinite(value):
                along[name][int(step)] = float(value)
    if parameter.on_validation and len(cells):
        cells = at_their_last_step(cells, history)
    ids = cells["cell_id"] if len(cells) else []
    found = zip(ids, parameter.of(cells) if len(cells) else [], strict=True)
    return {name: float(value) for name, value in found if math.isfinite(value)}, along


def _replaced(storage: BaseStorage, name: str, line: Line, order_parameter: str) -> optuna.Study:
    """An empty study of that name."""
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if summary.study_name == name:
            if MARK not in summary.user_attrs:
                raise ValueError(f"the storage has a study {name!r} that no export wrote; name another storage")
            optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    for key, value in {MARK: 1, "order_parameter": order_parameter, **_shared(line)}.items():
        study.set_user_attr(key, value)
    return study


def _shared(line: Line) -> dict[str, Any]:
    """The fields that all cells of a line have in common."""
    return {key: value for key, value in line.cell.written().items() if key not in (line.axis.name, "seed")}


def _trial(
    point: tuple[float, int],
    line: Line,
    row: Mapping[str, Any],
    values: Mapping[str, float],
    along: Mapping[str, dict[int, float]],
) -> FrozenTrial:
    value = values.get(row["cell_id"])
    ended: datetime = row["finished_at"].astimezone().replace(tzinfo=None)  # Optuna's times are local and naive
    begun = ended - timedelta(seconds=(row["wall_s"] or 0.0) + (row["evaluation_s"] or 0.0))
    return trial_at(
        point,
        line.axis,
        TrialState.FAIL if value is None else TrialState.COMPLETE,
        value,
        {name: row[name] for name in ATTRIBUTES if row.get(name) is not None},
        along.get(row["cell_id"]),
        (begun, ended),
    )
