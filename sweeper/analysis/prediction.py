"""A critical ρ predicted from two cells a seed, beside the one that was found; `models.prediction` has the quantity.

Followed from ρ = 1 down, the smoothed objective of the cell trained there leads that of a cell well below the critical
ρ, until they cross. The crossing, by straight lines in log(1 − ρ), is the prediction; once per seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from sweeper.analysis.axis import RHO, Array
from sweeper.analysis.curves import Curve
from sweeper.analysis.intervals import CONFIDENCE

POINTS = 49  # at which the objectives are compared
NEAREST = 4.0  # how many times nearer to ρ = 1 than the grid's last point they go


@dataclass(frozen=True)
class Prediction:
    """Of one curve: `below`, the ρ of the uncollapsed cells; `rho` with its 95 % t interval over `seeds` (None with
    fewer than 2); `per_seed`. Or the `reason` why there is none. The curve has what was found.
    """

    curve: Curve
    below: float | None
    rho: float | None = None
    low: float | None = None
    high: float | None = None
    per_seed: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    reason: str | None = None


def places(curve: Curve, below: float) -> Array:
    """The ρ at which the two cells are compared, ascending in log(1 − ρ): from near 1 to `below`."""
    x = RHO.coordinate(curve.control)
    nearest = x[np.isfinite(x)].min() - np.log(NEAREST)
    return RHO.value(np.linspace(nearest, float(RHO.coordinate(below)), POINTS))


def crossing(rho: Array, lead: Array) -> float:
    """Where the lead of the collapsed cell ends, followed from ρ = 1 on.

    rho: (points,), ascending in log(1 − ρ); lead: (points,), the collapsed cell's objective less the other's, nats.
    Raises ValueError, with the reason, where it does not lead at first, or to the end.
    """
    behind = np.flatnonzero(lead <= 0)
    if len(behind) == 0:
        raise ValueError(f"the cell trained at ρ = 1 leads all the way down to ρ = {rho[-1]:.4g}")
    if behind[0] == 0:
        raise ValueError(f"the cell trained at ρ = 1 does not lead even at ρ = {rho[0]:.4g}")
    i, x = int(behind[0]), RHO.coordinate(rho)
    share = lead[i - 1] / (lead[i - 1] - lead[i])
    return float(RHO.value(x[i - 1] + share * (x[i] - x[i - 1])))


def predict(curve: Curve, below: float, objectives: Mapping[int, tuple[Array, Array]]) -> Prediction:
    """The prediction from each seed's objectives of the cell at `below` and of that at 1, (points,) over `places`."""
    rho, found, reasons = places(curve, below), {}, []
    for seed, (uncollapsed, collapsed) in objectives.items():
        try:
            found[seed] = crossing(rho, collapsed - uncollapsed)
        except ValueError as reason:
            reasons.append(f"seed {seed}: {reason}")
    if reasons or not found:
        return Prediction(curve, below, reason="; ".join(reasons) or "no seed has both cells with a kept state")
    x = RHO.coordinate(list(found.values()))
    middle, low, high = float(x.mean()), None, None
    if len(x) > 1:
        half = float(student_t.ppf(0.5 + CONFIDENCE / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
        low, high = float(RHO.value(middle + half)), float(RHO.value(middle - half))
    return Prediction(curve, below, float(RHO.value(middle)), low, high, tuple(found.values()), tuple(found))


def prediction_table(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """One row a curve: predicted ρ with its interval, found onset and midpoint, and the ratios of their 1 − ρ."""
    rows = []
    for each in predictions:
        onset, midpoint = each.curve.transition.criticals
        row = {
            "curve": each.curve.label, "below": each.below, "rho": each.rho, "low": each.low, "high": each.high,
            "seeds": len(each.seeds), "reason": each.reason,
        }  # fmt: skip
        for critical in (onset, midpoint):
            known = critical.value is not None and each.rho is not None
            row[critical.kind] = critical.value
            row[f"ratio_{critical.kind}"] = (1 - each.rho) / (1 - critical.value) if known else None  # type: ignore[operator]
        rows.append(row)
    numbers = ["below", "rho", "low", "high", "onset", "ratio_onset", "midpoint", "ratio_midpoint"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))
