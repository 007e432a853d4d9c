"""Posterior-mean space of a scalar z (He, Spokoyny, Neubig & Berg-Kirkpatrick 2019, figures 2 and 3): the mean of the
model's own posterior against that of q, of many images at the end and of a few along training."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import caption, counted, letters, styled
from sweeper.analysis.figures.point_panels import left_out, point_panels, points_of, shown_of

LISTS = "posterior_mean_model", "posterior_mean_inference"
AXES = "mean of p(z|x)", "mean of q(z|x)"
INSTANCES = (0.1, 0.3, 0.5, 0.7, 0.9)  # which images' ways are drawn, by the rank of their last mean of p(z|x)


def space_data(curves: Sequence[Curve], cells: pd.DataFrame) -> pd.DataFrame:
    """One row per image of each cell whose posterior was computed: `point` (of its curve), `seed`, `model` and
    `inference`, the two means."""
    found: list[pd.DataFrame] = []
    if LISTS[0] in cells:
        rows = cells.set_index("cell_id")[list(LISTS)]
        for point, ids in points_of(curves):
            for name, seed in ids.items():
                if name in rows.index and np.ndim(rows.loc[name, LISTS[0]]):
                    model, inference = rows.loc[name]
                    found.append(pd.DataFrame({"point": point, "seed": seed, "model": model, "inference": inference}))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["point", "seed", "model"])


def trajectory_data(curves: Sequence[Curve], history: pd.DataFrame) -> pd.DataFrame:
    """One row per evaluated step of some images, of the first seed of each point that has them: `point`, `seed`,
    `instance` (the image's place), `step`, `model`, `inference`.

    The images are those whose last mean of p(z|x) has the ranks `INSTANCES`.
    """
    found: list[dict[str, Any]] = []
    if LISTS[0] in history:
        known = history[[np.ndim(value) > 0 for value in history[LISTS[0]]]]
        of_cell = {str(name): rows.sort_values("step") for name, rows in known.groupby("cell_id")}
        for point, ids in points_of(curves):
            name = next((name for name in ids if name in of_cell), None)
            if name is None:
                continue
            rows = of_cell[name]
            order = np.argsort(rows[LISTS[0]].iloc[-1], kind="stable")
            places = dict.fromkeys(int(order[round(rank * (len(order) - 1))]) for rank in INSTANCES)
            for place in places:
                for step, model, inference in zip(rows["step"], *(rows[each] for each in LISTS), strict=True):
                    means = {"model": float(model[place]), "inference": float(inference[place])}
                    found.append({"point": point, "seed": ids[name], "instance": place, "step": int(step)} | means)
    return pd.DataFrame(found, columns=["point", "seed", "instance", "step", "model", "inference"])


def draw_space(axes: Axes, data: pd.DataFrame) -> None:
    """One dot per data point, a colour per seed; in the corner each mean's deviation over them, mean over seeds."""
    seeds = sorted(data["seed"].unique())
    for index, seed in enumerate(seeds):
        of_seed = data[data["seed"] == seed]
        axes.plot(
            of_seed["model"], of_seed["inference"], ".", color=f"C{index % 6}", markersize=2.2, markeredgewidth=0,
            alpha=0.5, rasterized=True,
        )  # fmt: skip
    spread = data.groupby("seed")[["model", "inference"]].std(ddof=0).mean()
    text = f"s.d. p {spread['model']:.2f}\ns.d. q {spread['inference']:.2f}"
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=6.5, linespacing=1.3)


def draw_trajectory(axes: Axes, data: pd.DataFrame) -> None:
    """A line per image: a circle at its first evaluation, a dot at each later one, a large one at the last."""
    for index, (_, way) in enumerate(data.groupby("instance", sort=False)):
        colour, x, y = f"C{index % 6}", way["model"].to_numpy(), way["inference"].to_numpy()
        axes.plot(x, y, "-", color=colour, linewidth=0.8, marker=".", markersize=2.5, alpha=0.8)
        axes.plot(x[:1], y[:1], "o", color=colour, markerfacecolor="white", markersize=4)
        axes.plot(x[-1:], y[-1:], "o", color=colour, markersize=4)


def space_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """A panel per point of the curves; None where no cell's posterior was computed."""
    data = space_data(curves, cells)
    images = data.groupby(["point", "seed"]).size().max() if len(data) else 0
    words = (
        f"One dot per data point ({images:,} per cell; colours: seeds; {counted(curves)}), at the mean of the model's "
        "own posterior and that of q; s.d.: over data points, mean over seeds. On the line inference keeps up with the "
        "model; where q's mean is the same for all while the model's is not, it lags behind."
    )
    return _figure(data, draw_space, words)


def trajectory_figure(curves: Sequence[Curve], history: pd.DataFrame) -> Figure | None:
    """Means of the model's own posterior and of q of a few images along training, a panel per point of the curves.

    None where the history has none.
    """
    data = trajectory_data(curves, history)
    steps = sorted(data["step"].unique()) if len(data) else [0]
    words = (
        f"Up to {len(INSTANCES)} data points per panel, of one seed, from step {steps[0]:,} (circle) to step "
        f"{steps[-1]:,} (large dot), at each evaluation during training: the mean of the model's own posterior and "
        "that of q."
    )
    return _figure(data, draw_trajectory, words)


def _figure(data: pd.DataFrame, draw: Any, words: str) -> Figure | None:
    points = list(dict.fromkeys(data["point"])) if len(data) else []
    if not points:
        return None
    shown = shown_of(points)
    words += left_out(shown, points)
    data = data[data["point"].isin(shown)]
    reach = 1.08 * max(1.0, float(data[["model", "inference"]].abs().to_numpy().max()))
    with styled():
        figure, panels = point_panels(shown, AXES, height=1.85, below=0.9)
        for axes, point in zip(panels, shown, strict=True):
            axes.plot([-reach, reach], [-reach, reach], color="0.7", linewidth=0.7, zorder=0)
            axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)
            draw(axes, data[data["point"] == point])
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        lines = len(textwrap.wrap(words, letters(figure)))
        figure.set_figheight(figure.get_figheight() + 0.14 * max(0, lines - 3))  # there is room for three
        caption(figure, words)
    return figure
