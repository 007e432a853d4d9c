"""Active units: by layer against ρ, and over depth × width with and without smoothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import caption, columns, counted, styled

COLOURS = "cividis"  # even in lightness, so it reads the same in grey


def activity_data(curve: Curve, cells: pd.DataFrame) -> pd.DataFrame:
    """One row a layer and ρ: `layer` (1 … L), `rho`, `units`, `active` (mean over seeds), `fraction`, `seeds`."""
    rows = cells.set_index("cell_id")
    found = []
    for index, rho in enumerate(curve.rho):
        ids = [name for name in curve.cell_ids[:, index] if name]
        counts = [list(value) for value in rows.loc[ids, "active_units"] if value is not None and np.ndim(value)]
        for layer, units in enumerate(rows.loc[ids[0], "latents"] if counts else (), start=1):
            active = float(np.mean([count[layer - 1] for count in counts]))
            found.append((layer, float(rho), int(units), active, active / units, len(counts)))
    return pd.DataFrame(found, columns=["layer", "rho", "units", "active", "fraction", "seeds"])


def draw_activity(axes: Axes, data: pd.DataFrame) -> AxesImage:
    """Heatmap of one curve, top layer on top, ρ to the right; each field holds the number of active units."""
    fraction = data.pivot(index="layer", columns="rho", values="fraction")
    active = data.pivot(index="layer", columns="rho", values="active")
    units = data.groupby("layer")["units"].first()
    names = [f"{layer} (of {units[layer]})" for layer in fraction.index]
    return _heatmap(
        axes, fraction.to_numpy(), [[_short(value) for value in row] for row in active.to_numpy()],
        [f"{rho:g}" for rho in fraction.columns], names,
    )  # fmt: skip


def activity_by_layer_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """Active units of each layer against ρ, a panel a curve; None where no cell was evaluated."""
    panels = [(curve, activity_data(curve, cells)) for curve in curves]
    panels = [(curve, data) for curve, data in panels if len(data)]
    if not panels:
        return None
    most = max(data["rho"].nunique() for _, data in panels)
    across = columns(len(panels), most=1 if most > 8 else 2)
    down = -(-len(panels) // across)
    heights = max(data["layer"].nunique() for _, data in panels) * 0.3 + 0.75
    with styled():
        figure = Figure(figsize=(max((0.38 * most + 1.2) * across, 4.5), heights * down + 0.5))
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.ravel()[len(panels) :]:
            axes.set_visible(False)
        for axes, (curve, data) in zip(grid.ravel(), panels, strict=False):
            image = draw_activity(axes, data)
            axes.set_title(curve.label)
            axes.set_ylabel("layer (units)")
            axes.set_xlabel("ρ (1: no smoothing)")
        figure.colorbar(image, ax=grid, label="fraction active", shrink=min(1.0, 2.0 / (heights * down)), aspect=12)
        caption(figure, f"Active units, mean over seeds ({counted([curve for curve, _ in panels])}). {ACTIVE}")
    return figure


ACTIVE = "A unit is active if the variance over data of its posterior mean exceeds 0.01."


def activity_grid_data(curves: Sequence[Curve], cells: pd.DataFrame, rho: float | None = None) -> pd.DataFrame:
    """One row a `group` (data set and all that is neither depth nor width), `depth`, `width` and `rho`: `active`
    (units of all layers, mean over seeds), `units`, `fraction`, `top` (fraction of the top layer), `seeds`.

    Takes networks whose layers are all as wide; ρ = 1 and `rho` (if None the value below 1 that most curves share, the
    smaller of equals).
    """
    even = [curve for curve in curves if len(set(curve.fields["latents"].split("-"))) == 1]
    if rho is None:
        shared = Counter(float(value) for curve in even for value in curve.rho if value < 1)
        rho = min(shared, key=lambda value: (-shared[value], value), default=None)
    differ = [name for name in ("network", "hidden", "activation") if len({c.fields[name] for c in even}) > 1]
    found = []
    for curve in even:
        group = " · ".join([curve.data, *(curve.fields[name] for name in differ), *filter(None, [curve.variant])])
        layers = activity_data(curve, cells)
        for value, part in layers[layers["rho"].isin([1.0, rho])].groupby("rho"):
            top = part[part["layer"] == part["layer"].max()]
            sizes = len(part), int(part["units"].max()), float(value)
            sums = float(part["active"].sum()), int(part["units"].sum()), float(top["fraction"].iloc[0])
            found.append((group, *sizes, *sums, int(part["seeds"].max())))
    names = ["group", "depth", "width", "rho", "active", "units", "top", "seeds"]
    data = pd.DataFrame(found, columns=names)
    return data.assign(fraction=data["active"] / data["units"])


def draw_activity_grid(axes: Axes, data: pd.DataFrame) -> AxesImage:
    """Heatmap of one group and ρ over depth and width; each field holds the count and the top layer's share."""
    fraction = data.pivot(index="depth", columns="width", values="fraction")
    active = data.pivot(index="depth", columns="width", values="active").to_numpy()
    top = data.pivot(index="depth", columns="width", values="top").to_numpy()
    text = [
        ["" if np.isnan(a) else f"{_short(a)}\ntop {t:.0%}" for a, t in zip(*pair, strict=True)]
        for pair in zip(active, top, strict=True)
    ]
    return _heatmap(
        axes, fraction.to_numpy(), text, [str(w) for w in fraction.columns], [str(d) for d in fraction.index]
    )


def activity_grid_figure(curves: Sequence[Curve], cells: pd.DataFrame, rho: float | None = None) -> Figure | None:
    """Plain (ρ = 1) and smoothed side by side, a row a data set; None with fewer than two depths or widths."""
    data = activity_grid_data(curves, cells, rho)
    if data["depth"].nunique() < 2 and data["width"].nunique() < 2:
        return None
    names, values = list(data["group"].unique()), sorted(data["rho"].unique(), reverse=True)
    across, down = data["width"].nunique(), data["depth"].nunique()
    with styled():
        size = ((0.62 * across + 0.8) * len(values) + 1.0, (0.42 * down + 0.9) * len(names) + 0.6)
        figure = Figure(figsize=(max(size[0], 4.5), size[1]))
        grid = figure.subplots(len(names), len(values), squeeze=False)
        for i, name in enumerate(names):
            for j, value in enumerate(values):
                axes = grid[i][j]
                part = data[(data["group"] == name) & (data["rho"] == value)]
                if len(part) == 0:
                    axes.set_visible(False)
                    continue
                image = draw_activity_grid(axes, part)
                axes.set_title(f"{name} · " + ("plain, ρ = 1" if value == 1 else f"smoothed, ρ = {value:g}"))
                axes.set_xlabel("units a layer")
                axes.set_ylabel("layers")
        figure.colorbar(image, ax=grid, label="fraction active", shrink=0.9, aspect=15)
        where = f"Active units of all layers (top: share of the top layer), mean over seeds ({counted(curves)})."
        caption(figure, f"{where} {ACTIVE}")
    return figure


def _heatmap(
    axes: Axes, values: np.ndarray, text: Sequence[Sequence[str]], across: Sequence[str], down: Sequence[str]
) -> AxesImage:
    """`values` in [0, 1], first row at the bottom, each field with its text."""
    image = axes.imshow(values, cmap=COLOURS, vmin=0, vmax=1, origin="lower", aspect="auto")
    for i, row in enumerate(text):
        for j, word in enumerate(row):
            dark = np.isfinite(values[i, j]) and values[i, j] < 0.55
            axes.text(j, i, word, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.0f}" if value >= 9.95 or value == round(value) else f"{value:.1f}"
