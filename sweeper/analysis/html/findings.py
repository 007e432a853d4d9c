"""Blocks that say what was found: the critical value of every curve in large type, in a table, and against steps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sweeper.analysis.curves import Curve
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.page import quantity
from sweeper.analysis.figures.steps import steps_data
from sweeper.analysis.html.blocks import Block, card, cards, chart, rounded, table
from sweeper.analysis.html.keys import CurveKeys, curve_style
from sweeper.analysis.intervals import CONFIDENCE
from sweeper.analysis.shapes import mean_weights, tied
from sweeper.analysis.transition import FRACTIONS, Critical
from sweeper.parameters.order import parse_order_parameter

MAX_CARDS = 4  # with more curves the table says it better
PERCENT = f"{100 * CONFIDENCE:g}\u00a0%"
FAMILY_NAMES = {"broken": "broken line", "onset": "onset-log", "logistic": "logistic", "flat": "flat"}


def findings(curves: Sequence[Curve], order_parameter: str) -> list[Block]:
    """Cards for a few curves, and the table of all."""
    made = [cards([_card(curve) for curve in curves])] if len(curves) <= MAX_CARDS else []
    return [*made, _table(curves, order_parameter)]


def _card(curve: Curve) -> Block:
    onset, midpoint = curve.transition.criticals
    symbol, written = curve.axis.symbol, onset.written
    if onset.value is None:
        value = "no number" if onset.bound is None else f"{symbol} {_beyond(curve)} {onset.bound:.4g}"
        return card(curve.label, value, [str(onset.reason)])
    lines = [
        f"{PERCENT}, {len(onset.seeds)} seeds: {_interval(onset, onset.low, onset.high)}",
        *onset.warnings,
    ]
    if onset.resolved:
        lines.append(f"if smooth between grid points: {_interval(onset, onset.low_smooth, onset.high_smooth)}")
    if midpoint.value is not None:
        lines.append(f"midpoint: {midpoint.written(midpoint.value)}")
    return card(curve.label, f"{symbol} = {written(onset.value)}", lines)


def _beyond(curve: Curve) -> str:
    return ">" if curve.axis.beyond == "above" else "<"


def _table(curves: Sequence[Curve], order_parameter: str) -> Block:
    rows = [_row(curve) for curve in curves]
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    values = [[row[name] for name in columns] for row in rows]
    return table("Critical values", columns, values, note=estimand(curves[0], order_parameter))


def _row(curve: Curve) -> dict[str, str | int | None]:
    onset, midpoint = curve.transition.criticals
    symbol, written = curve.axis.symbol, onset.written
    value = None if onset.value is None else written(onset.value)
    if onset.bound is not None:
        value = f"{_beyond(curve)} {onset.bound:.4g}"
    weights = mean_weights(curve.fits)
    family = max(weights, key=lambda name: weights[name], default=None)
    tie = "".join(f", or {FAMILY_NAMES.get(name, name)}" for name in tied(weights)[1:])
    lost = [f"{n} {word}" for n, word in ((onset.n_diverged, "diverged"), (onset.n_missing, "missing")) if n]
    reason = onset.reason or (f"no midpoint: {midpoint.reason}" if midpoint.reason else None)
    return {
        "curve": curve.label,
        f"critical {symbol} (onset)": value,
        f"{PERCENT} interval": _interval(onset, onset.low, onset.high),
        "if smooth between grid points": _interval(onset, onset.low_smooth, onset.high_smooth)
        if onset.resolved
        else None,
        "midpoint": None if midpoint.value is None else midpoint.written(midpoint.value),
        "shape": None if family is None else f"{FAMILY_NAMES.get(family, family)} ({weights[family]:.2f})" + tie,
        "seeds": len(onset.seeds),
        "steps": "–".join(f"{step:,}" for step in sorted(set(curve.steps))),
        "without a value": ", ".join(lost) or None,
        "to know": "; ".join(onset.warnings) or None,
        "why no number": reason,
    }


def _interval(critical: Critical, low: float | None, high: float | None) -> str | None:
    """Both ends, which stay on one line."""
    return None if low is None else f"{critical.written(low)}\u00a0–\u00a0{critical.written(high)}"


def estimand(curve: Curve, order_parameter: str) -> str:
    """What the critical value is and how sure, in sentences."""
    axis = curve.axis
    return (
        f"Onset: where a seed's {quantity(order_parameter)} is {100 * FRACTIONS['onset']:g} % of the way from its "
        f"collapsed floor to its value at {axis.at(curve.reference)}; midpoint: {100 * FRACTIONS['midpoint']:g} %. "
        f"Found seed by seed, by monotone interpolation in {axis.scale}. Interval: {PERCENT}, from the scatter over "
        f"seeds (t) joined with the steps of the grid in which the seeds pass the level, as nothing is known of a "
        f"curve between two points; and a narrower one that holds if the curve bends no more there than in the steps "
        f"beside. Where the curve drops within one step, the step is the interval and its middle the value. Shape: of "
        f"the curves fitted beside it the one with most Akaike weight (its weight, mean over seeds), with those that "
        f"do as well; it is no part of the estimate, nor are the checks."
    )


def steps_chart(curves: Sequence[Curve], history: pd.DataFrame, order_parameter: str) -> Block | None:
    """The onset against training steps, one line per curve; None where no curve has one at two steps or more."""
    if not parse_order_parameter(order_parameter).in_history:
        return None
    found = [(index, curve, steps_data(curve, history, order_parameter)) for index, curve in enumerate(curves)]
    found = [(index, curve, data) for index, curve, data in found if len(data) > 1]
    if not found:
        return None
    control = found[0][1].axis
    axis = ControlAxis(control, (v for _, _, data in found for name in ("critical", "low", "high") for v in data[name]))
    steps = sorted({int(step) for _, _, data in found for step in data["step"]})
    keys = CurveKeys([curve for _, curve, _ in found])
    series = [
        {
            "keys": keys.of(curve), "style": curve_style(index),
            "points": [[steps.index(int(row.step)), rounded(axis(row.critical)), None] for row in data.itertuples()],
            "texts": [f"{row.critical:.4f} [{row.low:.4f}, {row.high:.4f}]" for row in data.itertuples()],
            "spans": [[rounded(axis(row.low)), rounded(axis(row.high))] for row in data.itertuples()],
        }
        for index, curve, data in found
    ]  # fmt: skip
    split = ", ".join(sorted(history["split"].unique()))
    return chart(
        f"Critical {control.symbol} against training steps",
        "The onset of each curve at every evaluated step, with its interval. Arrow keys move along it.",
        {"label": "training steps", "name": "step", "at": steps, "texts": [f"{step:,}" for step in steps]},
        {
            "label": f"critical {control.symbol}, onset (scale of {control.scale})",
            "name": f"critical {control.symbol}",
            "ticks": [[rounded(place), words] for place, words in axis.ticks()],
            "limits": [rounded(place) for place in axis.limits()],
        },
        keys.controls(),
        series,
        note=f"Onset with its {PERCENT} interval, on the {split} set.",
        legend=[
            {"keys": keys.of(curve), "style": curve_style(index), "text": curve.label} for index, curve, _ in found
        ],
    )  # fmt: skip
