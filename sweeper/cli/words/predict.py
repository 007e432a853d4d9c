"""Predicted values of the critical ρ beside those that were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.analysis.prediction import Prediction

PREDICTION_HEADER = [
    "curve",
    "from ρ",
    "predicted",
    "95 % interval",
    "of it draws",
    "found onset",
    "midpoint",
    "1 − ρ, ratio to onset",
]


def prediction_rows(predictions: Sequence[Prediction]) -> list[list[str]]:
    """One row per curve that has a prediction: the prediction, and what was found."""
    rows = []
    for each in predictions:
        if each.rho is None:
            continue
        onset, midpoint = each.curve.transition.criticals
        interval = "–" if each.low is None or each.high is None else f"{each.low:.4f} – {each.high:.4f}"
        drawn = "–" if each.monte_carlo is None else f"±{1.96 * each.monte_carlo * (1 - each.rho):.4f}"
        ratio = "–" if onset.value is None else f"{(1 - each.rho) / (1 - onset.value):.2f}"
        found = [critical.written(critical.value) for critical in (onset, midpoint)]
        rows.append([each.curve.label, f"{each.below:g}", f"{each.rho:.4f}", interval, drawn, *found, ratio])
    return rows


def prediction_lines(predictions: Sequence[Prediction]) -> list[str]:
    """Why there is no prediction, one line per curve that has none."""
    return [f"{each.curve.label}: no prediction: {each.reason}" for each in predictions if each.reason]


def batches_line(curve: str, seed: int, batches: int) -> str:
    """How many batches of draws a seed's prediction took."""
    return f"{curve}: seed {seed}: {batches} batches of draws"
