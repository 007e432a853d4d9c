"""One look at a curve: what its points in hand and in training tell of its seeds' crossings, and what is still
wanted."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.special import stdtrit

from models.cell import nine_digits
from sweeper.analysis.critical import MAX_FLOOR, MIN_POINTS, MIN_SEEDS
from sweeper.analysis.intervals import CONFIDENCE
from sweeper.analysis.transition import FRACTIONS, Transition
from sweeper.parameters.control import Array
from sweeper.refine.gaps import Gap, gap_of, with_neighbours
from sweeper.refine.points import Goal, Point, Points, tidy, transition_of

STEP_SHARE = 0.25  # of the wanted half-width that is left to the step, where the step and the seeds add up
FINE = 0.06  # half-width, twice what seeds typically scatter: below it the seeds decide when the target is met …
SEEDS_IF_FINE = 5  # … and the interval of three or four that lie close by chance would be believed too often
MAX_SEEDS = 1000  # that the interval may be found to need
SLACK = 1 + 1e-9


class KnownCurve:
    """What is known of a curve, and what its goal still asks for. x is the coordinate of the control parameter."""

    def __init__(self, points: Points, goal: Goal):
        if not points.coarse:
            raise ValueError("a coarse grid of at least one point is needed to begin with")
        self.points, self.goal, self.axis = points, goal, points.axis
        self.reference = nine_digits(points.reference)
        self.coordinates: dict[float, float] = {}  # of the values met so far
        self.values = {tidy(point): value for point, value in points.values.items()}
        self.pending = {tidy(point) for point in points.pending} - self.values.keys()
        self.asked = self.values.keys() | self.pending
        coarse = {tidy(point) for point in points.coarse}
        end = self.axis.end
        self.end = min((value for value, _ in coarse), key=self.x) if end is None else end
        self.paired = sorted({seed for _, seed in coarse})
        self.coarse = coarse | {(value, seed) for value in (self.end, self.reference) for seed in self.paired}
        self.allowed = None if points.allowed is None else [nine_digits(value) for value in points.allowed]
        self.fewest = MIN_SEEDS if goal.half_width >= FINE else SEEDS_IF_FINE
        self.left = goal.cells - len(self.asked)

    def x(self, value: float) -> float:
        """The coordinate of a value of the control parameter."""
        if value not in self.coordinates:
            self.coordinates[value] = float(self.axis.coordinate(value))
        return self.coordinates[value]

    def sorted_points(self, points: Collection[Point]) -> list[Point]:
        """The points from collapse on, and by seed."""
        return sorted(points, key=lambda point: (self.x(point[0]), point[1]))

    @cached_property
    def rows(self) -> dict[int, dict[float, float]]:
        """Each seed's values from the reference to the collapsed end, by x, ascending; of seeds that have both."""
        rows: dict[int, dict[float, float]] = {}
        ends = {self.x(self.end), self.x(self.reference)}
        for point in self.sorted_points(self.values):
            x, found = self.x(point[0]), self.values[point]
            if found is not None and math.isfinite(found) and x <= max(ends):
                rows.setdefault(point[1], {})[x] = found
        return {seed: row for seed, row in rows.items() if ends <= row.keys()}

    @cached_property
    def transition(self) -> Transition:
        """What the estimator makes of the finished points."""
        return transition_of(replace(self.points, values=self.values))

    @cached_property
    def half_width(self) -> float | None:
        """Half-width of the interval in x, None while there is no number."""
        onset = self.transition.onset if self.values else None
        if onset is None or onset.low is None or onset.high is None:
            return None
        low, high = self.axis.coordinate([onset.low, onset.high])
        return abs(float(high - low)) / 2

    @cached_property
    def gaps(self) -> dict[int, Gap]:
        """Where each seed that has a drop, and a further one enough points, passes the onset's level."""
        if not self.rows:
            return {}
        gaps = {
            seed: replace(
                gap,
                wanted=2 * self.wanted[0],
                waiting=tuple(
                    sorted(x for value, s in self.pending if s == seed and gap.low < (x := self.x(value)) < gap.high)
                ),
            )
            for seed, gap in self.own_gaps.items()
        }
        return with_neighbours(gaps, self.wanted[0])

    @cached_property
    def own_gaps(self) -> dict[int, Gap]:
        """For each seed, the gap in which its crossing may lie, from the seeds' own points alone."""
        collapsed = {self.x(value) for value in self.transition.collapsed or (self.end,)}
        found = {}
        for seed, row in self.rows.items():
            floor = float(np.mean([value for x, value in row.items() if x in collapsed]))
            top = row[self.x(self.reference)]
            if top > floor and (seed in self.paired or len(row) >= MIN_POINTS):
                found[seed] = gap_of(row, floor + FRACTIONS["onset"] * (top - floor))
        return found

    @cached_property
    def wanted(self) -> tuple[float, float]:
        """The half-widths to which half a step and the seeds' standard errors are narrowed: the goal's, or shares of
        it where both have reached that and the interval is still wider."""
        wanted = self.goal.half_width
        steps = [gap.width / 2 for gap in self.own_gaps.values()]
        reached = len(steps) >= self.fewest and max(*steps, float(self.halves[len(steps)])) <= wanted * SLACK
        wider = self.half_width is not None and self.half_width > wanted * SLACK
        return (STEP_SHARE * wanted, (1 - STEP_SHARE) * wanted) if reached and wider else (wanted, wanted)

    @cached_property
    def crossings(self) -> list[float]:
        """The seeds' crossings, x."""
        return [gap.crossing for gap in self.own_gaps.values()]

    @cached_property
    def halves(self) -> Array:
        """t standard errors of 0, 1, … `MAX_SEEDS` seeds that scatter as the known ones do."""
        seeds = np.arange(2, MAX_SEEDS + 1)
        spread = float(np.std(self.crossings, ddof=1)) if len(self.crossings) > 1 else 0.0
        half = stdtrit(seeds - 1, 0.5 + CONFIDENCE / 2) * spread / np.sqrt(seeds)
        return np.concatenate([[np.inf, np.inf], half])

    @cached_property
    def uncollapsed(self) -> str:
        """Why there is no transition to look for; "" where there may be one."""
        if not self.rows:
            return ""
        low, high = (
            float(np.mean([row[self.x(value)] for row in self.rows.values()])) for value in (self.end, self.reference)
        )
        at = f"at {self.axis.at(self.end)}", f"at the reference {self.axis.at(self.reference)}"
        if high <= low:
            return f"flat: {high:.3g} {at[1]}, {low:.3g} {at[0]}"
        return f"no collapsed floor: {low:.3g} {at[0]}, {high:.3g} {at[1]}" if low > MAX_FLOOR * high else ""

    @cached_property
    def lost(self) -> set[int]:
        """Seeds without a value at an end: there will be no crossing for them."""
        return {s for (value, s), found in self.values.items() if found is None and value in (self.end, self.reference)}

    @cached_property
    def alive(self) -> list[int]:
        """Seeds that have, or may come to have, a crossing."""
        return sorted({seed for _, seed in self.asked} - self.lost)
