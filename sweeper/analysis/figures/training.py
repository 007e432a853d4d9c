"""Training curves: ELBO and top-layer KL against steps, one line per value of the control parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import arrange, caption, labelled, quantity, styled, wrapped

SHOWN = ("elbo", "kl_top")


def training_data(curve: Curve, history: pd.DataFrame) -> pd.DataFrame:
    """One row per point and step: the control parameter (`rho`), `step`, means over seeds of `elbo` and `kl_top` in
    nats, `seeds`."""
    value = {name: float(curve.control[j]) for (_, j), name in np.ndenumerate(curve.cell_ids) if name}
    rows = history[history["cell_id"].isin(value)]
    groups = rows.groupby([rows["cell_id"].map(value).rename(curve.axis.name), "step"])
    return groups.agg(elbo=("elbo", "mean"), kl_top=("kl_top", "mean"), seeds=("elbo", "size")).reset_index()


def draw_training(
    axes: Axes, data: pd.DataFrame, name: str, colours: dict[float, tuple[float, ...]], control: str = "rho"
) -> None:
    """Draw one quantity against steps; the physical end, which has no colour, is black and dashed."""
    for value, line in data.groupby(control):
        plain = float(value) not in colours
        axes.plot(
            line["step"], line[name], color="black" if plain else colours[float(value)], linewidth=1.0,
            linestyle="--" if plain else "-", zorder=3 if plain else 2,
        )  # fmt: skip
    # The first steps fall from far below and would hide all that follows.
    late = data[data["step"] >= 0.1 * data["step"].max()][name]
    if name == "elbo" and len(late) and np.ptp(late) > 0:
        axes.set_ylim(late.min() - 0.05 * np.ptp(late), late.max() + 0.05 * np.ptp(late))
    axes.margins(x=0.02)


def training_figure(curves: Sequence[Curve], history: pd.DataFrame) -> Figure | None:
    """ELBO above KL for each curve that has a history of two steps or more; None if none has."""
    panels = [(curve, training_data(curve, history)) for curve in curves]
    panels = [(curve, data) for curve, data in panels if data["step"].nunique() > 1]
    if not panels:
        return None
    axis = panels[0][0].axis
    values = sorted({value for _, data in panels for value in data[axis.name] if value != axis.end})
    shades = [colormaps["viridis"](place) for place in np.linspace(0.0, 0.92, max(len(values), 1))]
    colours = dict(zip(values, shades, strict=False))
    down, across, places = arrange([(c.data, f"{c.architecture} {c.variant}") for c, _ in panels])
    with styled():
        figure = Figure(figsize=(max(2.6 * across + 0.8, 4.2), 3.4 * down + 0.5))
        grid = figure.subplots(2 * down, across, squeeze=False)
        for axes in grid.ravel():
            axes.set_visible(False)
        for (row, column), (curve, data) in zip(places, panels, strict=True):
            pair = grid[2 * row][column], grid[2 * row + 1][column]
            for axes, name in zip(pair, SHOWN, strict=True):
                axes.set_visible(True)
                draw_training(axes, data, name, colours, axis.name)
                axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
                axes.locator_params(axis="x", nbins=4)
                if column == 0:
                    axes.set_ylabel(quantity(name))
            pair[0].set_title(wrapped(curve.label, 2.6))
            pair[1].set_xlabel("training steps")
        if values:
            norm = BoundaryNorm(np.arange(len(values) + 1) - 0.5, len(values))
            long: dict[str, Any] = {
                "shrink": min(1.0, 4.0 / (3.4 * down)),
                "anchor": (0.0, 1.0),
                "aspect": 35,
                "pad": 0.02,
            }
            bar = figure.colorbar(ScalarMappable(norm, ListedColormap(shades)), ax=grid, **long)
            bar.set_ticks(labelled(len(values)), labels=[f"{values[place]:g}" for place in labelled(len(values))])
            bar.ax.tick_params(which="both", length=0)
            end = "" if axis.end is None else f" (dashed black: {axis.end:g}" + (f", {axis.off})" if axis.off else ")")
            bar.set_label(f"{axis.words}{end}")
        seeds = max(int(data["seeds"].max()) for _, data in panels)
        split = ", ".join(sorted(history["split"].unique()))
        caption(
            figure, f"Means over {seeds} seed{'s' * (seeds > 1)} on the {split} set; the first steps' ELBO is cut off."
        )
    return figure
