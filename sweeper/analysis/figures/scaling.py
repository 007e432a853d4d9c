"""Finite-size scaling: the curves of a family as they are, and collapsed by powers of the size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.figures.page import MARKERS, caption, quantity, styled, wrapped
from sweeper.analysis.scaling import Scaling
from sweeper.analysis.trends import Family
from sweeper.parameters.control import Axis

LETTERS = {"depth": "L", "width": "W"}


def scaling_data(scaling: Scaling) -> pd.DataFrame:
    """One row per size and point: `size`, `x` and `mean` with its `error` as measured, and `x_scaled`, `mean_scaled`,
    `error_scaled`."""
    rows = []
    for one, scaled in zip(scaling.sized, scaling.scaled(), strict=True):
        columns = [np.full(len(one.x), one.size), one.x, one.y.mean(axis=0), one.dy, *scaled]
        rows += list(zip(*columns, strict=True))
    names = ["size", "x", "mean", "error", "x_scaled", "mean_scaled", "error_scaled"]
    return pd.DataFrame(rows, columns=names)


def draw_scaling(axes: Axes, data: pd.DataFrame, scaled: bool) -> None:
    """Draw one line a size, as measured or collapsed."""
    end = "_scaled" if scaled else ""
    for index, (size, line) in enumerate(data.groupby("size")):
        axes.errorbar(
            line[f"x{end}"], line[f"mean{end}"], yerr=line[f"error{end}"], color=f"C{index % 6}",
            marker=MARKERS[index % 6], markersize=3, linewidth=0.7, elinewidth=0.7, label=f"{size:g}",
        )  # fmt: skip


def scaling_figure(found: Sequence[tuple[Family, Scaling]], order_parameter: str = "kl_top") -> Figure | None:
    """One row per family: its curves, and their collapse with quality and exponents; None if there is no family."""
    if not found:
        return None
    axis = found[0][0].curves[0].axis
    with styled():
        figure = Figure(figsize=(6.6, 2.6 * len(found) + 0.6))
        grid = figure.subplots(len(found), 2, squeeze=False)
        for (family, scaling), (left, right) in zip(found, grid, strict=True):
            data, letter = scaling_data(scaling), LETTERS[family.along]
            draw_scaling(left, data, scaled=False)
            draw_scaling(right, data, scaled=True)
            left.set_title(wrapped(family.label, 3.2))
            right.set_title(f"quality S = {scaling.quality:.3g}, {_exponents(scaling, axis)}")
            sign = "" if axis.complement == (axis.collapsed == "high") else "−"
            left.set_xlabel(f"x = {sign}{axis.scale}")
            left.set_ylabel(f"m: {quantity(order_parameter)}")
            right.set_xlabel(f"(x − x$_c$) {letter}$^{{1/ν}}$")
            right.set_ylabel(f"m {letter}$^{{β/ν}}$")
            left.legend(title=family.along)
        caption(
            figure,
            f"Left: means over {len(found[0][1].sized[0].y)} seeds with standard errors; right: the same, stretched "
            f"by powers of {' and '.join(sorted({LETTERS[family.along] for family, _ in found}))} in units of its "
            f"geometric mean, for the best collapse. S is about 1 where the curves are one within their errors "
            f"(Houdayer & Hartmann 2004), and larger too where the grid is coarse against the transition. Scaling, "
            f"not a universality class.",
        )
    return figure


def _exponents(scaling: Scaling, axis: Axis) -> str:
    if scaling.edge:
        return "with no best in range"
    place = float(axis.value(scaling.x_c))
    return f"{axis.symbol}$_c$ = {place:.4g}, 1/ν = {scaling.stretch:.2g}, β/ν = {scaling.lift:.2g}"
