"""Hermite weights of the top generative map by degree against the control parameter, beside the KL of the top layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import MARKERS, caption, counted, quantity, styled, wrapped

MAX_MARKERS = 1000  # of a line's faint points drawn one by one: more go into SVG and PDF as one picture
DEGREES = ("1", "2", "3", "others")  # degree 0 is the mean, which no smoothing changes


def spectrum_data(curve: Curve, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per cell with a spectrum: the control parameter (`rho`), `seed`, `kl_top`, and the weights of the mean of
    the top layer's generative map in columns named as `DEGREES`."""
    names = [curve.axis.name, "seed", "kl_top", *DEGREES]
    if "hermite_mean" not in cells:
        return pd.DataFrame(columns=names)
    rows = cells.set_index("cell_id")
    found = []
    for (s, j), name in np.ndenumerate(curve.cell_ids):
        weights = rows.loc[name, "hermite_mean"] if name in rows.index else None
        if weights is not None and np.ndim(weights):
            found.append((float(curve.control[j]), curve.seeds[s], float(rows.loc[name, "kl_top"]), *weights[-1][1:]))
    return pd.DataFrame(found, columns=names)


def draw_spectrum(axes: Axes, data: pd.DataFrame, axis: ControlAxis, names: Sequence[str]) -> None:
    """Draw columns of `spectrum_data` on `axes`, one line each: seeds as faint points, their mean strong."""
    control = axis.axis.name
    means = data.groupby(control, as_index=False)[list(names)].mean()
    apart = np.isinf(axis.axis.coordinate(means[control]))
    for index, name in enumerate(names):
        colour, marker = f"C{index % 6}", MARKERS[index % 6]
        axes.plot(
            axis(data[control]), data[name], marker, color=colour, alpha=0.35, markersize=3, markeredgewidth=0,
            rasterized=len(data) > MAX_MARKERS,
        )  # fmt: skip
        axes.plot(axis(means[control][~apart]), means[name][~apart], color=colour)
        axes.plot(axis(means[control][apart]), means[name][apart], "_", color=colour, markersize=8)
        axes.plot([], [], marker=marker, color=colour, label=f"degree {name}" if name.isdigit() else name)


def spectrum_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """A row per curve, weights to the left and KL to the right; None where no cell has a spectrum."""
    rows = [(curve, spectrum_data(curve, cells)) for curve in curves]
    rows = [(curve, data) for curve, data in rows if len(data)]
    if not rows:
        return None
    control = rows[0][0].axis
    axis = ControlAxis(control, (value for _, data in rows for value in data[control.name]))
    with styled():
        figure = Figure(figsize=(6.6, 2.4 * len(rows) + 0.7))
        grid = figure.subplots(len(rows), 2, squeeze=False, sharex=True)
        for index, ((weights, kl), (curve, data)) in enumerate(zip(grid, rows, strict=True)):
            draw_spectrum(weights, data, axis, DEGREES)
            draw_spectrum(kl, data, axis, ["kl_top"])
            if (data[list(DEGREES)] > 0).to_numpy().any():
                weights.set_yscale("log")
            weights.set_title(wrapped(curve.label, 3.3))
            weights.set_ylabel("Hermite weight of μ")
            kl.set_ylabel(quantity("kl_top"))
            if index == 0:
                figure.legend(*weights.get_legend_handles_labels(), loc="outside upper right", ncols=len(DEGREES))
            for axes in (weights, kl):
                axis.set(axes, label=index + 1 == len(rows))
        caption(
            figure,
            f"Left: how much of the variance of the mean that the top layer's generative map puts out, over q and "
            f"unsmoothed, is of each degree; right: the KL of the top layer. Lines: means over seeds; points: seeds "
            f"({counted([curve for curve, _ in rows])}).",
        )
    return figure
