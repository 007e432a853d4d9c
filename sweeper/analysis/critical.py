"""Where the order parameter vanishes: onset and midpoint of one curve, with an interval or the reason for none.

A curve is the order parameter (top-layer KL, nats) over a control parameter (ρ), once per seed. All is done in the
axis's coordinate x, which ascends away from collapse (`sweeper.analysis.axis`): for ρ, x = log u with u = 1 − ρ, and
ρ = 1 (x = −∞) is the collapsed end:

    level     floor + q (value at the reference − floor), q = 0.1 for the onset, 0.5 for the midpoint; per seed
    place     where the seed's monotone curve passes the level
    value     the mean of the seeds' places in x, back-transformed: for ρ it never passes 1
    interval  the root of the sum of squares of two parts, each 95 %: t(S − 1) standard errors of the seeds' places, and
              1.96 times what interpolation leaves open, half the distance between the two ways of interpolating

The rules, each with its reason:

- *Window*: the grid from the reference to the collapsed end. What the curve does farther away (for ρ, under stronger
  smoothing) has no say.
- *Monotone curve*: see `sweeper.analysis.monotone`. It crosses every level once, and equals the data wherever they are
  monotone.
- *Floor*: the collapsed points are the one nearest to collapse (ρ = 1, or the largest ρ) and the grid points next to it
  whose mean over seeds lies above that one's by no more than two standard errors of such a difference, this tolerance
  being held between 0.5 % and 2.5 % of the drop. The points are chosen for all seeds together (a choice seed by seed
  would pick low noise) and averaged per seed. With little noise that is ρ = 1 and its equals; a rising tail cannot lift
  the floor.
- *Physical end*: nothing can be interpolated between ρ = 1 and the last point before it, so where a seed's place lies
  there, no number is given but a `bound`: the mean over seeds with such places put at that point, plus t(S − 1)
  standard errors. It errs to the safe side, as the places lie beyond.
- *A floor*: a number needs a second point on it, within 2.5 % of the drop above the first, and two points below the
  place. Else a curve that falls all the way, such as a power law, would have an onset.
- *Wide interval*: half-width at least half the grid's step (in x) where the seeds cross.

How often intervals hold the truth is measured on planted curves: see docs/transition.md. Without its second part the
interval of an onset covers 92, 90 and 88 % at 3, 5 and 10 seeds, and by chords alone 91, 89 and 84 %, because the bias
of an interpolation is the same in every seed and no number of seeds averages it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from sweeper.analysis.axis import RHO, Array, Axis
from sweeper.analysis.monotone import Monotone

FRACTIONS = {"onset": 0.10, "midpoint": 0.50}  # of the way from the floor to the value at the reference
CONFIDENCE = 0.95
FEWEST_SEEDS = 3
FEWEST_POINTS = 4  # of a seed's curve within the window
MOST_FLOOR = 0.05  # of the value at the reference: above it the floor has not collapsed
TOLERANCE = 0.005  # of the drop: how far above the collapsed end a collapsed point may lie without noise
MOST_TAIL = 0.025  # of the drop: how far it may lie at most
FLAT_LEVEL = 0.99  # one-sided t test that the value at the reference lies above the floor


@dataclass(frozen=True)
class Critical:
    """A critical value with its interval, or the `reason` why there is none (then the numbers are None).

    `value` is one of the control parameter; `low`, `high`: its 95 % interval; `low_wide`, `high_wide`: the same, at
    least half a grid step each way. `per_seed` holds each used seed's value in the order of `seeds`.
    `bound` is given in place of a value where that lies between the last grid point and the physical end: a lower
    bound where the high end collapses, as of ρ, else an upper one. `n_diverged` and `n_missing` count the cells of the
    curve that gave no value.
    """

    kind: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    low_wide: float | None = None
    high_wide: float | None = None
    bound: float | None = None
    per_seed: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    n_diverged: int = 0
    n_missing: int = 0
    reason: str | None = None

    def written(self, number: float | None, wide: bool = False) -> str:
        """`number` with the decimals that give two digits of the interval's half-width, or one digit of that of the
        wide interval; `–` where there is none."""
        low, high = (self.low_wide, self.high_wide) if wide else (self.low, self.high)
        if number is None or low is None or high is None:
            return "–"
        decimals = (0 if wide else 1) - math.floor(math.log10(max((high - low) / 2, 1e-9)))
        return f"{number:,.{min(max(3 if high < 1 else 0, decimals), 6)}f}"


@dataclass(frozen=True)
class Transition:
    """Onset and midpoint of a curve, and what they rest on.

    `reference` is the control parameter's value that counts as uncollapsed. `floor` and `height` (the value there) are
    means over the used seeds, in the order parameter's unit, None where no seed can be used; `collapsed` lists the
    control parameter's values whose mean is the floor, and `tail` those that lie on it as far as a number needs.
    """

    reference: float
    onset: Critical
    midpoint: Critical
    floor: float | None = None
    height: float | None = None
    collapsed: tuple[float, ...] = ()
    tail: tuple[float, ...] = ()

    @property
    def criticals(self) -> tuple[Critical, Critical]:
        """Onset, then midpoint."""
        return self.onset, self.midpoint


def find_transition(
    control: ArrayLike,
    values: ArrayLike,
    reference: float | None = None,
    seeds: Sequence[int] | None = None,
    diverged: ArrayLike | None = None,
    axis: Axis = RHO,
) -> Transition:
    """Onset and midpoint of one curve.

    control: (points,), each once, any order. values: (seeds, points), the order parameter, NaN where a cell gave none.
    reference: where the curve counts as uncollapsed [the axis's, 0.8 for ρ]; between grid points it is interpolated in
    x. seeds: their names [0 … S − 1]. diverged: (seeds, points), true where a cell diverged; other gaps are missing
    cells. axis: of the control parameter [ρ].
    Raises ValueError on wrong shapes or values of the control parameter, and where no reference is given or known.
    A curve that allows no number is not an error: see `reason`.
    """
    control = np.asarray(control, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    if control.ndim != 1 or values.ndim != 2 or values.shape[1] != len(control):
        raise ValueError(
            f"values should have shape (seeds, {control.size}), got {values.shape} for {axis.name} of {control.shape}"
        )
    x = axis.coordinate(control)
    if len(x) == 0 or len(set(x.tolist())) < len(x):
        raise ValueError(f"{axis.name} should hold distinct numbers, got {control.tolist()}")
    reference = axis.reference if reference is None else reference
    if reference is None:
        raise ValueError(f"reference: which {axis.name} counts as uncollapsed? It has no default")
    names = list(range(len(values))) if seeds is None else [int(seed) for seed in seeds]
    lost = np.zeros(values.shape, bool) if diverged is None else np.asarray(diverged, bool)
    if len(names) != len(values) or lost.shape != values.shape:
        raise ValueError(f"seeds and diverged should match values of shape {values.shape}")
    order = np.argsort(x)  # from collapse on: x and the order parameter ascend
    control, x, values, lost = control[order], x[order], np.where(lost, np.nan, values)[:, order], lost[:, order]
    values[~np.isfinite(values)] = np.nan
    blank = Critical("", n_diverged=int(lost.sum()), n_missing=int((np.isnan(values) & ~lost).sum()))
    x_ref = float(axis.coordinate(reference))

    def refused(reason: str, **known: object) -> Transition:
        onset, midpoint = (replace(blank, kind=kind, reason=reason) for kind in FRACTIONS)
        return Transition(reference, onset, midpoint, **known)  # type: ignore[arg-type]

    finite = x[np.isfinite(x)]
    if len(finite) == 0 or not finite[0] <= x_ref <= finite[-1]:
        return refused(f"reference outside the grid: {axis.at(reference)} is not within {_span(axis, control, x)}")
    window = x <= x_ref
    height = np.array([_at(x, row, x_ref) for row in values])
    enough = np.isfinite(values[:, window]).sum(1) >= FEWEST_POINTS
    usable = np.isfinite(values[:, 0]) & np.isfinite(height) & enough
    if usable.sum() < FEWEST_SEEDS:
        return refused(
            f"fewer than {FEWEST_SEEDS} usable seeds: {int(usable.sum())} of {len(names)} have a value at "
            f"{axis.at(control[0])}, at the reference {axis.at(reference)} and at {FEWEST_POINTS} points or more "
            f"from there to the collapsed end"
        )
    names = [name for name, use in zip(names, usable, strict=True) if use]
    height, curves = height[usable], values[usable]
    n_collapsed = _collapsed(curves[:, window], _tolerance(curves[:, 0], height))
    floor = np.nanmean(curves[:, :n_collapsed], axis=1)
    known: dict[str, Any] = {
        "floor": float(floor.mean()),
        "height": float(height.mean()),
        "collapsed": tuple(control[:n_collapsed].tolist()),
    }
    drop = height - floor
    error = drop.std(ddof=1) / np.sqrt(len(drop))
    if drop.min() <= 0 or drop.mean() <= _quantile(FLAT_LEVEL, len(drop) - 1) * error:
        return refused(
            f"flat curve: {height.mean():.3g} at the reference {axis.at(reference)} is not above the floor "
            f"{floor.mean():.3g} in every seed and by more than the seeds scatter",
            **known,
        )
    if floor.mean() > MOST_FLOOR * height.mean():
        return refused(
            f"no collapsed floor: {floor.mean():.3g} at {axis.at(control[0])} is {floor.mean() / height.mean():.0%} of "
            f"{height.mean():.3g} at the reference {axis.at(reference)} (at most {MOST_FLOOR:.0%})",
            **known,
        )
    n_tail = _collapsed(curves[:, window], MOST_TAIL * float(drop.mean()))
    known["tail"] = tuple(control[:n_tail][np.isfinite(curves[:, :n_tail]).any(axis=0)].tolist())
    inner = window & (x < x_ref)
    grid = np.append(x[inner], x_ref)
    monotone = [Monotone.of(grid, np.append(row[inner], last)) for row, last in zip(curves, height, strict=True)]
    onset, midpoint = (
        _place(replace(blank, kind=kind), tuple(names), axis, x, monotone, floor + fraction * drop, len(known["tail"]))
        for kind, fraction in FRACTIONS.items()
    )
    return Transition(reference, onset, midpoint, **known)


def left_open(distances: Sequence[float] | Array) -> float:
    """What interpolation adds to the interval's half-width; distances: (seeds,), between a seed's two places, in x."""
    return _quantile(0.5 + CONFIDENCE / 2, math.inf) * abs(float(np.mean(distances))) / 2


@lru_cache
def _quantile(level: float, freedom: float) -> float:
    """Of Student's t."""
    return float(student_t.ppf(level, freedom))


def _span(axis: Axis, control: Array, x: Array) -> str:
    inner = control[np.isfinite(x)]
    if len(inner) == 0:
        return f"{axis.at(control[0])}, the only value"
    return f"{axis.symbol} = {inner.min():.6g} … {inner.max():.6g}"


def _at(x: Array, row: Array, x_ref: float) -> float:
    """The seed's value at the reference: its own cell's, or straight between the two grid points around it."""
    if np.any(x == x_ref):
        return float(row[x == x_ref][0])
    above = int(np.argmax(x > x_ref))
    return float(np.interp(x_ref, x[above - 1 : above + 1], row[above - 1 : above + 1]))


def _tolerance(end: Array, height: Array) -> float:
    """How far above the end a collapsed point may lie; see *Floor* above. end, height: (seeds,)."""
    drop = height.mean() - end.mean()
    noise = 2 * end.std(ddof=1) * np.sqrt(2 / len(end))
    return float(min(max(noise, TOLERANCE * drop), MOST_TAIL * drop))


def _collapsed(curves: Array, tolerance: float) -> int:
    """How many points from the end on lie above it by `tolerance` at most; curves: (seeds, points), x ascending. A
    point without a value counts with those before it."""
    above = curves - curves[:, :1]
    known = np.flatnonzero(np.isfinite(above).any(axis=0))[1:]
    return next((int(point) for point in known if np.nanmean(above[:, point]) > tolerance), curves.shape[1])


def _place(
    blank: Critical,
    seeds: tuple[int, ...],
    axis: Axis,
    x: Array,
    monotone: list[Monotone],
    levels: Array,
    on_floor: int,
) -> Critical:
    """The critical value of one kind from the seeds' monotone curves and levels, or the reason for none.

    on_floor: how many points with a value from the end on lie within MOST_TAIL of the drop above it.
    """
    both, steps, at_end, at_start = [], [], 0, 0
    for curve, level in zip(monotone, levels, strict=True):
        # The floor averages the first points, so it is never below the isotonic fit's start, nor is its end below the
        # value at the reference: the level is always crossed, between points `above − 1` and `above`.
        above = curve.above(level)
        step = curve.x[above] - curve.x[above - 1]
        at_end += int(np.isinf(step))
        at_start += int(above == len(curve.x) - 1 and curve.x[above] == x[-1])
        both.append(curve.places(level))
        steps.append(step)
    chords, cubics = np.array(both).T
    places, count = (chords + cubics) / 2, len(both)
    mean = float(places.mean())
    scatter = _quantile(0.5 + CONFIDENCE / 2, count - 1) * places.std(ddof=1) / np.sqrt(count)
    half = float(np.hypot(scatter, left_open(cubics - chords)))
    if at_end:
        last, end = (float(value) for value in axis.value([x[np.isfinite(x)][0], x[0]]))
        return replace(
            blank,
            bound=float(axis.value(mean + half)),
            reason=f"a bound only: the {blank.kind} lies {axis.beyond} {axis.at(last)}, the last point before {end:g}, "
            f"in {at_end} of {count} seeds; add points nearer to {end:g}",
        )
    if at_start:
        reason = (
            f"at the grid's edge: the {blank.kind} lies next to {axis.at(float(axis.value(x[-1])))}, the grid's "
            f"uncollapsed end, in {at_start} of {count} seeds; add {axis.away} {axis.symbol}"
        )
        return replace(blank, reason=reason)
    if int((x < mean).sum()) < 2:
        return replace(blank, reason=f"fewer than 2 grid points below the {blank.kind}, on its collapsed side")
    if on_floor < 2:
        between = " and ".join(axis.at(float(axis.value(each))) for each in (x[1], x[0]))
        still = f"between {between} the order parameter still falls, by more than {MOST_TAIL:.1%} of its drop"
        return replace(blank, reason=f"no floor: {still}")
    wide = max(half, max(steps) / 2)
    low, high = sorted(float(axis.value(mean + side)) for side in (-half, half))
    low_wide, high_wide = sorted(float(axis.value(mean + side)) for side in (-wide, wide))
    return replace(
        blank,
        seeds=seeds,
        value=float(axis.value(mean)),
        low=low,
        high=high,
        low_wide=low_wide,
        high_wide=high_wide,
        per_seed=tuple(float(value) for value in axis.value(places)),
    )
