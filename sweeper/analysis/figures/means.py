"""Posterior means of the top layer along their two first principal components: a point per image, coloured by class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.cell import REGISTRIES
from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import caption, look, styled, wrapped
from sweeper.analysis.shown_points import chosen

MAX_CURVES = 4  # a row of the figure each
MAX_CLASSES = 10  # colours that can be told apart
GREY = "0.55"
SIZE = {"markersize": 2.8, "markeredgewidth": 0.5}
PIXELS = 150  # of an inch of a picture in the page


class Means(NamedTuple):
    """What is drawn of a cell.

    `value`: of the control parameter; `places` of images along the components, (images, 2), and these components'
    `shares` of the variance; `labels`, classes of the images, and the classes' `names`; `accuracy` of the
    classification from the top layer, its standard error, and the chance level.
    """

    value: float
    seed: int
    places: npt.NDArray[np.float64]
    shares: tuple[float, float]
    labels: npt.NDArray[np.int64] | None
    names: tuple[str, ...]
    accuracy: tuple[float, float, float] | None


def means_data(curve: Curve, cells: pd.DataFrame) -> list[Means]:
    """At the points of the curve that `chosen` names, of its first seed of which some are known; in their order."""
    if "means_components" not in cells:
        return []
    known = cells[cells["means_components"].notna()]  # mostly none: ten thousand rows of all columns take a second
    rows = {row.cell_id: row for row in known.itertuples(index=False)}
    for seed, ids in zip(curve.seeds, curve.cell_ids, strict=True):
        some = [(float(curve.control[j]), rows.get(ids[j])) for j in chosen(curve)]
        found = [_of(value, seed, row) for value, row in some if row is not None and np.ndim(row.means_components)]
        if found:
            return found
    return []


def _of(value: float, seed: int, row: Any) -> Means:
    places = np.array([list(component) for component in row.means_components], dtype=np.float64).T
    known = np.ndim(row.means_labels) > 0
    names = REGISTRIES["data"][row.data].classes if row.data in REGISTRIES["data"] else ()
    labels = np.asarray(row.means_labels, dtype=np.int64) if known else None
    accuracy = None
    if np.ndim(row.classification_accuracy) and np.isfinite(row.classification_accuracy[-1]):
        accuracy = (row.classification_accuracy[-1], row.classification_se[-1], row.classification_chance)
    first, second = row.means_shares
    return Means(value, seed, places, (first, second), labels, names, accuracy)


def coloured(means: Means) -> bool:
    """Whether there are classes, and no more of them than colours."""
    count = len(means.names) or (means.labels is not None and int(means.labels.max()) + 1)
    return means.labels is not None and 0 < count <= MAX_CLASSES


def reach(found: Sequence[Means]) -> float:
    """How far from 0 axes have to go that all these places are seen on one scale."""
    return 1.08 * max(float(np.abs(means.places).max()) for means in found) or 1.0


def draw_means(axes: Axes, means: Means, limit: float) -> None:
    """Draw one cell's on `axes`, which both go from −`limit` to `limit`, in units of z."""
    x, y = means.places.T
    if coloured(means):
        assert means.labels is not None
        for number in range(int(means.labels.max()) + 1):
            here = means.labels == number
            name = means.names[number] if number < len(means.names) else str(number)
            axes.plot(x[here], y[here], linestyle="", label=name, **look(number), **SIZE)  # type: ignore[arg-type]
    else:
        axes.plot(x, y, "o", color=GREY, **SIZE)  # type: ignore[arg-type]
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    first, second = means.shares
    axes.set_xlabel(f"component 1 ({100 * first:.0f} %)")
    axes.set_ylabel(f"component 2 ({100 * second:.0f} %)")


def means_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """A row per curve, its chosen points side by side; None where no cell has any means."""
    rows = [(curve, means_data(curve, cells)) for curve in curves]
    rows = [(curve, found) for curve, found in rows if found][:MAX_CURVES]
    if not rows:
        return None
    across = max(len(found) for _, found in rows)
    with styled():
        figure = Figure(figsize=(2.1 * across + 0.6, 2.3 * len(rows) + 0.9))
        grid = figure.subplots(len(rows), across, squeeze=False)
        legend: dict[str, Any] = {}
        for line, (curve, found) in zip(grid, rows, strict=True):
            for axes in line[len(found) :]:
                axes.set_axis_off()
            for place, (axes, means) in enumerate(zip(line, found, strict=False)):
                draw_means(axes, means, reach(found))
                if place == 0:
                    axes.set_ylabel(f"{wrapped(curve.label, 2.1)}\n\n{axes.get_ylabel()}")
                axes.set_title(wrapped(f"{curve.axis.at(means.value)}{_accuracy(means)}", 1.9))
                handles, names = axes.get_legend_handles_labels()
                legend |= dict(zip(names, handles, strict=True))
        if legend:
            figure.legend(legend.values(), legend.keys(), loc="outside upper left", ncols=len(legend), handletextpad=0)
        caption(
            figure,
            f"Posterior means of the top layer, {_images(rows)} per panel, along their two first principal components, "
            f"in units of z; one seed per curve. Percentages: beside axes, the component's share of the variance; in "
            f"titles, images put into their class by a linear classifier, with their standard error.",
        )
    return figure


def _images(rows: Sequence[tuple[Curve, list[Means]]]) -> str:
    counts = sorted({len(means.places) for _, found in rows for means in found})
    return f"{'–'.join(str(each) for each in dict.fromkeys((counts[0], counts[-1])))} evaluated images"


def _accuracy(means: Means) -> str:
    if means.accuracy is None:
        return ""
    share, error, _ = means.accuracy
    return f": {100 * share:.1f} ± {100 * error:.1f} %"


def means_png(means: Means, limit: float) -> bytes:
    """The panel of one cell by itself, with the names of its classes, as a PNG."""
    with styled():
        figure = Figure(figsize=(2.4, 2.4 + 0.35 * coloured(means)))
        axes = figure.subplots()
        draw_means(axes, means, limit)
        if coloured(means):
            columns = 5 if len(means.names) > 5 and max(map(len, means.names)) < 3 else 3
            figure.legend(loc="outside lower left", ncols=columns, handletextpad=0, columnspacing=0.8)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=PIXELS, metadata={"Software": None})
    return file.getvalue()
