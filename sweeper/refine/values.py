"""The rules that ask for a new value of the control parameter: next to the floor, or inside the widest gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from models.cell import nine_digits
from sweeper.refine.gaps import Gap, evenly, short_values
from sweeper.refine.known_curve import SLACK, KnownCurve
from sweeper.refine.points import Point, Wish
from sweeper.refine.seeds import reserve

ENOUGH = 0.9  # share of the best gain for which a shorter number, or one that other seeds have, is taken
MIN_GAIN = 0.2  # in log width per cell; for less, workers rather wait for the points in training


def next_to_the_floor(curve: KnownCurve) -> Wish | None:
    """A point next to the collapsed end, where no other lies on the floor: for the coarse grid's seeds."""
    known = curve.transition.tail
    x = sorted({curve.x(value) for value, _ in curve.asked})
    below = any(gap.low <= x[0] for gap in curve.gaps.values())  # a point nearer to the crossing will lie there
    if len(known) != 1 or below or x[1] in {curve.x(value) for value, _ in curve.pending}:
        return None
    gap = Gap(x[0], x[1], x[1])
    middle = (gap.start + gap.high) / 2
    lists = short_values(gap, curve.axis) if curve.allowed is None else [curve.allowed]
    for values in lists:
        inside = [value for value in values if gap.start < curve.x(value) < gap.high]
        if inside:
            value = min(inside, key=lambda each: abs(curve.x(each) - middle))
            points = [(nine_digits(value), seed) for seed in curve.paired if seed not in curve.lost]
            why = f"next to {curve.axis.at(curve.end)} the order parameter still falls"
            return Wish("floor", why, points) if points else None
    return None


def nearer(curve: KnownCurve) -> Wish | None:
    """The next value, where a gap is wide: for the coarse grid's seeds and further ones whose gap it is in."""
    gaps = {seed: gap for seed, gap in curve.gaps.items() if _wide(gap)}
    if not gaps:
        return None
    widest = gaps[max(gaps, key=lambda seed: (gaps[seed].width, -seed))]
    gain, points = _best(curve, widest, gaps)
    if not points or (curve.pending and gain < MIN_GAIN):
        return None
    return Wish("place", _between(curve, widest), points, reserve(curve, points))


def _best(curve: KnownCurve, widest: Gap, gaps: Mapping[int, Gap]) -> tuple[float, list[Point]]:
    """The points of the best value inside the widest gap, and their gain."""

    def best(values: Iterable[float]) -> tuple[float, list[Point]]:
        return max((_gain(curve, value, gaps) for value in values), key=lambda found: found[0], default=(0.0, []))

    there = sorted({value for value, _ in curve.asked if widest.start < curve.x(value) < widest.high})
    if curve.allowed is not None:
        return best(sorted(value for value in curve.allowed if widest.start < curve.x(value) < widest.high))
    ideal = max(best(evenly(widest, curve.axis))[0], best(there)[0])
    found = best(there)
    for values in short_values(widest, curve.axis):
        if found[0] >= ENOUGH * ideal:
            break
        found = max(found, best(values), key=lambda each: each[0])
    return found


def _gain(curve: KnownCurve, value: float, gaps: Mapping[int, Gap]) -> tuple[float, list[Point]]:
    """What a value is expected to tell for each cell, and the cells."""
    x = curve.x(value)
    gains = {seed: gap.gain(x) for seed, gap in gaps.items()}
    gaining = {seed for seed, gain in gains.items() if gain > 0}
    together = curve.paired if gaining & set(curve.paired) else ()
    seeds = sorted({*together, *gaining} - curve.lost)
    points = [(nine_digits(value), seed) for seed in seeds if (nine_digits(value), seed) not in curve.asked]
    return (sum(gains.get(seed, 0.0) for _, seed in points) / len(points), points) if points else (0.0, [])


def _between(curve: KnownCurve, gap: Gap) -> str:
    low, high = sorted(float(value) for value in curve.axis.value([gap.low, gap.high]))
    return f"the onset lies between {curve.axis.at(low)} and {curve.axis.at(high)}"


def _wide(gap: Gap) -> bool:
    return gap.width > gap.wanted * SLACK
