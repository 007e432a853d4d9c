"""Where the transition is as training goes on: it moves, so its place is shown against steps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.analysis.by_step import transitions
from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import caption, look, styled


def steps_data(curve: Curve, history: pd.DataFrame, order_parameter: str = "kl_top") -> pd.DataFrame:
    """One row per step with an onset: `step`, `critical`, `low`, `high` (95 % interval), `seeds`."""
    onsets = {step: at.onset for step, at in transitions(curve, history, order_parameter).items()}
    found = [(step, o.value, o.low, o.high, len(o.seeds)) for step, o in onsets.items() if o.value is not None]
    return pd.DataFrame(found, columns=["step", "critical", "low", "high", "seeds"])


def draw_steps(axes: Axes, data: pd.DataFrame, axis: ControlAxis, label: str, index: int = 0) -> None:
    """Draw the onset against steps, with its interval."""
    place, low, high = (axis(data[name]) for name in ("critical", "low", "high"))
    error = [place - low, high - place]
    axes.errorbar(data["step"], place, yerr=error, capsize=2, elinewidth=0.8, label=label, **look(index))  # type: ignore[arg-type]


def steps_figure(curves: Sequence[Curve], history: pd.DataFrame, order_parameter: str = "kl_top") -> Figure | None:
    """The onset of every curve against steps; None where no curve has one at two steps or more."""
    shown = [(curve, steps_data(curve, history, order_parameter)) for curve in curves]
    shown = [(curve, data) for curve, data in shown if len(data) > 1]
    if not shown:
        return None
    control = shown[0][0].axis
    axis = ControlAxis(control, (value for _, data in shown for name in ("low", "high") for value in data[name]))
    with styled():
        figure = Figure(figsize=(4.8, 3.0 + 0.16 * len(shown)))
        axes = figure.subplots()
        for index, (curve, data) in enumerate(shown):
            draw_steps(axes, data, axis, curve.label, index)
        axis.set(axes, which="y", words=f"critical {control.symbol}, onset (scale of {control.scale})")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        axes.set_xlabel("training steps")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
        split = ", ".join(sorted(history["split"].unique()))
        caption(figure, f"Onset with its 95 % interval, from the {split} set while training.")
    return figure
