"""Where the order parameter vanishes: onset and midpoint of one curve, with an interval or the reason for none.

A curve is the order parameter (top-layer KL, nats) over ρ, once per seed. All is done in log u, u = 1 − ρ, with ρ = 1
(log u = −∞) as the collapsed end:

    level     floor + q (value at ρ_ref − floor), q = 0.1 for the onset, 0.5 for the midpoint; per seed
    place     where the seed's monotone curve passes the level
    interval  mean ± t(S − 1) standard errors of the seeds' places, back-transformed, so that it never passes 1

The rules, each with its reason:

- *Window*: the grid from ρ_ref to 1. What the curve does under stronger smoothing has no say.
- *Monotone curve*: isotonic least squares (pool adjacent violators) of the seed's values over u, then straight lines
  in log u. It crosses every level once, and equals the data wherever they are monotone.
- *Floor*: the collapsed points are ρ = 1 (or the largest ρ) and the grid points next to it whose mean over seeds lies
  above that of ρ = 1 by no more than two standard errors of such a difference, this tolerance being held between 0.5 %
  and 2.5 % of the drop. The points are chosen for all seeds together (a choice seed by seed would pick low noise) and
  averaged per seed. With little noise that is ρ = 1 and its equals; a rising tail cannot lift the floor.
- *ρ = 1*: nothing can be interpolated between it and the last point before it, so a place there is "at the grid's
  edge", a lower bound on the critical ρ.
- *Wide interval*: half-width at least half the grid's step (in log u) where the seeds cross.

Measured coverage of the raw interval, nominal 95 %, at 3, 5 and 10 seeds (2,000 planted curves each, 13 points, noise
1 % of the drop, spread 0.03 in log u): broken line, onset 94.6, 95.1, 94.5 %; onset-log, onset 92.5, 93.3, 93.0 %;
logistic, midpoint 95.0, 95.4, 96.0 %, but its onset 90.7, 86.2, 76.7 %, because a chord between grid points lies above
a curve that bends (bias −0.015 in log u). The wide interval covers all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import t as student_t

FRACTIONS = {"onset": 0.10, "midpoint": 0.50}  # of the way from the floor to the value at ρ_ref
CONFIDENCE = 0.95
FEWEST_SEEDS = 3
FEWEST_POINTS = 4  # of a seed's curve within the window
MOST_FLOOR = 0.05  # of the value at ρ_ref: above it the floor has not collapsed
TOLERANCE = (0.005, 0.025)  # of the drop: how far above ρ = 1 a collapsed point may lie
FLAT_LEVEL = 0.99  # one-sided t test that the value at ρ_ref lies above the floor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Critical:
    """A critical ρ with its interval, or the `reason` why there is none (then the numbers are None).

    `low`, `high`: the t interval over seeds; `low_wide`, `high_wide`: the same, at least half a grid step each way.
    `per_seed` holds each used seed's value in the order of `seeds`. `n_diverged` and `n_missing` count the cells of
    the curve that gave no value.
    """

    kind: str
    rho: float | None = None
    low: float | None = None
    high: float | None = None
    low_wide: float | None = None
    high_wide: float | None = None
    per_seed: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    n_diverged: int = 0
    n_missing: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Transition:
    """Onset and midpoint of a curve, and what they rest on.

    `floor` and `reference` (the value at ρ_ref) are means over the used seeds, in the order parameter's unit, None
    where no seed can be used; `collapsed` lists the ρ whose mean is the floor.
    """

    rho_ref: float
    onset: Critical
    midpoint: Critical
    floor: float | None = None
    reference: float | None = None
    collapsed: tuple[float, ...] = ()

    @property
    def criticals(self) -> tuple[Critical, Critical]:
        """Onset, then midpoint."""
        return self.onset, self.midpoint


def smoothing_gap(rho: ArrayLike) -> Array:
    """u = 1 − ρ, free of the rounding that makes 1 − 0.99 differ from 0.01."""
    return np.round(1.0 - np.asarray(rho, dtype=np.float64), 12)


def log_gap(rho: ArrayLike) -> Array:
    """log(1 − ρ), −∞ at ρ = 1."""
    with np.errstate(divide="ignore"):
        return np.log(smoothing_gap(rho))


def find_transition(
    rho: ArrayLike,
    values: ArrayLike,
    rho_ref: float = 0.8,
    seeds: Sequence[int] | None = None,
    diverged: ArrayLike | None = None,
) -> Transition:
    """Onset and midpoint of one curve.

    rho: (points,), each once, in [0, 1], any order. values: (seeds, points), the order parameter, NaN where a cell
    gave none. rho_ref: where the curve counts as uncollapsed; between grid points it is interpolated in log u.
    seeds: their names [0 … S − 1]. diverged: (seeds, points), true where a cell diverged; other gaps are missing cells.
    Raises ValueError on wrong shapes or values of rho. A curve that allows no number is not an error: see `reason`.
    """
    rho = np.asarray(rho, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    if rho.ndim != 1 or values.ndim != 2 or values.shape[1] != len(rho):
        raise ValueError(f"values should have shape (seeds, {rho.size}), got {values.shape} for rho of {rho.shape}")
    if len(rho) == 0 or not ((rho >= 0) & (rho <= 1)).all() or len(set(smoothing_gap(rho))) < len(rho):
        raise ValueError(f"rho should hold distinct numbers in [0, 1], got {rho.tolist()}")
    names = list(range(len(values))) if seeds is None else [int(seed) for seed in seeds]
    lost = np.zeros(values.shape, bool) if diverged is None else np.asarray(diverged, bool)
    if len(names) != len(values) or lost.shape != values.shape:
        raise ValueError(f"seeds and diverged should match values of shape {values.shape}")
    order = np.argsort(-rho)  # from ρ = 1 on: u and the order parameter ascend
    rho, values, lost = rho[order], np.where(lost, np.nan, values)[:, order], lost[:, order]
    values[~np.isfinite(values)] = np.nan
    blank = Critical("", n_diverged=int(lost.sum()), n_missing=int((np.isnan(values) & ~lost).sum()))
    x, x_ref = log_gap(rho), float(log_gap(rho_ref))

    def refused(reason: str, **known: object) -> Transition:
        onset, midpoint = (replace(blank, kind=kind, reason=reason) for kind in FRACTIONS)
        return Transition(rho_ref, onset, midpoint, **known)  # type: ignore[arg-type]

    finite = x[np.isfinite(x)]
    if len(finite) == 0 or not finite[0] <= x_ref <= finite[-1]:
        return refused(f"rho_ref outside the grid: {rho_ref:g} is not within {_span(rho)}")
    window = x <= x_ref
    reference = np.array([_at(x, row, x_ref) for row in values])
    enough = np.isfinite(values[:, window]).sum(1) >= FEWEST_POINTS
    usable = np.isfinite(values[:, 0]) & np.isfinite(reference) & enough
    if usable.sum() < FEWEST_SEEDS:
        return refused(
            f"fewer than {FEWEST_SEEDS} usable seeds: {int(usable.sum())} of {len(names)} have a value at "
            f"ρ = {rho[0]:g}, at rho_ref and at {FEWEST_POINTS} points or more from there to 1"
        )
    names = [name for name, use in zip(names, usable, strict=True) if use]
    reference, curves = reference[usable], values[usable]
    n_collapsed = _collapsed(curves[:, window], reference)
    floor = np.nanmean(curves[:, :n_collapsed], axis=1)
    known = {
        "floor": float(floor.mean()),
        "reference": float(reference.mean()),
        "collapsed": tuple(rho[:n_collapsed].tolist()),
    }
    drop = reference - floor
    error = drop.std(ddof=1) / np.sqrt(len(drop))
    if drop.min() <= 0 or drop.mean() <= student_t.ppf(FLAT_LEVEL, len(drop) - 1) * error:
        return refused(
            f"flat curve: {reference.mean():.3g} at rho_ref {rho_ref:g} is not above the floor {floor.mean():.3g} "
            f"in every seed and by more than the seeds scatter",
            **known,
        )
    if floor.mean() > MOST_FLOOR * reference.mean():
        return refused(
            f"no collapsed floor: {floor.mean():.3g} at ρ = {rho[0]:g} is {floor.mean() / reference.mean():.0%} of "
            f"{reference.mean():.3g} at rho_ref {rho_ref:g} (at most {MOST_FLOOR:.0%})",
            **known,
        )
    inner = window & (x < x_ref)
    grid = np.append(x[inner], x_ref)
    monotone = [_monotone(grid, np.append(row[inner], last)) for row, last in zip(curves, reference, strict=True)]
    onset, midpoint = (
        _place(replace(blank, kind=kind, seeds=tuple(names)), rho, monotone, floor + fraction * drop)
        for kind, fraction in FRACTIONS.items()
    )
    return Transition(rho_ref, onset, midpoint, **known)  # type: ignore[arg-type]


def _span(rho: Array) -> str:
    before = rho[rho < 1]
    return f"ρ = {before.min():g} … {before.max():g}" if len(before) else "ρ = 1, the only value"


def _at(x: Array, row: Array, x_ref: float) -> float:
    """The seed's value at ρ_ref: its own cell's, or straight between the two grid points around it."""
    if np.any(x == x_ref):
        return float(row[x == x_ref][0])
    above = int(np.argmax(x > x_ref))
    return float(np.interp(x_ref, x[above - 1 : above + 1], row[above - 1 : above + 1]))


def _collapsed(curves: Array, reference: Array) -> int:
    """How many points from ρ = 1 on have collapsed; see *Floor* above. curves: (seeds, points), u ascending."""
    end = curves[:, 0]
    drop = reference.mean() - end.mean()
    noise = 2 * end.std(ddof=1) * np.sqrt(2 / len(end))
    tolerance = min(max(noise, TOLERANCE[0] * drop), TOLERANCE[1] * drop)
    count = 1
    while count < curves.shape[1]:
        above = curves[:, count] - end
        if np.isnan(above).all() or np.nanmean(above) > tolerance:
            break
        count += 1
    return count


def _monotone(x: Array, row: Array) -> tuple[Array, Array]:
    """The seed's points that have a value, and the isotonic fit there."""
    here = np.isfinite(row)
    return x[here], np.asarray(isotonic_regression(row[here]).x)


def _place(blank: Critical, rho: Array, monotone: list[tuple[Array, Array]], levels: Array) -> Critical:
    """The critical value of one kind from the seeds' monotone curves and levels, or the reason for none."""
    places, steps, at_end, at_start = [], [], 0, 0
    for (x, fit), level in zip(monotone, levels, strict=True):
        # The floor averages the first points, so it is never below the isotonic fit's start, nor is its end below the
        # value at ρ_ref: the level is always crossed, between points `above − 1` and `above`.
        above = int(np.argmax(fit >= level))
        at_end += int(np.isneginf(x[above - 1]))
        at_start += int(above == len(x) - 1 and x[above] == log_gap(rho[-1]))
        share = (level - fit[above - 1]) / (fit[above] - fit[above - 1])
        places.append(x[above - 1] + share * (x[above] - x[above - 1]) if np.isfinite(x[above - 1]) else -np.inf)
        steps.append(x[above] - x[above - 1])
    if at_end:
        last = rho[rho < 1].max()
        return replace(
            blank,
            seeds=(),
            reason=f"at the grid's edge: the {blank.kind} lies above ρ = {last:g}, the last point before 1, "
            f"in {at_end} of {len(places)} seeds; add points nearer to 1",
        )
    if at_start:
        return replace(
            blank,
            seeds=(),
            reason=f"at the grid's edge: the {blank.kind} lies next to ρ = {rho[-1]:g}, the grid's first point, "
            f"in {at_start} of {len(places)} seeds; add smaller ρ",
        )
    mean = float(np.mean(places))
    if int((log_gap(rho) < mean).sum()) < 2:
        return replace(
            blank, seeds=(), reason=f"fewer than 2 grid points below the {blank.kind}, on its collapsed side"
        )
    half = float(student_t.ppf(0.5 + CONFIDENCE / 2, len(places) - 1) * np.std(places, ddof=1) / np.sqrt(len(places)))
    wide = max(half, max(steps) / 2)

    def back(log_u: float) -> float:
        return float(1 - np.exp(min(log_u, 0.0)))

    return replace(
        blank,
        rho=back(mean),
        low=back(mean + half),
        high=back(mean - half),
        low_wide=back(mean + wide),
        high_wide=back(mean - wide),
        per_seed=tuple(back(place) for place in places),
    )
