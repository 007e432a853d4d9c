"""Where the transition is as training goes on: it moves, so its place is shown against steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeper.analysis.critical import find_transition
from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.page import MARKERS, caption, styled
from sweeper.analysis.figures.rho_axis import LABELS


def steps_data(curve: Curve, history: pd.DataFrame, order_parameter: str = "kl_top") -> pd.DataFrame:
    """One row a step with an onset: `step`, `rho`, `low`, `high` (95 % t interval), `seeds`."""
    place = {name: index for index, name in np.ndenumerate(curve.cell_ids) if name}
    rows = history[history["cell_id"].isin(place)]
    found = []
    for step, at in rows.groupby("step"):
        values = np.full(curve.values.shape, np.nan)
        for name, value in zip(at["cell_id"], at[order_parameter], strict=True):
            values[place[name]] = value
        onset = find_transition(curve.rho, values, curve.rho_ref, curve.seeds).onset
        if onset.rho is not None:
            found.append((int(step), onset.rho, onset.low, onset.high, len(onset.seeds)))
    return pd.DataFrame(found, columns=["step", "rho", "low", "high", "seeds"])


def draw_steps(axes: Axes, data: pd.DataFrame, label: str, index: int = 0) -> None:
    """Draw 1 − ρ of the onset against steps, with its interval."""
    gap = 1 - data[["rho", "high", "low"]].to_numpy(dtype=float)
    turn = index // 6  # a second round of colours gets other markers, left empty
    axes.errorbar(
        data["step"], gap[:, 0], yerr=[gap[:, 0] - gap[:, 1], gap[:, 2] - gap[:, 0]], color=f"C{index % 6}",
        marker=MARKERS[(index + turn) % 6], markerfacecolor="white" if turn % 2 else None, capsize=2, elinewidth=0.8,
        label=label,
    )  # fmt: skip


def steps_figure(curves: Sequence[Curve], history: pd.DataFrame, order_parameter: str = "kl_top") -> Figure | None:
    """The onset of every curve against steps; None where no curve has one at two steps or more."""
    if order_parameter not in history:
        return None
    shown = [(curve, steps_data(curve, history, order_parameter)) for curve in curves]
    shown = [(curve, data) for curve, data in shown if len(data) > 1]
    if not shown:
        return None
    with styled():
        figure = Figure(figsize=(4.8, 3.0 + 0.16 * len(shown)))
        axes = figure.subplots()
        for index, (curve, data) in enumerate(shown):
            draw_steps(axes, data, curve.label, index)
        axes.set_yscale("log")
        axes.invert_yaxis()  # ρ grows upward
        low, high = axes.get_ylim()
        places = [1 - rho for rho in _labels(min(low, high), max(low, high))]
        axes.set_yticks(places, [f"{1 - place:.4g}" for place in places])
        axes.set_yticks([], minor=True)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        axes.set_xlabel("training steps")
        axes.set_ylabel("critical ρ, onset (scale of log(1 − ρ))")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
        split = ", ".join(sorted(history["split"].unique()))
        caption(figure, f"Onset with its 95 % t interval over seeds, from the {split} set while training.")
    return figure


def _labels(low: float, high: float) -> list[float]:
    """Round ρ with 1 − ρ in [low, high]: evenly spaced over a narrow range, those of the ρ axis over a wide one."""
    places = MaxNLocator(5).tick_values(1 - high, 1 - low) if high < 3 * low else LABELS
    return [float(rho) for rho in places if low <= 1 - rho <= high]
