"""The rules that ask for further seeds: how many the interval needs, and at which points a seed is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeper.analysis.critical import MIN_POINTS, MIN_SEEDS
from sweeper.refine.known_curve import MAX_SEEDS, SLACK, KnownCurve
from sweeper.refine.points import Point, Wish

SPARE = 3  # cells kept to find the crossing of a further seed, whose unfinished gap would undo the number there is


def more_seeds(curve: KnownCurve) -> Wish | None:
    """What a seed of too few points still needs, or the points of a new one."""
    alive = curve.alive
    for seed in alive:
        points = _needed(curve, seed)
        if points:
            return Wish("seeds", f"seed {seed} has too few points", points)
    wanted = _wanted_seeds(curve)
    if len(alive) >= wanted:
        return None
    spare = SPARE if len(alive) >= MIN_SEEDS else 0
    return Wish("seeds", f"{wanted} seeds, {len(alive)} so far", _needed(curve, _new_seed(curve)), spare)


def certain(curve: KnownCurve) -> Wish | None:
    """The ends of a seed that will be needed wherever the crossing is: work for those who would wait."""
    if len(curve.alive) >= MIN_SEEDS:
        return None
    points = curve.sorted_points([(value, _new_seed(curve)) for value in (curve.end, curve.reference)])
    return Wish("seeds", f"{MIN_SEEDS} seeds are needed wherever the onset lies", points)


def reserve(curve: KnownCurve, points: Sequence[Point]) -> int:
    """Cells to keep, once `points` are asked, for the seeds without which there is no number."""
    asked = [seed for _, seed in [*curve.asked, *points]]
    short = [MIN_POINTS - asked.count(seed) for seed in curve.alive]
    new = max(MIN_SEEDS - len(short), 0)
    inside = {value for value, _ in [*curve.asked, *points]} - {curve.end, curve.reference}
    spare = new if len(inside) > MIN_POINTS - 2 else 0  # one cell for each of those whose crossing lies beside the gap
    return sum(max(n, 0) for n in short) + MIN_POINTS * new + spare


def _wanted_seeds(curve: KnownCurve) -> int:
    """How many would narrow the interval enough."""
    if len(curve.crossings) < MIN_SEEDS:
        return MIN_SEEDS
    enough = np.flatnonzero(curve.halves <= curve.wanted[1] * SLACK)
    return max(int(enough[0]) if len(enough) else MAX_SEEDS, curve.fewest)


def _new_seed(curve: KnownCurve) -> int:
    taken = {seed for _, seed in curve.asked}
    return next(seed for seed in range(len(taken) + 1) if seed not in taken)


def _needed(curve: KnownCurve, seed: int) -> list[Point]:
    """The points that a seed lacks for a crossing of its own: the ends, and the nearest to the others' crossings."""
    held = {value for value, s in curve.asked if s == seed and curve.values.get((value, s), 0.0) is not None}
    held = {value for value in held if curve.x(value) <= curve.x(curve.reference)}
    lost = {value for value, s in curve.asked if s == seed} - held
    needed = [value for value in (curve.end, curve.reference) if value not in held]
    centre = float(np.mean(curve.crossings))
    others = {value for value, _ in curve.asked if curve.x(value) < curve.x(curve.reference)} - {curve.end}
    below = sorted((v for v in others if curve.x(v) <= centre), key=lambda v: -curve.x(v))
    above = sorted((v for v in others if curve.x(v) > centre), key=curve.x)
    nearest = sorted(others, key=lambda v: abs(curve.x(v) - centre))
    for value in [*below[:1], *above[:1], *nearest]:
        if len(held) + len(needed) >= MIN_POINTS:
            break
        if value not in held and value not in lost and value not in needed:
            needed.append(value)
    return curve.sorted_points([(value, seed) for value in needed])
