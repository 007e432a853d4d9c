"""Negative log-likelihood against active units, one mark per cell: does more latent structure cost likelihood?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.activity import ACTIVE
from sweeper.analysis.figures.page import MARKERS, caption, counted, styled
from sweeper.analysis.methods import labels, named, swept
from sweeper.parameters.control import Axis

PANELS = {"active_total": "active units, all layers", "active_top": "active units, top layer"}
COLOURS = 6  # of the style; the next six methods have the next marker


def nll_activity_data(cells: pd.DataFrame, curves: Sequence[Curve], axis: Axis) -> pd.DataFrame:
    """One row per cell that has both numbers: `data`, `label` (its method, after its architecture where several are
    there), `cell_id`, `seed`, `nll` (−`iw_bound`, or −`elbo` where no cell has that; nats per image), `samples` (K;
    1 of the ELBO), `active_total`, `active_top`, and `end`: whether it is at the collapsed end (ρ = 1), or its method
    at no other place."""
    rows = named(cells, curves)
    swept_in = {name: c.architecture for c in curves if swept(c) for name in c.cell_ids.ravel() if name}
    rows = rows.assign(architecture=[swept_in.get(row.cell_id, row.architecture) for row in rows.itertuples()])
    rows = rows.assign(label=labels(rows.assign(method=rows["curve"]), unsaid=["data"]))
    bounded = "iw_bound" in rows and rows["iw_bound"].notna().any()
    nll = -(rows["iw_bound"] if bounded else rows["elbo"]).astype("float64")
    counts = [list(value) if value is not None and np.ndim(value) else [] for value in rows["active_units"]]
    end = pd.Series(True, index=rows.index)
    if axis.name in rows and axis.end is not None:
        places = rows.groupby(["data", "label"])[axis.name].transform("nunique")
        end = (rows[axis.name] == axis.end) | (places < 2)
    found = rows.assign(
        nll=nll, samples=rows["iw_samples"] if bounded else 1, end=end,
        active_total=[float(sum(count)) if count else np.nan for count in counts],
        active_top=[float(count[-1]) if count else np.nan for count in counts],
    )  # fmt: skip
    found = found[(rows["state"] == "done") & np.isfinite(nll) & found["active_total"].notna()]
    names = ["data", "label", "cell_id", "seed", "nll", "samples", *PANELS, "end"]
    return found[names].sort_values(["data", "label", "seed", "cell_id"], kind="stable").reset_index(drop=True)


def draw_nll_activity(axes: Axes, data: pd.DataFrame, active: str, names: Sequence[str]) -> None:
    """One mark per cell, colour and marker by label (its place in `names`); empty away from the collapsed end."""
    for index, name in enumerate(names):
        for end, part in data[data["label"] == name].groupby("end"):
            axes.plot(
                part[active], part["nll"], MARKERS[index // COLOURS % len(MARKERS)], color=f"C{index % COLOURS}",
                markerfacecolor=f"C{index % COLOURS}" if end else "none", markeredgewidth=0.9, alpha=0.85, linestyle="",
            )  # fmt: skip
    axes.set_xlabel(PANELS[active])


def nll_activity_figure(curves: Sequence[Curve], cells: pd.DataFrame) -> Figure | None:
    """A row of two panels per data set: active units of all layers, and of the top layer; None where no cell has both
    numbers."""
    axis = curves[0].axis
    data = nll_activity_data(cells, curves, axis)
    if not len(data):
        return None
    names, sets = list(dict.fromkeys(data["label"])), list(dict.fromkeys(data["data"]))
    with styled():
        across = 2 if max(map(len, names)) < 45 else 1
        down = -(-len(names) // across)
        heights = [*[2.6] * len(sets), 0.19 * down]
        figure = Figure(figsize=(6.4, sum(heights) + 0.5))
        places = figure.add_gridspec(len(heights), len(PANELS), height_ratios=heights)
        grid = places[:-1, :].subgridspec(len(sets), len(PANELS)).subplots(squeeze=False, sharey="row")
        below = figure.add_subplot(places[-1, :])
        below.set_axis_off()
        for row, name in zip(grid, sets, strict=True):
            part = data[data["data"] == name]
            for axes, active in zip(row, PANELS, strict=True):
                draw_nll_activity(axes, part, active, names)
            row[0].set_title(name)
            samples = sorted({int(count) for count in part["samples"].dropna()})
            bound = "−ELBO" if samples == [1] else " or ".join(f"−L{count}" for count in samples)
            row[0].set_ylabel(f"negative log-likelihood,\n{bound} (nats)")
        marks = [
            below.plot([], [], MARKERS[i // COLOURS % len(MARKERS)], color=f"C{i % COLOURS}", label=name)[0]
            for i, name in enumerate(names)
        ]
        below.legend(handles=marks, loc="upper left", borderaxespad=0, ncols=across)
        inside = "" if data["end"].all() else f" Filled: {axis.at(axis.end or 0)}; empty: elsewhere."
        caption(figure, f"One mark per cell ({counted(curves)}).{inside} {ACTIVE}")
    return figure
