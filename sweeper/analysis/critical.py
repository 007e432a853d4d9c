"""Where the order parameter vanishes: onset and midpoint of one curve, with an interval or the reason for none.

A curve is the order parameter (top-layer KL, nats) over a control parameter (ρ), once per seed. All is done in the
axis's coordinate x, which ascends away from collapse (`sweeper.parameters.control`): for ρ, x = log u with
u = 1 − ρ, and ρ = 1 (x = −∞) is the collapsed end:

    level     floor + q (value at the reference − floor), q = 0.1 for the onset, 0.5 for the midpoint; per seed
    place     where the seed's monotone curve passes the level
    value     the mean of the seeds' places in x, back-transformed: for ρ it never passes 1
    interval  95 %, over seeds, joined with what the grid leaves open (`sweeper.analysis.intervals`)

The rules, each with its reason:

- *Window*: the grid from the reference to the collapsed end. What the curve does farther away (for ρ, under stronger
  smoothing) has no say.
- *Monotone curve*: see `sweeper.analysis.monotone`. It crosses every level once, and equals the data wherever they are
  monotone. Where the mean curve falls on the way from collapse to the reference by more than a tenth of its range, and
  by more than the seeds scatter, there is no number: a monotone curve through it would be another curve.
- *Floor*: the collapsed points are the one nearest to collapse (ρ = 1, or the largest ρ) and the grid points next to it
  whose mean over seeds lies above that one's by no more than two standard errors of such a difference, this tolerance
  being held between 0.5 % and 2.5 % of the drop. The points are chosen for all seeds together (a choice seed by seed
  would pick low noise) and averaged per seed. With little noise that is ρ = 1 and its equals; a rising tail cannot lift
  the floor.
- *Resolved or not*: where a seed's rise over the gap it crosses in and the two steps beside lies mostly in that gap
  (`MAX_SHARE`, in slopes), interpolation says nothing about where in the gap the place is. If that is so for half of
  the seeds or more, the bracket of the gaps is the headline, its middle the value, and `resolved` is false.
- *Physical end*: nothing can be interpolated between ρ = 1 and the last point before it, so where a seed's place lies
  there, no number is given but a `bound`: the mean over seeds with such places put at that point, plus t(S − 1)
  standard errors. It errs to the safe side, as the places lie beyond.
- *A floor*: a number needs a second point on it, above the first by no more than 2.5 % of the drop and two standard
  errors (these being at most as much again), and two points below the place. Else a curve that falls all the way, such
  as a power law, would have an onset.
- *One place*: seeds whose places form two groups far apart have no critical value in common; a single seed apart from
  all others is named in the warnings (`sweeper.analysis.modes`).

How often intervals hold the truth is measured on planted curves: see docs/transition.md. Without the part that
interpolation leaves open the interval of an onset covers 92, 90 and 88 % at 3, 5 and 10 seeds, and by chords alone 91,
89 and 84 %, because the bias of an interpolation is the same in every seed and no number of seeds averages it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sweeper.analysis.intervals import Interval, Known, hull_of, quantile, t_half_width
from sweeper.analysis.modes import Groups, groups
from sweeper.analysis.monotone import Monotone, Passage
from sweeper.parameters.control import RHO, Array, Axis

FRACTIONS = {"onset": 0.10, "midpoint": 0.50}  # of the way from the floor to the value at the reference
BAND = (0.05, 0.20)  # other levels at which an onset could be said to be
MIN_SEEDS = 3
MIN_POINTS = 4  # of a seed's curve within the window
MAX_FLOOR = 0.05  # of the value at the reference: above it the floor has not collapsed
TOLERANCE = 0.005  # of the drop: how far above the collapsed end a collapsed point may lie without noise
MAX_TAIL = 0.025  # of the drop: how far it may lie at most
FLAT_LEVEL = 0.99  # one-sided t test that the value at the reference lies above the floor
MIN_DROP_IN_NOISE = 5.0  # or each seed's drop exceeds its curve's noise by this factor
MAX_FALL = 0.10  # of the mean curve's range: how far it may fall on its way up
DROP = "the drop lies"  # begins the warning about a curve that the grid does not resolve
MAX_SHARE = 0.60  # of the slopes of the gap and its two neighbours that may lie in the gap


@dataclass(frozen=True)
class Critical:
    """A critical value with its interval, or the `reason` why there is none (then the numbers are None).

    `value` is one of the control parameter and `low`, `high` its 95 % interval: the numbers to quote. The interval
    joins the scatter over seeds with the grid: nothing is taken for granted about the curve between the two points
    around a seed's place. `resolved`: whether the grid resolves the curve there; if not, `value` is the middle of the
    interval, for where in the step the curve drops is not known. `low_smooth`, `high_smooth`: the narrower interval
    that holds if the curve bends no more between grid points than its neighbouring steps show. `low_gap`, `high_gap`:
    the grid points between which all seeds cross; `low_wide`, `high_wide`: the hull of those and of the interval.
    `per_seed` holds each used seed's value in the order of `seeds`, `per_seed_low`, `per_seed_high` the grid points
    around it. `bound` is given in place of a value where that lies between the last grid point and the physical end: a
    lower bound where the high end collapses, as of ρ, else an upper one. `n_diverged` and `n_missing` count the cells
    of the curve that gave no value. `warnings`: what a reader should know beside the number."""

    kind: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    resolved: bool | None = None
    low_smooth: float | None = None
    high_smooth: float | None = None
    low_gap: float | None = None
    high_gap: float | None = None
    low_wide: float | None = None
    high_wide: float | None = None
    bound: float | None = None
    per_seed: tuple[float, ...] = ()
    per_seed_low: tuple[float, ...] = ()
    per_seed_high: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    n_diverged: int = 0
    n_missing: int = 0
    reason: str | None = None
    warnings: tuple[str, ...] = ()

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

    The onset depends on a convention: `band` has the values at which the curve has risen by 5 % and by 20 % (None where
    the grid does not resolve these), and `other_onset` the onset where `other_reference`, the grid point midway
    between onset and reference, counts as uncollapsed. None where there is no onset, or no such point."""

    reference: float
    onset: Critical
    midpoint: Critical
    floor: float | None = None
    height: float | None = None
    collapsed: tuple[float, ...] = ()
    tail: tuple[float, ...] = ()
    band: tuple[float, float] | None = None
    other_reference: float | None = None
    other_onset: float | None = None

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
    found = _transition(control, x, values, reference, tuple(names), axis)
    n_diverged, n_missing = int(lost.sum()), int((np.isnan(values) & ~lost).sum())
    onset, midpoint = (replace(each, n_diverged=n_diverged, n_missing=n_missing) for each in found.criticals)
    found = replace(found, onset=onset, midpoint=midpoint)
    return found if onset.value is None else _with_other_reference(found, control, x, values, axis)


def _transition(
    control: Array, x: Array, values: Array, reference: float, names: tuple[int, ...], axis: Axis
) -> Transition:
    """`find_transition` of a curve whose points ascend in x."""

    def refused(reason: str, **known: object) -> Transition:
        onset, midpoint = (Critical(kind, reason=reason) for kind in FRACTIONS)
        return Transition(reference, onset, midpoint, **known)  # type: ignore[arg-type]

    x_ref = float(axis.coordinate(reference))
    finite = x[np.isfinite(x)]
    if len(finite) == 0 or not finite[0] <= x_ref <= finite[-1]:
        return refused(f"reference outside the grid: {axis.at(reference)} is not within {_span(axis, control, x)}")
    window = x <= x_ref
    height = np.array([_at(x, row, x_ref) for row in values])
    enough = np.isfinite(values[:, window]).sum(1) >= MIN_POINTS
    usable = np.isfinite(values[:, 0]) & np.isfinite(height) & enough
    if usable.sum() < MIN_SEEDS:
        return refused(
            f"fewer than {MIN_SEEDS} usable seeds: {int(usable.sum())} of {len(names)} have a value at "
            f"{axis.at(control[0])}, at the reference {axis.at(reference)} and at {MIN_POINTS} points or more "
            f"from there to the collapsed end"
        )
    names = tuple(name for name, use in zip(names, usable, strict=True) if use)
    height, curves = height[usable], values[usable]
    inner = window & (x < x_ref)
    grid, at_grid = np.append(x[inner], x_ref), np.column_stack([curves[:, inner], height])
    known: dict[str, Any] = {"height": float(height.mean())}
    falls = _falls(axis, grid, at_grid)
    if falls:
        return refused(falls, **known)
    monotone = [Monotone.of(grid, row) for row in at_grid]
    n_collapsed = _collapsed(curves[:, window], _tolerance(curves[:, 0], height))
    floor = np.nanmean(curves[:, :n_collapsed], axis=1)
    known |= {"floor": float(floor.mean()), "collapsed": tuple(control[:n_collapsed].tolist())}
    drop = height - floor
    if _flat(drop, at_grid, monotone):
        return refused(
            f"flat curve: {height.mean():.3g} at the reference {axis.at(reference)} is not above the floor "
            f"{floor.mean():.3g} in every seed and by more than the noise of the curves or the scatter of the seeds",
            **known,
        )
    if floor.mean() > MAX_FLOOR * height.mean():
        farther = np.nanmean(curves[:, x > x_ref], axis=0) if (x > x_ref).any() else np.zeros(0)
        if len(farther) and np.nanmax(farther) * MAX_FLOOR >= floor.mean():
            at = axis.at(control[x > x_ref][int(np.argmax(farther * MAX_FLOOR >= floor.mean()))])
            near = f"reference too near the transition: {height.mean():.3g} at {axis.at(reference)} is less than "
            return refused(f"{near}{1 / MAX_FLOOR:.0f} times the floor {floor.mean():.3g}; take {at}", **known)
        return refused(
            f"no collapsed floor: {floor.mean():.3g} at {axis.at(control[0])} is {floor.mean() / height.mean():.0%} of "
            f"{height.mean():.3g} at the reference {axis.at(reference)} (at most {MAX_FLOOR:.0%})",
            **known,
        )
    allowed = MAX_TAIL * float(drop.mean())
    n_tail = _collapsed(curves[:, window], allowed + min(_noise(curves[:, 0]), allowed))
    known["tail"] = tuple(control[:n_tail][np.isfinite(curves[:, :n_tail]).any(axis=0)].tolist())
    onset, midpoint = (
        _critical(kind, names, axis, x, [c.passage(level) for c, level in zip(monotone, levels, strict=True)],
                  len(known["tail"]))
        for kind, levels in ((kind, floor + fraction * drop) for kind, fraction in FRACTIONS.items())
    )  # fmt: skip
    if onset.resolved:
        known["band"] = tuple(_mean_place(axis, monotone, floor + fraction * drop) for fraction in BAND)
    return Transition(reference, onset, midpoint, **known)


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


def _falls(axis: Axis, x: Array, curves: Array) -> str:
    """The reason why no monotone curve describes the points, "" where one does; curves: (seeds, points), x ascending.

    The largest fall of the mean curve on its way from collapse to the reference is compared with its range, and with
    the t interval of that fall over the seeds that have both points.
    """
    here = np.isfinite(curves).any(axis=0)
    x, curves = x[here], curves[:, here]
    mean = np.nanmean(curves, axis=0)
    falls = np.maximum.accumulate(mean) - mean
    low = int(np.argmax(falls))
    high = int(np.argmax(mean[: low + 1]))
    differences = curves[:, high] - curves[:, low]
    differences = differences[np.isfinite(differences)]
    if falls[low] <= MAX_FALL * np.ptp(mean) or len(differences) < 2:
        return ""
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if differences.mean() <= quantile(FLAT_LEVEL, len(differences) - 1) * error:
        return ""
    first, second = (axis.at(float(axis.value(x[at]))) for at in (high, low))
    return (
        f"not monotone: from {mean[high]:.3g} at {first} the order parameter falls to {mean[low]:.3g} at {second}, "
        f"farther from collapse"
    )


def _flat(drop: Array, curves: Array, monotone: Sequence[Monotone]) -> bool:
    """Whether the reference is not above the floor: in some seed, or within both the scatter of the seeds' drops,
    (seeds,), and the noise of the curves, (seeds, points), about their monotone fits."""
    if drop.min() <= 0:
        return True
    error = drop.std(ddof=1) / math.sqrt(len(drop))
    rest = np.concatenate([row[np.isfinite(row)] - curve.fit for row, curve in zip(curves, monotone, strict=True)])
    noise = float(np.sqrt(np.mean(rest**2)))
    beyond_scatter = drop.mean() > quantile(FLAT_LEVEL, len(drop) - 1) * error
    return not (beyond_scatter or drop.min() > MIN_DROP_IN_NOISE * noise)


def _tolerance(end: Array, height: Array) -> float:
    """How far above the end a collapsed point may lie; see *Floor* above. end, height: (seeds,)."""
    drop = height.mean() - end.mean()
    return float(min(max(_noise(end), TOLERANCE * drop), MAX_TAIL * drop))


def _noise(end: Array) -> float:
    """Two standard errors of the difference of two points that scatter as the collapsed end does; end: (seeds,)."""
    return float(2 * end.std(ddof=1) * np.sqrt(2 / len(end)))


def _collapsed(curves: Array, tolerance: float) -> int:
    """How many points from the end on lie above it by `tolerance` at most; curves: (seeds, points), x ascending. A
    point without a value counts with those before it."""
    above = curves - curves[:, :1]
    known = np.flatnonzero(np.isfinite(above).any(axis=0))[1:]
    return next((int(point) for point in known if np.nanmean(above[:, point]) > tolerance), curves.shape[1])


def _mean_place(axis: Axis, monotone: Sequence[Monotone], levels: Array) -> float:
    """The mean of the seeds' places by interpolation, as a value of the control parameter."""
    places = [curve.passage(level).middle for curve, level in zip(monotone, levels, strict=True)]
    return float(axis.value(np.mean(places)))


def _critical(
    kind: str, seeds: tuple[int, ...], axis: Axis, x: Array, passages: Sequence[Passage], on_floor: int
) -> Critical:
    """The critical value of one kind from where the seeds' curves pass their levels, or the reason for none.

    x: (points,), of the whole grid. on_floor: how many points with a value from the end on lie within MAX_TAIL of the
    drop above it.
    """
    blank, count = Critical(kind), len(passages)
    at_end = sum(math.isinf(passage.low) for passage in passages)
    if at_end:
        last, end = (float(value) for value in axis.value([x[np.isfinite(x)][0], x[0]]))
        farthest = np.array([passage.last for passage in passages])
        return replace(
            blank,
            bound=float(axis.value(float(farthest.mean() + t_half_width(farthest)))),
            reason=f"a bound only: the {kind} lies {axis.beyond} {axis.at(last)}, the last point before {end:g}, "
            f"in {at_end} of {count} seeds; add points nearer to {end:g}",
        )
    at_start = sum(passage.high == x[-1] for passage in passages)
    if at_start:
        reason = (
            f"at the grid's edge: the {kind} lies next to {axis.at(float(axis.value(x[-1])))}, the grid's "
            f"uncollapsed end, in {at_start} of {count} seeds; add {axis.away} {axis.symbol}"
        )
        return replace(blank, reason=reason)
    middles, lows, highs = (np.array([getattr(p, name) for p in passages]) for name in ("middle", "low", "high"))
    smooth = Known(middles, *(np.array([getattr(p, name) for p in passages]) for name in ("first", "last")))
    resolved = sum(passage.share > MAX_SHARE for passage in passages) < count / 2
    gaps = Known(middles if resolved else (lows + highs) / 2, lows, highs)
    if int((x < np.mean(gaps.estimates)).sum()) < 2:
        return replace(blank, reason=f"fewer than 2 grid points below the {kind}, on its collapsed side")
    if on_floor < 2:
        between = " and ".join(axis.at(float(axis.value(each))) for each in (x[1], x[0]))
        still = f"between {between} the order parameter still falls, by more than {MAX_TAIL:.1%} of its drop"
        return replace(blank, reason=f"no floor: {still}")
    apart = groups(gaps.estimates, float((gaps.highs - gaps.lows).max()))
    if apart is not None and not apart.single:
        return replace(blank, reason=f"seeds in two modes: {_grouped(apart, seeds, axis)}")
    warnings = () if apart is None else (f"one seed lies apart: {_grouped(apart, seeds, axis)}",)
    return _number(blank, seeds, axis, smooth, gaps, resolved, warnings)


def _number(
    blank: Critical,
    seeds: tuple[int, ...],
    axis: Axis,
    smooth: Known,
    gaps: Known,
    resolved: bool,
    warnings: tuple[str, ...],
) -> Critical:
    """The critical value from the seeds' places, between grid points (`gaps`) and, for curves that bend no more than
    their neighbouring steps show, between nearer ends (`smooth`)."""

    def ends(interval: Interval) -> tuple[float, float]:
        low, high = sorted(float(axis.value(end)) for end in interval)
        return low, high

    interval = gaps.interval()
    if resolved:
        interval = hull_of(interval, smooth.interval())
    middle = float(gaps.estimates.mean()) if resolved else sum(interval) / 2
    (low, high), (low_smooth, high_smooth) = ends(interval), ends(smooth.interval())
    (low_gap, high_gap), (low_wide, high_wide) = ends(gaps.hull()), ends(hull_of(interval, gaps.hull()))
    if not resolved:
        one = len(set(zip(gaps.lows.tolist(), gaps.highs.tolist(), strict=True))) == 1
        where = f"{low_gap:.6g}–{high_gap:.6g}" if one else f"another one per seed, in {low_gap:.6g}–{high_gap:.6g}"
        warnings = (f"{DROP} within one step of the grid, {where}", *warnings)
    around = [sorted(pair) for pair in axis.value(np.stack([gaps.lows, gaps.highs], axis=1)).tolist()]
    return replace(
        blank,
        seeds=seeds,
        value=float(axis.value(middle)),
        low=low,
        high=high,
        resolved=resolved,
        low_smooth=low_smooth,
        high_smooth=high_smooth,
        low_gap=low_gap,
        high_gap=high_gap,
        low_wide=low_wide,
        high_wide=high_wide,
        per_seed=tuple(float(value) for value in axis.value(gaps.estimates)),
        per_seed_low=tuple(pair[0] for pair in around),
        per_seed_high=tuple(pair[1] for pair in around),
        warnings=warnings,
    )


def _grouped(apart: Groups, seeds: tuple[int, ...], axis: Axis) -> str:
    """`seeds 0, 2 at ρ = 0.94, seed 1 at ρ = 0.96`."""
    said = []
    for members, place in ((apart.lower, apart.lower_mean), (apart.upper, apart.upper_mean)):
        names = ", ".join(str(seeds[member]) for member in members)
        said.append(f"seed{'s' * (len(members) > 1)} {names} at {axis.at(float(f'{float(axis.value(place)):.4g}'))}")
    return ", ".join(said)


def _with_other_reference(found: Transition, control: Array, x: Array, values: Array, axis: Axis) -> Transition:
    """The transition with the onset at another reference beside it."""
    assert found.onset.value is not None
    onset, x_ref = (float(axis.coordinate(value)) for value in (found.onset.value, found.reference))
    between = np.flatnonzero((x > onset) & (x < x_ref))
    if not len(between):
        return found
    other = float(control[between[int(np.argmin(np.abs(x[between] - (onset + x_ref) / 2)))]])
    again = _transition(control, x, values, other, tuple(range(len(values))), axis)
    return replace(found, other_reference=other, other_onset=again.onset.value)
