"""Where the transition is as training goes on: it moves, so its place is shown against steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.cell import parse_sizes
from sweeper.analysis.critical import find_transition
from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import MARKERS, caption, styled
from sweeper.analysis.order_parameter import parse_order_parameter


def steps_data(curve: Curve, history: pd.DataFrame, order_parameter: str = "kl_top") -> pd.DataFrame:
    """One row a step with an onset: `step`, `critical`, `low`, `high` (95 % t interval), `seeds`."""
    parameter = parse_order_parameter(order_parameter)
    place = {name: index for index, name in np.ndenumerate(curve.cell_ids) if name}
    rows = history[history["cell_id"].isin(place)]
    rows = rows.assign(latents=[parse_sizes(curve.fields["latents"])] * len(rows))
    rows = rows.assign(value=parameter.of(rows))
    found = []
    for step, at in rows.groupby("step"):
        values = np.full(curve.values.shape, np.nan)
        for name, value in zip(at["cell_id"], at["value"], strict=True):
            values[place[name]] = value
        onset = find_transition(curve.control, values, curve.reference, curve.seeds, axis=curve.axis).onset
        if onset.value is not None:
            found.append((int(step), onset.value, onset.low, onset.high, len(onset.seeds)))
    return pd.DataFrame(found, columns=["step", "critical", "low", "high", "seeds"])


def draw_steps(axes: Axes, data: pd.DataFrame, axis: ControlAxis, label: str, index: int = 0) -> None:
    """Draw the onset against steps, with its interval."""
    place, low, high = (axis(data[name]) for name in ("critical", "low", "high"))
    turn = index // 6  # a second round of colours gets other markers, left empty
    axes.errorbar(
        data["step"], place, yerr=[place - low, high - place], color=f"C{index % 6}",
        marker=MARKERS[(index + turn) % 6], markerfacecolor="white" if turn % 2 else None, capsize=2, elinewidth=0.8,
        label=label,
    )  # fmt: skip


def steps_figure(curves: Sequence[Curve], history: pd.DataFrame, order_parameter: str = "kl_top") -> Figure | None:
    """The onset of every curve against steps; None where no curve has one at two steps or more."""
    if not parse_order_parameter(order_parameter).in_history:
        return None
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
        caption(figure, f"Onset with its 95 % t interval over seeds, from the {split} set while training.")
    return figure
