"""The order parameter against the control parameter, with its critical value: the picture of the transition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import arrange, caption, counted, look, quantity, styled, wrapped

WIDTH, HEIGHT = 3.3, 2.4  # inches per panel
MAX_INSIDE = 4  # curves whose legend stands within their panel


def phase_data(curve: Curve) -> pd.DataFrame:
    """One row per point: its place, in a column named as the control parameter (`rho`), `mean`, and `seed_<seed>` for
    each seed (NaN where there is no value)."""
    data = pd.DataFrame(curve.values.T, columns=[f"seed_{seed}" for seed in curve.seeds])
    data.insert(0, "mean", data.mean(axis=1))
    data.insert(0, curve.axis.name, curve.control)
    return data


def draw_phase(axes: Axes, curves: Sequence[Curve], axis: ControlAxis) -> None:
    """Draw curves of one panel on `axes`: seeds faint, mean strong, onset with its interval, midpoint lighter."""
    for index, curve in enumerate(curves):
        data, marked = phase_data(curve), look(index)
        colour, empty = marked["color"], marked["markerfacecolor"] == "white"
        seed = marked | {"linestyle": "none", "alpha": 0.45, "markersize": 3, "markeredgewidth": 0.5 if empty else 0}
        place, apart = axis(curve.control), np.isinf(curve.axis.coordinate(curve.control))
        for name in data.columns[2:]:
            axes.plot(place, data[name], **seed)  # type: ignore[arg-type]
            axes.plot(place[~apart], data[name][~apart], color=colour, alpha=0.3, linewidth=0.5)
        axes.plot(place[~apart], data["mean"][~apart], color=colour)
        for at, mean in zip(place[apart], data["mean"][apart], strict=True):
            axes.plot([at], [mean], marker="_", color=colour, markersize=8, markeredgewidth=1.2)
        axes.plot([], [], label=curve.variant or "mean", **marked)  # type: ignore[arg-type]
        onset, midpoint = curve.transition.criticals
        if midpoint.value is not None:
            axes.axvline(float(axis(midpoint.value)), color=colour, linewidth=0.8, linestyle=":", alpha=0.8)
        if onset.value is not None:
            spans = [(onset.low, onset.high, 0.12)]
            spans += [(onset.low_smooth, onset.high_smooth, 0.2)] if onset.resolved else []
            for low, high, alpha in spans:
                axes.axvspan(float(axis(low)), float(axis(high)), color=colour, alpha=alpha, linewidth=0)  # type: ignore[arg-type]
            axes.axvline(float(axis(onset.value)), color=colour, linewidth=1.0, linestyle="--")


def limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Limits of the order parameter's axis that show 0 and all values of `curves`."""
    values = np.concatenate([curve.values[np.isfinite(curve.values)] for curve in curves])
    low, high = min(values.min(initial=0.0), 0.0), values.max(initial=0.0)
    return low - 0.03 * (high - low), high + 0.05 * (high - low) or 1.0


def verdict(curve: Curve) -> str:
    """`onset 0.978 [0.974, 0.982]`, `drop within one step, 0.94–0.95`, or the reason's first words."""
    onset = curve.transition.onset
    if onset.bound is not None:
        return f"onset {curve.axis.beyond} {onset.bound:.5g}"
    if onset.value is None:
        return f"no critical {curve.axis.symbol}: {str(onset.reason).split(':')[0]}"
    if not onset.resolved and onset.low == onset.low_gap and onset.high == onset.high_gap:
        return f"onset within one step, {onset.low:.6g}–{onset.high:.6g}"
    value, low, high = (onset.written(number) for number in (onset.value, onset.low, onset.high))
    return f"onset {value} [{low}, {high}]"


def phase_figure(curves: Sequence[Curve], order_parameter: str = "kl_top") -> Figure | None:
    """All curves of one control parameter, one panel per data set and architecture, variants in one panel.

    Curves that have no more than a physical end (ρ = 1) are left out; None if there is no other.
    """
    shown = [curve for curve in curves if np.isfinite(curve.axis.coordinate(curve.control)).any()]
    if not shown:
        return None
    control = shown[0].axis
    axis = ControlAxis(control, (value for curve in shown for value in curve.control))
    panels: dict[tuple[str, str], list[Curve]] = {}
    for curve in shown:
        panels.setdefault((curve.data, curve.architecture), []).append(curve)
    down, across, places = arrange(list(panels))
    with styled():
        most = max(map(len, panels.values()))
        below = 0.17 * most if most > MAX_INSIDE else 0.0  # inches of a legend that would cover the curves
        figure = Figure(figsize=(max(WIDTH * across, 4.2), (HEIGHT + below) * down + 0.7))
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey="row")
        for axes in grid.ravel():
            axes.set_visible(False)
        for (row, column), ((name, architecture), members) in zip(places, panels.items(), strict=True):
            axes = grid[row][column]
            axes.set_visible(True)
            draw_phase(axes, members, axis)
            axis.set(axes, label=row + 1 == down or (row + 2 == down and len(places) < down * across))
            axes.set_ylim(
                *limits([c for at, m in zip(places, panels.values(), strict=True) if at[0] == row for c in m])
            )
            axes.tick_params(labelbottom=True, labelleft=column == 0)
            title = wrapped(f"{name} · {architecture}", WIDTH)
            axes.set_title(title + (f"\n{verdict(members[0])}" if len(members) == 1 else ""))
            if column == 0:
                axes.set_ylabel(wrapped(quantity(order_parameter), HEIGHT))
            if len(members) > 1:
                if below:
                    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), borderaxespad=0)
                else:
                    axes.legend(loc="upper right")
        caption(
            figure,
            f"Line: mean over seeds; points and faint lines: seeds ({counted(shown)}). Dashed: onset, 10 % of the way "
            f"from the floor to {control.at(shown[0].reference)}, with its 95 % interval over seeds and grid "
            f"(light) and, where the grid resolves the curve, the narrower one that holds if it is smooth between grid "
            f"points (dark); dotted: midpoint, 50 %.",
        )
    return figure
