"""Curves side by side: ratios of 1 − ρ with their intervals, against the margin within which they count as the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.comparisons import ENDS, SUBJECTS, Comparison
from sweeper.analysis.figures.page import MARKERS, caption, styled

MOST = 40  # pairs in a figure
COLOURS = {"yes": "C0", "no": "C1", "cannot tell": "0.55"}
SHAPES = dict(zip(COLOURS, MARKERS, strict=False))


def comparisons_data(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row per pair that has a ratio of onsets, data sets first, then methods and architectures: `label`, `ratio`,
    its intervals as in `Comparison`, `verdict`, `seeds`, and `per_seed`, a list."""
    names = ["label", "ratio", *ENDS, "verdict"]
    rows = [
        {name: getattr(one, name) for name in names} | {"seeds": len(one.seeds), "per_seed": list(one.per_seed)}
        for subject in SUBJECTS
        for one in comparisons
        if one.subject == subject and one.kind == "onset" and one.ratio is not None
    ]
    return pd.DataFrame(rows, columns=[*names, "seeds", "per_seed"])


def draw_comparisons(axes: Axes, data: pd.DataFrame, margin: float) -> None:
    """Draw one line per pair from the top down: seeds, their t interval (thick), the interval with both grids
    (thin)."""
    axes.axvspan(1 / margin, margin, color="0.92", linewidth=0, zorder=0)
    axes.axvline(1, color="0.6", linewidth=0.7, zorder=1)
    for place, row in enumerate(data.itertuples(index=False)):
        colour = COLOURS[row.verdict]
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=0.9)
        axes.plot([row.low_seeds, row.high_seeds], [place, place], color=colour, linewidth=2.6, solid_capstyle="butt")
        axes.plot(row.ratio, place, SHAPES[row.verdict], color=colour, markersize=5)
        axes.plot(row.per_seed, np.full(row.seeds, place + 0.28), "|", color=colour, markersize=4, markeredgewidth=0.8)
        axes.annotate(
            row.verdict, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7, color=colour
        )
    axes.set_yticks(range(len(data)), data["label"])
    axes.set_ylim(len(data) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    ends = np.log(data[["low", "high", "low_seeds", "high_seeds"]].to_numpy(dtype=float))
    reach = max(float(np.nanmax(np.abs(ends))), 1.2 * np.log(margin)) * 1.05
    axes.set_xlim(np.exp(-reach), np.exp(reach))
    ticks = [tick for tick in (0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4) if abs(np.log(tick)) < reach]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def comparisons_figure(comparisons: Sequence[Comparison]) -> Figure | None:
    """All pairs that have a ratio, at most 40; None if there is none."""
    whole = comparisons_data(comparisons)
    data = whole[:MOST]
    if not len(data):
        return None
    of = comparisons[0]
    with styled():
        longest = max(len(label) for label in data["label"])
        figure = Figure(figsize=(3.2 + 0.062 * longest, 0.26 * len(data) + 1.1))
        axes = figure.subplots()
        draw_comparisons(axes, data, of.margin)
        axes.set_xlabel(f"ratio of {of.scale} at the onset, first / second")
        left_out = f" The first {MOST} of {len(whole)} pairs." if len(whole) > MOST else ""
        seeds = sorted(set(data["seeds"]))
        count = "–".join(str(number) for number in sorted({seeds[0], seeds[-1]}))
        caption(
            figure,
            f"Thick: 95 % t interval of the paired differences over seeds alone (n = {count}; strokes: seeds); thin: "
            f"joined with what the steps of both grids leave open, on which the verdict rests. The same (yes) if "
            f"within a ratio of {of.margin:g} (band).{left_out}",
        )
    return figure
