"""Checks shown beside a critical value, never in its place: other ways to see where the transition is, whether it still
moves, and whether it stands out of the scatter.

- *Variance peak*: the point of the window at which the variance over seeds is largest.
- *Steepest slope*: the middle, in x, of the two neighbouring points between which the mean over seeds rises most.
- *Change point*: where a level followed by a straight line in x fits the mean over seeds best: the middle between the
  last point of the one and the first of the other.
- *Half the steps*: the onset at half the training steps against that at the end, both from the history.
- *Drop in spreads*: the drop from the reference to the floor over the standard deviation over seeds, pooled over the
  window.

A place agrees with a critical value if it lies within the half-width of its interval and a grid step of it. Each of
the three has its own bias (a variance may peak where the curve is high, a slope is steepest above an onset), which is
why they are checks: on planted curves the jump and the variance peak miss by twice as much as the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.analysis.by_step import transitions
from sweeper.analysis.curves import Curve
from sweeper.analysis.transition import Critical
from sweeper.parameters.control import Array

NEAR_HALF = 0.1  # of the steps: how far from half of them the history's step may lie


@dataclass(frozen=True)
class HalfSteps:
    """The onset at about half the steps, `step`, and at the `end`, in values of the control parameter. `converged`: it
    moved by no more than the half-width of the interval at the end. None where there is no number."""

    step: int
    end: int
    critical: float | None
    critical_end: float | None
    converged: bool | None


@dataclass(frozen=True)
class Checks:
    """Places are values of the control parameter, None where the curve has too few points. `agrees`: by kind (onset,
    midpoint) and check, None where there is nothing to compare."""

    variance_peak: float | None
    steepest_slope: float | None
    change_point: float | None
    agrees: dict[str, dict[str, bool | None]]
    drop_in_spreads: float | None
    half_steps: HalfSteps | None


PLACES = ("variance_peak", "steepest_slope", "change_point")


def check(curve: Curve, history: pd.DataFrame | None = None, order_parameter: str = "kl_top") -> Checks:
    """All checks of one curve; `history` is that of the store, None or empty where there is none."""
    x = curve.axis.coordinate(curve.control)
    order = np.argsort(x)
    order = order[x[order] <= curve.axis.coordinate(curve.reference)]
    x, values = x[order], curve.values[:, order]
    counts = np.isfinite(values).sum(axis=0)
    x, values = x[counts > 0], values[:, counts > 0]
    mean = np.nanmean(values, axis=0) if len(x) else np.zeros(0)
    variance = _variance(values)
    found = {
        "variance_peak": None if np.isnan(variance).all() else float(x[int(np.nanargmax(variance))]),
        "steepest_slope": _steepest(x, mean),
        "change_point": _change(x, mean),
    }
    places = {name: None if place is None else float(curve.axis.value(place)) for name, place in found.items()}
    agrees = {
        critical.kind: {name: _agrees(curve, critical, place) for name, place in found.items()}
        for critical in curve.transition.criticals
    }
    transition, spread = curve.transition, float(np.sqrt(np.nanmean(variance))) if np.isfinite(variance).any() else 0.0
    drop = None
    if transition.height is not None and transition.floor is not None and spread > 0:
        drop = (transition.height - transition.floor) / spread
    half = None if history is None else _half_steps(curve, history, order_parameter)
    return Checks(**places, agrees=agrees, drop_in_spreads=drop, half_steps=half)


def _variance(values: Array) -> Array:
    """Over seeds, at each point; NaN with fewer than two. values: (seeds, points)."""
    count = np.isfinite(values).sum(axis=0)
    centred = values - np.nansum(values, axis=0) / np.maximum(count, 1)
    return np.where(count > 1, np.nansum(centred**2, axis=0) / np.maximum(count - 1, 1), np.nan)


def _steepest(x: Array, mean: Array) -> float | None:
    inner = np.isfinite(x)
    x, mean = x[inner], mean[inner]
    if len(x) < 2:
        return None
    at = int(np.argmax(np.diff(mean) / np.diff(x)))
    return float(x[at] + x[at + 1]) / 2


def _change(x: Array, mean: Array) -> float | None:
    """The split into a level and a line, of at least three points, with the least sum of squares."""
    sums = {}
    for split in range(1, len(x) - 2):
        if np.isfinite(x[split]):
            level, line = mean[:split], np.polyfit(x[split:], mean[split:], 1)
            rest = mean[split:] - np.polyval(line, x[split:])
            sums[split] = float(((level - level.mean()) ** 2).sum() + (rest**2).sum())
    if not sums:
        return None
    split = min(sums, key=lambda each: sums[each])
    return float(x[split] + x[split - 1]) / 2 if np.isfinite(x[split - 1]) else float(x[split])


def _agrees(curve: Curve, critical: Critical, place: float | None) -> bool | None:
    if critical.value is None or place is None:
        return None
    low, middle, high = curve.axis.coordinate(np.array([critical.low, critical.value, critical.high], float))
    x = np.sort(curve.axis.coordinate(curve.control))
    above = int(np.clip(np.searchsorted(x, middle), 1, len(x) - 1))
    return bool(abs(place - middle) <= abs(high - low) / 2 + x[above] - x[above - 1])


def _half_steps(curve: Curve, history: pd.DataFrame, order_parameter: str) -> HalfSteps | None:
    by_step = transitions(curve, history, order_parameter)
    if not by_step:
        return None
    end = max(by_step)
    step = min(by_step, key=lambda each: (abs(each - end / 2), each))
    if abs(step - end / 2) > NEAR_HALF * end:
        return None
    half, last = by_step[step].onset, by_step[end].onset
    converged = None
    if half.value is not None and last.value is not None:
        before, now, low, high = curve.axis.coordinate(np.array([half.value, last.value, last.low, last.high], float))
        converged = bool(abs(before - now) <= abs(high - low) / 2)
    return HalfSteps(step, end, half.value, last.value, converged)
