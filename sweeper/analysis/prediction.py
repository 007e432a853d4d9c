"""A critical ρ predicted from two cells per seed, beside the one that was found.

Three methods, each with a *lead* of the collapsed state over the other as a function of ρ. Followed from ρ = 1 down
it ends somewhere. That place, by straight lines in log(1 − ρ), is the prediction, once per seed:

- `objectives`: the smoothed objective of the cell trained at ρ = 1 less that of a cell well below the critical ρ
  (`models.evaluation.prediction`);
- `noise`: what the gradient's noise costs the top layer less what smoothing pays for it
  (`models.evaluation.noise_balance`);
- `stability`: minus the largest curvature of the smoothed objective at the cell trained at ρ = 1
  (`models.evaluation.stability`).

The lead is known from batches of independent draws: their jackknife tells how far the place may be off for want of
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sweeper.analysis.curves import Curve
from sweeper.analysis.intervals import CONFIDENCE, jackknife_error, t_half_width
from sweeper.parameters.control import RHO, Array

POINTS = 33  # at which the objectives are compared
NEAREST = 0.001  # of 1 − ρ among them; less where the grid has less
MC_ERROR = 0.02  # of a seed's place, in log(1 − ρ): batches are added until its standard error is at most this
MIN_BATCHES, MAX_BATCHES = 8, 100
SURE = 3.0  # standard errors by which a lead that never ends, or never begins, is told from noise

Method = Literal["objectives", "noise", "stability"]
METHODS: tuple[Method, ...] = ("objectives", "noise", "stability")
_WITHOUT_AN_END = {  # why a lead does not end, or never begins
    "objectives": ("the cell trained at ρ = 1 leads all the way down", "the cell trained at ρ = 1 does not lead even"),
    "noise": ("noise costs more than smoothing pays all the way down", "smoothing pays more than noise costs even"),
    "stability": ("the collapsed state is stable all the way down", "the collapsed state is unstable even"),
}


@dataclass(frozen=True)
class Prediction:
    """Of one curve by one `method`: `below`, the ρ of the uncollapsed cells; `rho` with its 95 % interval (None with
    fewer than 2 seeds): t over `seeds`, joined with what the draws leave open; `per_seed`. Or the `reason` why there is
    none.

    `monte_carlo`: standard error of `rho` from the draws, in log(1 − ρ); `batches`: fewest of a seed. The curve has
    what was found.
    """

    curve: Curve
    below: float | None
    rho: float | None = None
    low: float | None = None
    high: float | None = None
    per_seed: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    monte_carlo: float | None = None
    batches: int = 0
    reason: str | None = None
    method: Method = "objectives"


def places(curve: Curve, below: float) -> Array:
    """The ρ at which the two cells are compared, ascending in log(1 − ρ): from near 1 to `below`."""
    x = RHO.coordinate(curve.control)
    nearest = min(float(x[np.isfinite(x)].min()), np.log(NEAREST))
    return RHO.value(np.linspace(nearest, float(RHO.coordinate(below)), POINTS))


def crossing(rho: Array, lead: Array, method: Method = "objectives") -> float:
    """Where the lead of the collapsed state ends, followed from ρ = 1 on.

    rho: (points,), ascending in log(1 − ρ); lead: (points,), as the method has it.
    Raises ValueError, with the reason, where it does not lead at first, or to the end.
    """
    behind = np.flatnonzero(lead <= 0)
    if len(behind) == 0:
        raise ValueError(f"{_WITHOUT_AN_END[method][0]} to ρ = {rho[-1]:.4g}")
    if behind[0] == 0:
        raise ValueError(f"{_WITHOUT_AN_END[method][1]} at ρ = {rho[0]:.4g}")
    i, x = int(behind[0]), RHO.coordinate(rho)
    share = lead[i - 1] / (lead[i - 1] - lead[i])
    return float(RHO.value(x[i - 1] + share * (x[i] - x[i - 1])))


def error(rho: Array, leads: Array) -> float:
    """Standard error of the crossing of the mean lead, in log(1 − ρ), from its batches, (batches, points): jackknife.

    Infinite where a crossing may not be. Raises ValueError, with the reason, where the mean lead has none.
    """
    count, mean = len(leads), leads.mean(0)
    crossing(rho, mean)
    try:
        found = [crossing(rho, (count * mean - batch) / (count - 1)) for batch in leads] if count > 1 else []
    except ValueError:
        found = []
    if not found:
        return float("inf")
    return float(jackknife_error(RHO.coordinate(np.array(found))))


def settled(rho: Array, leads: Array) -> bool:
    """Whether further batches would tell little: the crossing is known to `MC_ERROR`, or surely there is none."""
    if len(leads) < MIN_BATCHES:
        return False
    try:
        return error(rho, leads) <= MC_ERROR
    except ValueError:
        in_errors = leads.mean(0) / np.maximum(leads.std(0, ddof=1) / np.sqrt(len(leads)), 1e-300)
        return bool(in_errors.min() > SURE or in_errors[0] < -SURE)


def predict(
    curve: Curve, below: float, leads: Mapping[int, Array], method: Method = "objectives", rho: Array | None = None
) -> Prediction:
    """The prediction from each seed's leads of the collapsed state, (batches, points) over `rho` [`places`].

    A seed's place errs by its own draws, so the scatter over seeds has that in it. It stands in the interval once more,
    by itself: a few seeds may by chance lie nearer to each other than their draws allow.
    """
    found, errors, reasons = {}, {}, []
    rho = places(curve, below) if rho is None else rho
    for seed, batches in leads.items():
        try:
            found[seed], errors[seed] = crossing(rho, batches.mean(0), method), error(rho, batches)
        except ValueError as reason:
            reasons.append(f"seed {seed}: {reason}")
            continue
        if not np.isfinite(errors[seed]):
            reasons.append(f"seed {seed}: the draws do not tell where, or whether, the two cross")
    if reasons or not found:
        why = "; ".join(reasons) or "no seed has both cells with a kept state"
        return Prediction(curve, below, reason=why, method=method)
    x = RHO.coordinate(np.array(list(found.values())))
    middle, low, high, count = float(x.mean()), None, None, len(x)
    drawn = float(np.sqrt(np.square(list(errors.values())).sum()) / count)
    if count > 1:
        half = float(np.hypot(t_half_width(x), ndtri(0.5 + CONFIDENCE / 2) * drawn))
        low, high = float(RHO.value(middle + half)), float(RHO.value(middle - half))
    return Prediction(
        curve, below, float(RHO.value(middle)), low, high, tuple(found.values()), tuple(found), drawn,
        min(map(len, leads.values())), method=method,
    )  # fmt: skip


def prediction_table(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """One row per curve and method: predicted ρ, its interval, found onset and midpoint, the ratios of their 1 − ρ."""
    rows = []
    for each in predictions:
        onset, midpoint = each.curve.transition.criticals
        row = {
            "curve": each.curve.label, "method": each.method,
            "below": each.below, "rho": each.rho, "low": each.low, "high": each.high,
            "seeds": len(each.seeds), "monte_carlo": each.monte_carlo, "batches": each.batches, "reason": each.reason,
        }  # fmt: skip
        for critical in (onset, midpoint):
            known = critical.value is not None and each.rho is not None
            row[critical.kind] = critical.value
            row[f"ratio_{critical.kind}"] = (1 - each.rho) / (1 - critical.value) if known else None  # type: ignore[operator]
        rows.append(row)
    numbers = ["below", "rho", "low", "high", "monte_carlo", "onset", "ratio_onset", "midpoint", "ratio_midpoint"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))
