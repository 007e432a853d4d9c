"""Figures with a small panel for each point of the curves, or for some of them where they are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import columns, wrapped

MAX_PANELS = 12  # of more points than that some are drawn, evenly spaced


def points_of(curves: Sequence[Curve]) -> Iterator[tuple[str, dict[str, int]]]:
    """Every point of every curve: what it is called beside the others, and its cells with their seeds, by id."""
    for curve in curves:
        for j, value in enumerate(curve.control):
            name = curve.label if len(curves) > 1 else ""
            at = curve.axis.at(value) if len(curve.control) > 1 or not name else ""
            ids = {str(cell): seed for seed, cell in zip(curve.seeds, curve.cell_ids[:, j], strict=True) if cell}
            yield " · ".join(filter(None, (name, at))), ids


def shown_of(points: Sequence[str]) -> list[str]:
    """All of these, or where they are many, so many evenly spaced ones."""
    places = np.linspace(0, len(points) - 1, min(len(points), MAX_PANELS)).round().astype(int)
    return [points[place] for place in places]


def left_out(shown: Sequence[str], points: Sequence[str]) -> str:
    """What a caption says of points that have no panel; empty where all have one."""
    return "" if len(shown) == len(points) else f" {len(shown)} of {len(points)} points are shown."


def point_panels(
    titles: Sequence[str], labels: tuple[str, str], height: float, below: float
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels that share their axes, and the panels.

    labels: of the x axis, under the lowest panels, and of the y axis; height: of a panel, and `below`, of what stands
    under all of them, in inches.
    """
    across = columns(len(titles), most=4)
    down = -(-len(titles) // across)
    figure = Figure(figsize=(max(1.75 * across + 0.6, 4.2), height * down + below))
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes in grid.ravel()[len(titles) :]:
        axes.set_visible(False)
    panels: list[Axes] = list(grid.ravel()[: len(titles)])
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        axes.set_title(wrapped(title, 1.9), fontsize=7.5)
        if place + across >= len(titles):
            axes.set_xlabel(labels[0])
            axes.tick_params(labelbottom=True)
        if place % across == 0:
            axes.set_ylabel(labels[1])
    return figure, panels
