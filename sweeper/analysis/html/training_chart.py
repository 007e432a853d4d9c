"""The chart of training: ELBO and top-layer KL of every cell against steps, and on request what that KL is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.information import with_top_information
from sweeper.analysis.figures.page import quantity
from sweeper.analysis.html.blocks import Block, chart, control, option, rounded

SHOWN = ("elbo", "kl_top")
ON_REQUEST = ("mutual_information_top", "kl_aggregate")  # shown where the history has them
MAX_POINTS = 40_000  # of all cells: more would make the page heavy, and no chart shows them


def training_chart(curves: Sequence[Curve], history: pd.DataFrame) -> Block | None:
    """One line per cell and one for each mean over seeds; None where no cell has a history of two steps or more."""
    cells = {str(name) for curve in curves for name in curve.cell_ids.ravel() if name}
    rows = with_top_information(history[history["cell_id"].isin(cells)])
    names = (*SHOWN, *(name for name in ON_REQUEST if rows[name].notna().any()))
    steps = sorted(int(step) for step in rows["step"].unique())
    if len(steps) < 2:
        return None
    every = max(1, -(-len(rows) * len(names) // MAX_POINTS))
    kept = [step for i, step in enumerate(steps) if (len(steps) - 1 - i) % every == 0]
    rows = rows[rows["step"].isin(kept)]
    axis = curves[0].axis
    values = sorted({float(value) for curve in curves for value in curve.control})
    inner = [value for value in values if value != axis.end]
    styles = {value: _style(value, inner) for value in values}
    lines = _lines(rows.sort_values("step", kind="stable"), names)
    order = {step: index for index, step in enumerate(kept)}
    ids: list[str] = []
    series = []
    for number, curve in enumerate(curves):
        for j, value in enumerate(curve.control):
            keys = {"value": f"{value:.6g}"} | ({"curve": str(number)} if len(curves) > 1 else {})
            style = styles[float(value)]
            present = {s: str(name) for s, name in zip(curve.seeds, curve.cell_ids[:, j], strict=True) if name in lines}
            for seed, name in present.items():
                ids.append(name)
                for shown in names:
                    points = _points(lines[name]["step"], lines[name][shown], order)
                    own = {**keys, "quantity": shown, "seed": str(seed)}
                    series.append(
                        {"keys": own, "style": {**style, "faint": True}, "points": points, "cell": len(ids) - 1}
                    )
            if present:
                several = [lines[name] for name in present.values()]
                whole = pd.DataFrame({key: np.concatenate([line[key] for line in several]) for key in several[0]})
                mean = whole.groupby("step", as_index=False)[list(names)].mean()
                for shown in names:
                    own = {**keys, "quantity": shown, "seed": "mean"}
                    series.append({"keys": own, "style": style, "points": _points(mean["step"], mean[shown], order)})
    split = ", ".join(sorted(history["split"].unique()))
    thinned = f" One evaluation in {every} is drawn; the history has all." if every > 1 else ""
    return chart(
        "Training curves",
        f"ELBO and top-layer KL against training steps, one line per value of {axis.words}. Arrow keys move along it.",
        {"label": "training steps", "name": "step", "at": kept, "texts": [f"{step:,}" for step in kept]},
        {"label": quantity(SHOWN[0]), "name": SHOWN[0], "log": False},
        _controls(curves, values, styles, names),
        series,
        note=f"On the {split} set. The ELBO's axis leaves out where the first tenth of the steps comes from.{thinned}",
        cells=ids,
    )  # fmt: skip


def _controls(
    curves: Sequence[Curve], values: list[float], styles: dict[float, Block], names: Sequence[str]
) -> list[Block]:
    axis = curves[0].axis
    seeds = sorted({seed for curve in curves for seed in curve.seeds})
    choices = [
        control(
            "quantity", "Quantity", "select",
            [option(n, quantity(n), n == SHOWN[0], y=quantity(n), log=n != "elbo", late=n == "elbo") for n in names],
        ),
        control(
            "value", axis.words, "check",
            [option(f"{v:.6g}", f"{v:.6g}", long=axis.at(v), style=styles[v]) for v in values],
        ),
        control(
            "seed", "Seeds", "check", [option("mean", "mean"), *(option(f"{s}", f"seed {s}", False) for s in seeds)]
        ),
    ]  # fmt: skip
    if len(curves) > 1:
        options = [option(str(i), curve.label, i == 0) for i, curve in enumerate(curves)]
        choices.insert(0, control("curve", "Curve", "select", options))
    return choices


def _style(value: float, inner: list[float]) -> Block:
    """A shade by rank; the physical end is dashed in the text's colour. Markers tell neighbours apart."""
    if value not in inner:
        return {"end": True, "dash": 1, "marker": 0}
    place = inner.index(value)
    return {"shade": round(15 * place / max(len(inner) - 1, 1)), "marker": place % 6}


def _lines(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Steps and values of each cell, in the order of the rows: arrays, as a frame for each of many cells takes long."""
    columns = {"step": rows["step"].to_numpy()} | {name: rows[name].to_numpy(np.float64) for name in names}
    places = rows.groupby("cell_id").indices
    return {str(cell): {name: values[at] for name, values in columns.items()} for cell, at in places.items()}


def _points(
    steps: np.ndarray | pd.Series, values: np.ndarray | pd.Series, order: Mapping[int, int]
) -> list[list[float | int | None]]:
    return [
        [order[step], rounded(value)]
        for step, value in zip(steps.tolist(), values.tolist(), strict=True)
        if math.isfinite(value)
    ]
