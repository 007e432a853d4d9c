"""The critical values of a frame: rows as a store has them, or made by hand from whatever was measured elsewhere.

Needed are the control parameter (`rho`), `seed`, and what the order parameter is read from (`kl_top`). Rows that share
all else that decides a cell's training make one curve: `data`, `latents`, `objective` and every other field of a cell
as far as there are such columns, and `architecture` where there is no `latents`. A field without a column, or without a
value, has its default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from models.cell import Cell
from sweeper.analysis.curves import curves, select
from sweeper.analysis.tables import critical_table
from sweeper.parameters.control import RHO, STEPS, Axis, End, axis_of
from sweeper.parameters.order import OrderParameter, parse_order_parameter

FIELDS = tuple(field.name for field in fields(Cell))
UNKNOWN = {"data": "", "latents": "1-1"}  # of rows that do not say; two layers, because one is never smoothed
HEAD = (
    "data", "architecture", "objective", "variant", "order_parameter", "kind", "control", "reference", "value",
    "critical", "low", "high", "bound", "seeds", "reason",
)  # fmt: skip


def critical_values(
    cells: pd.DataFrame,
    *,
    control: str = RHO.name,
    collapsed: End | None = None,
    reference: float | None = None,
    order_parameter: str = "kl_top",
    history: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per curve and kind (onset, midpoint): see `sweeper.critical`, and `critical_table` for all columns."""
    axis, parameter = axis_of(control, collapsed), parse_order_parameter(order_parameter)
    if not isinstance(cells, pd.DataFrame):
        raise TypeError(f"cells should be a DataFrame, as sweeper.load(store) returns it, got {type(cells).__name__}")
    if len(cells) == 0:
        return pd.DataFrame(columns=list(HEAD))
    if axis.name == STEPS.name and history is None:
        raise ValueError('control steps takes its values from the history: give history=sweeper.load(store, "history")')
    rows = _completed(cells, axis, parameter, history is not None)
    found = curves(select(rows), order_parameter, reference, axis, history)
    if not found:  # no network has the layer
        return pd.DataFrame(columns=list(HEAD))
    table = critical_table(found, order_parameter, history)
    if "value" not in table:
        table.insert(table.columns.get_loc("critical"), "value", table["critical"])
    return table


def needed(axis: Axis, parameter: OrderParameter) -> tuple[str, ...]:
    """The columns that no frame can do without."""
    if axis.name == STEPS.name:
        return ("seed", "cell_id")
    column = parameter.quantity
    if column in ("kl", "kl_per_unit"):
        column = "kl_top" if parameter.layer is None else "kl_per_layer"
    return (axis.name, "seed", column, *(("latents",) if parameter.quantity == "kl_per_unit" else ()))


def _completed(cells: pd.DataFrame, axis: Axis, parameter: OrderParameter, by_id: bool) -> pd.DataFrame:
    """The rows with every column that curves are made from. by_id: a history refers to their `cell_id`."""
    wanted = dict.fromkeys((*needed(axis, parameter), *(("cell_id",) if by_id else ())))
    twice = cells.columns[cells.columns.duplicated()]
    if len(twice):
        raise ValueError(f"cells have several columns called {twice[0]}")
    missing = [name for name in wanted if name not in cells]
    if missing:
        names = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise ValueError(f"cells lack the {names}: needed are {', '.join(wanted)}")
    nothing = [name for name in ("seed", axis.name) if name in wanted and cells[name].isna().any()]
    if nothing:
        raise ValueError(f"cells have rows without a value of {' and '.join(nothing)}")
    rows = cells.copy()
    for name in [name for name in wanted if name in ("kl_top", "kl_total")]:
        try:
            rows[name] = rows[name].astype("float64")
        except (TypeError, ValueError):
            raise ValueError(f"{name} should be a number in every row, or nothing") from None
    whole = "cell" in rows
    if whole:
        made = [Cell.from_json(text) for text in rows["cell"]]
    else:
        given = [name for name in FIELDS if name in rows]
        made = [_cell(values) for values in rows[given].to_dict("records")]
        rows["cell"] = [cell.canonical().to_json() for cell in made]
    if whole or "latents" in rows:
        rows["latents"] = [list(cell.latent_sizes) for cell in made]
        said: dict[str, Any] = {"architecture": [c.architecture for c in made], "depth": [c.depth for c in made]}
    else:
        layers = [
            name for name in ("kl_per_layer", "active_units", "relative_activity", "mutual_information") if name in rows
        ]
        said = {"architecture": "", "depth": rows[layers[0]].map(np.size) if layers else 1}
    said |= {"data": [c.data for c in made], "objective": [c.objective for c in made], "state": "done", "step": 0}
    for name, values in said.items():
        if name not in rows:
            rows[name] = values
        elif rows[name].isna().any():
            rows[name] = rows[name].astype(object).where(rows[name].notna(), values)
    if "data_digest" not in rows:  # a name for what else tells curves apart
        rows["data_digest"] = rows["data"].astype(str) + " " + rows["architecture"].astype(str)
    if "cell_id" not in rows:
        identities = zip(rows["data_digest"], rows["cell"], rows[axis.name], rows["seed"], strict=True)
        rows["cell_id"] = [hashlib.sha256(repr(name).encode()).hexdigest()[:24] for name in identities]
        _refuse_twice(rows, axis)
    return rows


def _cell(row: Mapping[str, Any]) -> Cell:
    """The cell of a row that has some of its fields. Raises ValueError."""
    values = {name: value for name, value in row.items() if np.ndim(value) or not pd.isna(value)}
    if "latents" in values and not isinstance(values["latents"], str):
        values["latents"] = "-".join(f"{size:g}" for size in np.atleast_1d(values["latents"]))
    unsaid = {**UNKNOWN, "seed": 0, "objective": "ou" if "rho" in values else "vae"}
    return Cell(**{**unsaid, **values})


def _refuse_twice(rows: pd.DataFrame, axis: Axis) -> None:
    """Raise ValueError where two rows of equal steps would be one point of a curve."""
    twice = rows[rows.duplicated(["cell_id", "step"])]
    if len(twice):
        row = twice.iloc[0]
        where = f"{axis.name} {row[axis.name]:g}, seed {row['seed']} of {row['data']} {row['architecture']}".rstrip()
        where = where.removesuffix(" of")
        raise ValueError(
            f"cells have several rows for {where}: what tells them apart should be in a column of a cell's fields "
            f"({', '.join(FIELDS[:6])}, …) or architecture"
        )
