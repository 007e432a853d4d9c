"""One row per method, as papers print them: what its cells gave (mean and deviation over seeds), and their cost.

A row holds the cells that differ in the seed alone. Its words come from what tells such settings apart
(`sweeper.analysis.variants.methods`), so that a new method has them without code here. Where a method is trained at
several values of the control parameter, each is a row.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.cell import canonical_json, options_of_role
from sweeper.analysis.critical import MIN_POINTS
from sweeper.analysis.curves import Curve
from sweeper.analysis.variants import NAMED, differing, methods
from sweeper.parameters.control import Axis

# Columns of cells: in nats per image, and in bits per dimension, which images of 256 levels have.
NUMBERS = ("elbo", "iw_bound", "bits_per_dim", "bits_per_dim_iw", "reconstruction", "kl_total", "kl_top")
PER_LAYER = ("active_units", "mutual_information", "classification_accuracy")  # lists; on request but the first
COSTS = ("wall_s", "peak_memory_bytes", "stack_cells")
SIZES = ("latents", "hidden", "activation")
# How a method is trained rather than which it is: no methods differ in these alone.
CONDITIONS = frozenset(
    {"seed", "batch_size", "precision", "optimizer", "smoothing_samples", *options_of_role("optimizer")}
)


def swept(curve: Curve) -> bool:
    """Whether a curve has points enough for a transition; if not, its cells are methods side by side."""
    return len(curve.control) >= MIN_POINTS


def for_transition(curves: Sequence[Curve], compared: bool) -> list[Curve]:
    """The curves whose transition is worth telling: where methods are compared, not those too short for one."""
    return [curve for curve in curves if swept(curve) or not compared or len(curves) == 1]


def several_methods(curves: Sequence[Curve]) -> bool:
    """Whether the curves' cells are methods to be compared with each other, and not one method along its control.

    So it is where curves of one data set differ in more than sizes and conditions of training, or where there is
    a curve too short for a transition beside other cells of its data set.
    """
    for data in dict.fromkeys(curve.data for curve in curves):
        some = [curve for curve in curves if curve.data == data]
        if differing([curve.fields for curve in some], (*CONDITIONS, *SIZES)):
            return True
        if any(not swept(curve) for curve in some) and sum(len(curve.control) for curve in some) > 1:
            return True
    return False


def named(cells: pd.DataFrame, curves: Sequence[Curve]) -> pd.DataFrame:
    """The cells (one row each) with what they are called.

    `setting`: the same for cells that differ in the seed alone; `method`: the words of the setting, among those of its
    data set and architecture; `curve`: the words without the control parameter, of cells of a curve that is swept, else
    as `method`.
    """
    fields = [{k: v for k, v in json.loads(text).items() if k != "seed"} for text in cells["cell"]]
    keys = [canonical_json([digest, of]) for digest, of in zip(cells["data_digest"], fields, strict=True)]
    cells = cells.assign(setting=keys)
    of_setting = dict(zip(keys, fields, strict=True))
    method: dict[str, str] = {}
    for _, group in cells.groupby(["data", "architecture"], sort=False):
        settings = list(dict.fromkeys(group["setting"]))
        method |= dict(zip(settings, methods([of_setting[key] for key in settings], NAMED), strict=True))
    words = cells["setting"].map(method)
    of_curves = _of_curves(curves)
    on_curve = [of_curves.get(name, word) for name, word in zip(cells["cell_id"], words, strict=True)]
    return cells.assign(method=words, curve=on_curve)


def _of_curves(curves: Sequence[Curve]) -> dict[str, str]:
    """The words of the swept curve that a cell lies on, by its id; of several (a common end) the first's."""
    found: dict[str, str] = {}
    for place in dict.fromkeys((curve.data, curve.architecture) for curve in curves):
        some = [curve for curve in curves if (curve.data, curve.architecture) == place]
        for curve, words in zip(some, methods([each.fields for each in some], NAMED), strict=True):
            if swept(curve):
                found = {name: words for name in curve.cell_ids.ravel() if name} | found
    return found


def method_table(cells: pd.DataFrame, curves: Sequence[Curve], axis: Axis) -> pd.DataFrame:
    """One row per setting of `cells` (a store's, one row per cell), by data set, architecture, method and control.

    `data`, `architecture`, `method`, `curve` and the control parameter say which; `seeds` have a value, `n_diverged`
    have none. `elbo`, `iw_bound` (with `iw_samples`), `reconstruction`, `kl_total` and `kl_top` are means over seeds in
    nats per image, `bits_per_dim` and `bits_per_dim_iw` those of the two bounds in bits per dimension, where images
    have 256 levels; each with `…_deviation` beside it (NaN for one seed). `active_units` and, where they were measured,
    `mutual_information` and `classification_accuracy` are means by layer, from the data up, with that of the top layer
    beside them; `active_total`, `active_top` and their deviations of
    counts. `wall_s` is training time per cell, its share of a stack of `stack_cells`; `peak_memory_bytes` that of the
    whole process (or device).
    """
    rows = [_row(group, axis) for _, group in named(cells, curves).groupby("setting", sort=False)]
    table = pd.DataFrame(rows)
    order = [_place(row, axis) for row in table.to_dict("records")]
    table = table.iloc[sorted(range(len(table)), key=order.__getitem__)].reset_index(drop=True)
    return table.dropna(axis="columns", how="all")  # what no cell has, as a mutual information that nobody asked for


def _place(row: Mapping[str, Any], axis: Axis) -> tuple[Any, ...]:
    sizes = [int(size) for size in row["latents"].split("-") if size]
    value = row.get(axis.name)
    along = float("-inf") if value is None or np.isnan(value) else -float(axis.coordinate(value))
    return row["data"], len(sizes), sizes, row["architecture"], row["curve"], along, row["method"]


def _row(group: pd.DataFrame, axis: Axis) -> dict[str, Any]:
    first = group.iloc[0]
    done = group[group["state"] == "done"]
    row: dict[str, Any] = {name: first[name] for name in ("data", "architecture", "method", "curve", "objective")}
    row["latents"] = "-".join(str(size) for size in first["latents"])
    if axis.name in group:
        row[axis.name] = first[axis.name]
    row |= {"seeds": len(done), "n_diverged": int((group["state"] == "diverged").sum())}
    row |= {"steps": int(done["step"].max()) if len(done) else None}
    row |= {name: _one(done, name) for name in ("split", "images", "iw_samples")}
    for name in NUMBERS:
        row |= _moments(name, _numbers(done, name))
    layers = {name: _lists(done, name) for name in PER_LAYER}
    for name, values in layers.items():
        row[name] = values.mean(axis=0).tolist() if len(values) else None
    counts = layers["active_units"]
    row |= _moments("active_total", counts.sum(axis=1))
    row |= _moments("active_top", counts[:, -1] if counts.size else counts.sum(axis=1))
    row["mutual_information_top"] = row["mutual_information"][-1] if row["mutual_information"] else None
    right = layers["classification_accuracy"]
    row |= _moments("classification_accuracy_top", right[:, -1] if right.size else right.sum(axis=1)[:0])
    row |= _moments("wall_s", _numbers(done, "wall_s"))
    return row | {name: _moments(name, _numbers(done, name))[name] for name in COSTS[1:]}


def _one(rows: pd.DataFrame, name: str) -> Any:
    """The value in which all rows agree; None where they do not."""
    values = set(rows[name].dropna()) if name in rows else set()
    return values.pop() if len(values) == 1 else None


def _numbers(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows[name].dropna().to_numpy(dtype=np.float64) if name in rows else np.empty(0)


def _lists(rows: pd.DataFrame, name: str) -> np.ndarray:
    """(seeds, layers); (0, 0) where nothing was measured."""
    given = [list(value) for value in rows[name] if value is not None and np.ndim(value)] if name in rows else []
    return np.array(given, dtype=np.float64) if given else np.empty((0, 0))


def _moments(name: str, values: np.ndarray) -> dict[str, float]:
    values = values[np.isfinite(values)]
    deviation = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return {name: float(values.mean()) if len(values) else np.nan, f"{name}_deviation": deviation}


def shortened(table: pd.DataFrame, axis: Axis, reference: float | None) -> pd.DataFrame:
    """The rows for a terminal: of a curve with many points only those at the reference and at the collapsed end."""
    if axis.name not in table:
        return table
    names = ["data", "architecture", "curve"]
    points = table.groupby(names)[axis.name].transform("nunique")
    return table[(points < MIN_POINTS) | table[axis.name].isin([axis.end, reference])].reset_index(drop=True)


def labels(table: pd.DataFrame, unsaid: Collection[str] = ()) -> list[str]:
    """What a row is called: its method, after data set and architecture where the rows differ in those."""
    apart = [name for name in ("data", "architecture") if table[name].nunique() > 1 and name not in unsaid]
    return [" · ".join([*(row[name] for name in apart), row["method"]]) for row in table.to_dict("records")]


def measured(value: float | None, deviation: float | None, digits: int = 2) -> str | None:
    """`−86.40 ± 0.12`, without the deviation where there is none; None for no value."""
    if value is None or not np.isfinite(value):
        return None
    known = deviation is not None and np.isfinite(deviation)
    return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if known else "")


def by_layer(values: Sequence[float] | None, digits: int = 1) -> str | None:
    """`38-12-3-0.3`, from the data up; None for none."""
    if values is None or not np.ndim(values):
        return None
    return "-".join(f"{round(value, digits):g}" for value in values)


@dataclass(frozen=True)
class Field:
    """A field of a printed table: what it reads, and the number by which it is sorted; None and None for nothing."""

    text: str | None
    value: float | None


def printed(table: pd.DataFrame) -> tuple[list[str], list[list[Field]]]:
    """A method table in the form of papers: heads and rows, mean ± standard deviation over seeds."""
    samples = {int(count) for count in table["iw_samples"].dropna()} if "iw_samples" in table else set()
    bound = f"L{samples.pop()}" if len(samples) == 1 else "L"
    bits = {"bits_per_dim": "bits/dim", "bits_per_dim_iw": f"bits/dim of {bound}"}
    words = {"elbo": "ELBO", "iw_bound": bound, **bits, "reconstruction": "reconstruction", "kl_total": "KL"}
    words |= {"kl_top": "top KL", "mutual_information_top": "top MI", "classification_accuracy_top": "top accuracy"}
    words = {name: said for name, said in words.items() if name in table}
    fine = {*bits, "classification_accuracy_top"}
    rows = []
    for label, row in zip(labels(table), table.to_dict("records"), strict=True):
        memory = row.get("peak_memory_bytes")
        rows.append(
            [
                Field(label, None),
                *(
                    Field(measured(row[name], row.get(f"{name}_deviation"), 3 if name in fine else 2), row[name])
                    for name in words
                ),
                Field(by_layer(row.get("active_units")), row.get("active_total")),
                Field(measured(row.get("wall_s"), row.get("wall_s_deviation"), 0), row.get("wall_s")),
                Field(measured(None if memory is None else memory / 1e6, None, 0), memory),
                Field(str(row["seeds"]), row["seeds"]),
                Field(measured(row.get("steps"), None, 0), row.get("steps")),
            ]
        )
    return ["method", *words.values(), "active units", "s/cell", "MB", "seeds", "steps"], rows
