"""One critical value from where the seeds' curves cross their level: a number with its interval, else the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sweeper.analysis.floor import MAX_TAIL
from sweeper.analysis.intervals import Interval, Known, hull_of, t_half_width
from sweeper.analysis.modes import Groups, groups
from sweeper.analysis.monotone import Crossing
from sweeper.analysis.transition import Critical
from sweeper.parameters.control import Array, Axis

DROP = "the drop lies"  # begins the warning about a curve that the grid does not resolve
MAX_SHARE = 0.60  # of the slopes of the gap and its two neighbours that may lie in the gap


def critical_value(
    kind: str, seeds: tuple[int, ...], axis: Axis, x: Array, crossings: Sequence[Crossing], on_floor: int
) -> Critical:
    """The critical value of one kind from where the seeds' curves cross their levels, or the reason for none.

    x: (points,), of the whole grid. on_floor: how many points with a value from the end on lie within MAX_TAIL of the
    drop above it.
    """
    blank, count = Critical(kind), len(crossings)
    at_end = sum(math.isinf(crossing.low) for crossing in crossings)
    if at_end:
        last, end = (float(value) for value in axis.value([x[np.isfinite(x)][0], x[0]]))
        farthest = np.array([crossing.last for crossing in crossings])
        return replace(
            blank,
            bound=float(axis.value(float(farthest.mean() + t_half_width(farthest)))),
            reason=f"a bound only: the {kind} lies {axis.beyond} {axis.at(last)}, the last point before {end:g}, "
            f"in {at_end} of {count} seeds; add points nearer to {end:g}",
        )
    at_start = sum(crossing.high == x[-1] for crossing in crossings)
    if at_start:
        reason = (
            f"at the grid's edge: the {kind} lies next to {axis.at(float(axis.value(x[-1])))}, the grid's "
            f"uncollapsed end, in {at_start} of {count} seeds; add {axis.away} {axis.symbol}"
        )
        return replace(blank, reason=reason)
    middles, lows, highs = (np.array([getattr(p, name) for p in crossings]) for name in ("middle", "low", "high"))
    smooth = Known(middles, *(np.array([getattr(p, name) for p in crossings]) for name in ("first", "last")))
    resolved = sum(crossing.share > MAX_SHARE for crossing in crossings) < count / 2
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
    """The critical value from the seeds' crossings, between grid points (`gaps`) and, for curves that bend no more than
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
