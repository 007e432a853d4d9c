"""KL of the top layer along training, and what it is made of: mutual information and KL(q(z) ‖ p(z)) (He, Spokoyny,
Neubig & Berg-Kirkpatrick 2019, figure 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import MARKERS, caption, counted, styled
from sweeper.analysis.figures.point_panels import left_out, point_panels, points_of, shown_of

SHOWN = {
    "kl_top": "KL(q(z|x) ‖ p(z))",
    "mutual_information_top": "mutual information",
    "kl_aggregate": "KL(q(z) ‖ p(z))",
}


def with_top_information(history: pd.DataFrame) -> pd.DataFrame:
    """The history with `mutual_information_top`, NaN where it was not asked for, and with `kl_aggregate`."""
    if "mutual_information" not in history:
        return history.assign(mutual_information_top=np.nan, kl_aggregate=np.nan)
    if not history["mutual_information"].notna().any():  # as of most studies
        return history.assign(mutual_information_top=np.nan)
    lists = [each if np.ndim(each) and len(each) else [np.nan] for each in history["mutual_information"]]
    return history.assign(mutual_information_top=np.array([each[-1] for each in lists], dtype=np.float64))


def information_data(curves: Sequence[Curve], history: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and evaluated step at which its mutual information is known: `point` (of its curve), `seed`,
    `step`, and nats in columns named as `SHOWN`."""
    rows = with_top_information(history)
    rows = rows[np.isfinite(rows["mutual_information_top"])]
    found = []
    for point, ids in points_of(curves) if len(rows) else ():
        here = rows[rows["cell_id"].isin(ids)]
        found.append(here[["step", *SHOWN]].assign(point=point, seed=here["cell_id"].map(ids)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["point", "seed", "step", *SHOWN])


def draw_information(axes: Axes, data: pd.DataFrame) -> None:
    """A line per quantity against steps: seeds faint, their mean strong."""
    means = data.groupby("step", as_index=False)[list(SHOWN)].mean()
    for index, (name, words) in enumerate(SHOWN.items()):
        colour = f"C{index}"
        for _, line in data.sort_values("step").groupby("seed"):
            axes.plot(line["step"], line[name], color=colour, linewidth=0.5, alpha=0.3)
        axes.plot(
            means["step"], means[name], color=colour, marker=MARKERS[index], markersize=2.5, linewidth=1.1, label=words
        )


def information_figure(curves: Sequence[Curve], history: pd.DataFrame) -> Figure | None:
    """A panel per point of the curves; None where the history has no mutual information."""
    data = information_data(curves, history)
    points = list(dict.fromkeys(data["point"]))
    if not points:
        return None
    shown = shown_of(points)
    with styled():
        figure, panels = point_panels(shown, ("training steps", "nats"), height=1.6, below=1.0)
        for axes, point in zip(panels, shown, strict=True):
            draw_information(axes, data[data["point"] == point])
            axes.locator_params(axis="x", nbins=3)
            axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(SHOWN))
        split = ", ".join(sorted(history["split"].unique()))
        caption(
            figure,
            f"Top layer, on the {split} set. Thick: means over seeds, thin: seeds ({counted(curves)}). With one layer "
            f"the first is the sum of the two others.{left_out(shown, points)}",
        )
    return figure
