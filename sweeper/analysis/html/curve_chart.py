"""The chart of a page: the order parameter, and what else was measured, over the control parameter, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import quantity
from sweeper.analysis.figures.phase import verdict
from sweeper.analysis.html.blocks import Block, chart, control, option, rounded
from sweeper.analysis.html.keys import CurveKeys, curve_style
from sweeper.analysis.html.quantities import Part, Quantity, quantities
from sweeper.parameters.control import STEPS

MEAN = "mean"
ACCURACY = "classification_accuracy"


def order_chart(curves: Sequence[Curve], cells: pd.DataFrame, order_parameter: str) -> Block:
    """Every measured quantity of every cell over the control parameter, with the critical values."""
    axis = curves[0].axis
    places = ControlAxis(axis, (value for curve in curves for value in curve.control))
    values = sorted({float(value) for curve in curves for value in curve.control})
    order = {value: index for index, value in enumerate(values)}
    names = dict.fromkeys(str(name) for curve in curves for name in curve.cell_ids.ravel() if name)
    ids = {name: index for index, name in enumerate(names)}
    most = max(map(len, cells.loc[cells["cell_id"].isin(ids), "latents"]), default=1)
    information, classes = (any(map(np.ndim, cells.get(name, ()))) for name in ("mutual_information", ACCURACY))
    bits = "bits_per_dim" in cells and bool(np.isfinite(cells["bits_per_dim"].to_numpy(np.float64)).any())
    shown = quantities(order_parameter, most, information, bits, classes)
    needed = {"cell_id", *(part.of.args[0] for what in shown for part in what.parts)}
    rows = {row.cell_id: row for row in cells[[name for name in cells if name in needed]].itertuples(index=False)}
    if axis.name == STEPS.name:  # a row of `cells` holds the last step only
        shown = [shown[0]._replace(parts=[part for part in shown[0].parts if part.name == order_parameter])]
    keys, series = CurveKeys(curves), []
    for index, curve in enumerate(curves):
        for what in shown:
            for part in what.parts:
                measured = _measured(curve, part, rows, own=part.name == order_parameter)
                series += _series(
                    curve,
                    keys.of(curve) | {"quantity": what.name, "part": part.name},
                    curve_style(index) | ({"dash": part.dash} if part.dash else {}),
                    measured,
                    order,
                    ids,
                )
    seeds = sorted({seed for curve in curves for seed in curve.seeds})
    controls = [
        *keys.controls(),
        control(
            "quantity", "Quantity", "select",
            [option(q.name, q.words, q is shown[0], y=q.label, log=q.log) for q in shown],
        ),
        control(
            "part", "Layers and bounds", "check",
            [option(p.name, p.words, p.name == q.on, style={"dash": p.dash}) for q in shown for p in q.parts],
        ),
        control("seed", "Seeds", "check", [option(MEAN, MEAN), *(option(str(s), f"seed {s}") for s in seeds)]),
        control("mark", "Marks", "check", [option("critical", f"critical {axis.symbol}")]),
    ]  # fmt: skip
    first = shown[0]
    return chart(
        f"{quantity(order_parameter).partition(' (')[0]} against {axis.symbol}",
        f"Every cell as a point, means over seeds as lines, over {axis.words}. Arrow keys move from point to point.",
        {
            "label": axis.label, "name": axis.symbol, "at": [rounded(place) for place in places(values)],
            "texts": [f"{value:.6g}" for value in values], "limits": [rounded(place) for place in places.limits()],
            "ticks": [[rounded(place), words] for place, words in places.ticks()],
            "breaks": [rounded(place) for place in places.breaks()],
        },
        {"label": first.label, "name": first.words, "log": first.log},
        controls,
        series,
        note=(
            "Thick lines: means over seeds; points and faint lines: seeds. Dashed: onset, with its interval (light) "
            "and, where the grid resolves the curve, the narrower one that holds if it is smooth between grid points "
            "(dark); dotted: midpoint."
        ),
        cells=list(ids),
        marks=[_mark(curve, keys.of(curve), index, places, first) for index, curve in enumerate(curves)],
        legend=[
            {"keys": keys.of(curve), "style": curve_style(index), "text": f"{curve.label}: {verdict(curve)}"}
            for index, curve in enumerate(curves)
        ],
    )  # fmt: skip


def _measured(curve: Curve, part: Part, rows: Mapping[str, Any], own: bool) -> np.ndarray:
    """(seeds, points), NaN where there is no value; the curve's own values where the part is the order parameter."""
    if own:
        return np.asarray(curve.values)
    found = np.full(curve.values.shape, np.nan)
    for place, name in np.ndenumerate(curve.cell_ids):
        if name in rows and not curve.diverged[place]:
            value = part.of(rows[name])
            found[place] = np.nan if value is None else value
    return found


def _series(
    curve: Curve,
    keys: dict[str, str],
    style: Block,
    measured: np.ndarray,
    order: Mapping[float, int],
    ids: Mapping[str, int],
) -> list[Block]:
    """The seeds and their mean, one part of one curve; [] where nothing was measured."""
    places = [order[float(value)] for value in curve.control]
    here = np.isfinite(measured)
    if not here.any():
        return []
    made: list[Block] = []
    for seed, row, ok, names in zip(curve.seeds, measured, here, curve.cell_ids, strict=True):
        points = [[places[j], rounded(row[j]), ids[names[j]]] for j in np.flatnonzero(ok)]
        made.append({"keys": {**keys, "seed": str(seed)}, "style": {**style, "faint": True}, "points": points})
    counts = here.sum(0)
    means = np.where(here, measured, 0).sum(0) / np.maximum(counts, 1)
    points = [[places[j], rounded(means[j])] for j in np.flatnonzero(counts)]
    return [*made, {"keys": {**keys, "seed": MEAN}, "style": style, "points": points}]


def _mark(curve: Curve, keys: dict[str, str], index: int, places: ControlAxis, first: Quantity) -> Block:
    """Onset and midpoint of a curve, as places on the axis; empty where there is no number."""
    onset, midpoint = curve.transition.criticals

    def at(*numbers: float | None) -> list[float | None]:
        return [] if None in numbers else [rounded(place) for place in places(numbers)]  # type: ignore[arg-type]

    return {
        "keys": {**keys, "quantity": first.name, "part": first.on, "mark": "critical"},
        "style": curve_style(index), "line": at(onset.value), "dotted": at(midpoint.value),
        "dark": sorted(at(onset.low_smooth, onset.high_smooth)) if onset.resolved else [],
        "light": sorted(at(onset.low, onset.high)),
    }  # fmt: skip
