"""Heatmaps of active units: by layer over the control parameter, and over depth × width, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.activity import ACTIVE, activity_data, even_groups
from sweeper.analysis.html.blocks import Block, control, heatmaps, option, rounded

SIDE_BY_SIDE = 4  # curves shown at once; of more one is chosen
SCALE = "share of units that are active"


def activity_blocks(curves: Sequence[Curve], cells: pd.DataFrame) -> list[Block]:
    """Both heatmaps, as far as the cells allow them."""
    data = [activity_data(curve, cells) for curve in curves]
    return [block for block in (_by_layer(curves, data), _grid(curves, data)) if block is not None]


def _by_layer(curves: Sequence[Curve], found: Sequence[pd.DataFrame]) -> Block | None:
    shown = [(curve, data) for curve, data in zip(curves, found, strict=True) if len(data)]
    if not shown:
        return None
    choices = []
    if len(shown) > SIDE_BY_SIDE:
        options = [option(str(i), curve.label, i == 0) for i, (curve, _) in enumerate(shown)]
        choices = [control("curve", "Curve", "select", options)]
    axis = shown[0][0].axis
    panels = []
    for i, (curve, data) in enumerate(shown):
        units = data.groupby("layer")["units"].first()
        layers = sorted(units.index, reverse=True)
        titles = [f"{'top, ' if layer == layers[0] else ''}{layer} (of {units[layer]})" for layer in layers]
        panel = _panel(data, "layer", axis.name)
        panels.append(
            {
                "keys": {"curve": str(i)}, "title": curve.label, "across": axis.words, "down": "layer (units)",
                **panel, "rows": titles,
            }
        )  # fmt: skip
    end = f" {axis.words} = {axis.end:g}: {axis.off}." if axis.off else ""
    return heatmaps("Active units by layer", SCALE, choices, panels, note=f"Means over seeds. {ACTIVE}{end}")


def _grid(curves: Sequence[Curve], found: Sequence[pd.DataFrame]) -> Block | None:
    """Depth × width at each value of the control parameter, for all layers together and one by one."""
    data = dict(zip(map(id, curves), found, strict=True))
    parts = []
    for group, curve in even_groups(curves):
        layers = data[id(curve)].rename(columns={curve.axis.name: "value"})
        depth = layers["layer"].max()
        parts.append(layers.assign(group=group, depth=depth, width=layers["units"]))
    table = pd.concat(parts) if parts else pd.DataFrame()
    if len(table) == 0 or (table["depth"].nunique() < 2 and table["width"].nunique() < 2):
        return None
    axis = curves[0].axis
    groups, values = list(dict.fromkeys(table["group"])), sorted(table["value"].unique())
    layers = ["all", "top", *map(str, range(1, int(table["depth"].max())))]
    panels = []
    for group in groups:
        for value in values:
            here = table[(table["group"] == group) & (table["value"] == value)]
            for layer in layers:
                chosen = _of_layer(here, layer)
                if len(chosen):
                    panel = _panel(chosen, "depth", "width")
                    keys = {"group": group, "value": f"{value:g}", "layer": layer}
                    panels.append(
                        {"keys": keys, "title": group, "across": "units per layer", "down": "layers", **panel}
                    )
    names = {"all": "all layers", "top": "top layer"}
    choices = [
        control("value", axis.words, "slider", [option(f"{v:g}", f"{v:g}", i == 0) for i, v in enumerate(values)]),
        control("layer", "Layer", "select", [option(k, names.get(k, f"layer {k}"), k == "top") for k in layers]),
    ]
    note = f"Means over seeds. {ACTIVE} Layers count from the data up; the top layer is not counted among the others."
    return heatmaps("Active units over depth × width", SCALE, choices, panels, note)


def _of_layer(data: pd.DataFrame, layer: str) -> pd.DataFrame:
    """One row per depth and width: the layer's active units and their share."""
    if layer == "top":
        return data[data["layer"] == data["depth"]]
    if layer != "all":
        return data[(data["layer"] == int(layer)) & (data["depth"] > int(layer))]
    sums = data.groupby(["depth", "width"], as_index=False)[["active", "units"]].sum()
    return sums.assign(fraction=sums["active"] / sums["units"])


def _panel(data: pd.DataFrame, down: str, across: str) -> Block:
    """Counts and shares of active units, the largest row on top."""
    fields = {
        (row, column): (f"{active:.1f}".removesuffix(".0"), rounded(share))
        for row, column, active, share in data[[down, across, "active", "fraction"]].itertuples(index=False)
        if np.isfinite(active)
    }
    rows, columns = sorted({row for row, _ in fields}, reverse=True), sorted({column for _, column in fields})
    grid = [[fields.get((row, column), (None, None)) for column in columns] for row in rows]
    return {
        "columns": [f"{value:g}" for value in columns], "rows": [f"{value:g}" for value in rows],
        "texts": [[text for text, _ in line] for line in grid],
        "shares": [[share for _, share in line] for line in grid],
    }  # fmt: skip
