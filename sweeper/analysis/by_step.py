"""A curve's transition at earlier steps, from the history of its cells: the place moves as training goes on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.critical import find_transition
from sweeper.analysis.curves import Curve
from sweeper.analysis.transition import Transition
from sweeper.parameters.order import parse_order_parameter


def transitions(curve: Curve, history: pd.DataFrame, order_parameter: str = "kl_top") -> dict[int, Transition]:
    """Onset and midpoint at every step of the history, in rising order; {} where it lacks the order parameter.

    The history is measured on validation images during training, so its last step need not give what the curve gives.
    """
    parameter = parse_order_parameter(order_parameter)
    if not parameter.in_history or not len(history):
        return {}
    place = {name: index for index, name in np.ndenumerate(curve.cell_ids) if name}
    rows = history[history["cell_id"].isin(place)]
    rows = rows.assign(latents=[curve.layer_units] * len(rows))
    rows = rows.assign(value=parameter.of(rows))
    found = {}
    for step, at in rows.groupby("step"):
        values = np.full(curve.values.shape, np.nan)
        for name, value in zip(at["cell_id"], at["value"], strict=True):
            values[place[name]] = value
        found[int(step)] = find_transition(curve.control, values, curve.reference, curve.seeds, axis=curve.axis)
    return found
