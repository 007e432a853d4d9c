"""The critical value against depth and against width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import caption, counted, look, styled
from sweeper.analysis.trends import Family, families

WORDS = {"depth": "stochastic layers", "width": "units per layer"}


def trend_data(family: Family) -> pd.DataFrame:
    """One row per size with an onset: `size`, `critical`, `low`, `high`, `low_smooth`, `high_smooth` (NaN where the
    grid does not resolve the curve), `seeds`, and `per_seed`, a list."""
    names = ["low", "high", "low_smooth", "high_smooth"]
    rows = []
    for size, curve in zip(family.sizes, family.curves, strict=True):
        onset = curve.transition.onset
        if onset.value is not None:
            known = names if onset.resolved else names[:2]
            ends = {name: getattr(onset, name) if name in known else np.nan for name in names}
            rows.append(
                {"size": size, "critical": onset.value, **ends}
                | {"seeds": len(onset.seeds), "per_seed": list(onset.per_seed)}
            )
    return pd.DataFrame(rows, columns=["size", "critical", *names, "seeds", "per_seed"])


def draw_trend(axes: Axes, data: pd.DataFrame, axis: ControlAxis, label: str, index: int = 0, aside: float = 0) -> None:
    """Draw onsets against size: interval (thin), the narrower one for smooth curves (thick), seeds as small points.

    `aside`: how far to put the marks off their size, as a share of it, so that families do not hide each other.
    """
    place = data["size"] * (1 + aside)
    marked = look(index)
    colour = marked["color"]
    at = {name: axis(data[name]) for name in ("critical", "low", "high", "low_smooth", "high_smooth")}
    axes.vlines(place, at["low"], at["high"], color=colour, linewidth=0.8)
    axes.vlines(place, at["low_smooth"], at["high_smooth"], color=colour, linewidth=2.4, alpha=0.7)
    axes.plot(place, at["critical"], linewidth=0.9, label=label, **marked)  # type: ignore[arg-type]
    for here, values in zip(place, data["per_seed"], strict=True):
        axes.plot(np.full(len(values), here), axis(values), ".", color=colour, markersize=2.5, alpha=0.6)


def trend_figure(curves: Sequence[Curve]) -> Figure | None:
    """Onsets against depth and against width, a panel each, one line per family; None if no family has three sizes."""
    found = [(family, trend_data(family)) for family in families(curves)]
    found = [(family, data) for family, data in found if len(data) > 1]
    if not found:
        return None
    panels = list(dict.fromkeys(family.along for family, _ in found))
    control = curves[0].axis
    axis = ControlAxis(control, (v for _, data in found for name in ("low", "high") for v in data[name]))
    with styled():
        figure = Figure(figsize=(max(3.4 * len(panels), 4.6), 2.9 + 0.16 * max(len(found) / len(panels), 1)))
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, along in zip(grid, panels, strict=True):
            members = [(family, data) for family, data in found if family.along == along]
            for index, (family, data) in enumerate(members):
                aside = 0.012 * (index - (len(members) - 1) / 2)
                draw_trend(axes, data, axis, family.label, index, aside)
            sizes = sorted({size for family, _ in members for size in family.sizes})
            if along == "width":
                axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_xticks([], minor=True)
            axes.set_xlabel(WORDS[along])
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0)
        axis.set(grid[0], which="y", words=f"critical {control.symbol}, onset (scale of {control.scale})")
        caption(
            figure,
            f"Onset with its 95 % interval over seeds and grid (thin) and, where the grid resolves the curve, the one "
            f"that holds if it is smooth between grid points (thick); points: "
            f"seeds ({counted([curve for family, _ in found for curve in family.curves])}).",
        )
    return figure
