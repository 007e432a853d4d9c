"""Predicted values of the critical ρ beside those that were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.analysis.prediction import Prediction

METHOD_WORDS = {
    "objectives": "objectives that cross",
    "noise": "noise against pay of smoothing",
    "stability": "stability of the dead layer",
}
PREDICTION_HEADER = [
    "curve",
    "predicted by",
    "from ρ",
    "predicted",
    "95 % interval",
    "of it draws",
    "found onset",
    "midpoint",
    "1 − ρ, ratio to onset",
]


def prediction_rows(predictions: Sequence[Prediction]) -> list[list[str]]:
    """One row per prediction: what is predicted, by which method, and what was found."""
    rows = []
    for each in predictions:
        if each.rho is None:
            continue
        onset, midpoint = each.curve.transition.criticals
        interval = "–" if each.low is None or each.high is None else f"{each.low:.4f} – {each.high:.4f}"
        drawn = "–" if each.monte_carlo is None else f"±{1.96 * each.monte_carlo * (1 - each.rho):.4f}"
        ratio = "–" if onset.value is None else f"{(1 - each.rho) / (1 - onset.value):.2f}"
        found = [critical.written(critical.value) for critical in (onset, midpoint)]
        rows.append(
            [
                each.curve.label,
                METHOD_WORDS[each.method],
                f"{each.below:g}",
                f"{each.rho:.4f}",
                interval,
                drawn,
                *found,
                ratio,
            ]
        )
    return rows


def prediction_lines(predictions: Sequence[Prediction]) -> list[str]:
    """Why there is no prediction, one line per curve and method without one, and per curve where that is the same."""
    lines = []
    for each in predictions:
        alike = [other for other in predictions if other.curve is each.curve and other.reason == each.reason]
        by = "" if len(alike) > 1 else f" by {METHOD_WORDS[each.method]}"
        if each.reason:
            lines.append(f"{each.curve.label}: no prediction{by}: {each.reason}")
    return list(dict.fromkeys(lines))


def batches_line(curve: str, seed: int, batches: int) -> str:
    """How many batches of draws a seed's prediction took."""
    return f"{curve}: seed {seed}: {batches} batches of draws"
