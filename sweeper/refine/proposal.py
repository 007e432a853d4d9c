"""Which cells of a curve to train next, so that few of them give a narrow interval of its onset.

The half-width of the onset's interval (`sweeper.analysis.critical`) has two terms, in the coordinate x of the control
parameter: half the grid's step where the seeds cross the onset's level, and t(S − 1) standard errors of the seeds'
places. Where all seeds cross in one step of a coarse grid the first is all there is; else they add up. Each is narrowed
to the wanted half-width, and where the two together are still wider, the first to a quarter of it and the second to
the rest, since a gap is halved by one cell per seed, a standard error by four times the seeds. The larger is taken up:

- *The step.* Where a seed's monotone curve passes its level lies in a gap between two of its points. The next value is
  the one that is expected to narrow the gaps most for each cell (`sweeper.refine.gaps`): halves of them, or where the
  other seeds' places are known better, near these. Points in training need no invented values for that: wherever the
  place is, they will tell on which side of them it lies. Of the values that do at least 90 % as well as the best, one
  of the fewest decimals is taken.
- *The seeds.* As many as would narrow the interval to the wanted half-width were their spread what it is now, at
  least three, or five for a half-width below 0.06: stopping as soon as an interval is narrow favours those that are
  narrow by chance (4,000 simulated, nominal 95 %: coverage 91–95 % with three, 93–95 % with five). The seeds of the
  coarse grid are trained at every new value. A further seed is trained at the fewest that the estimate asks for: the
  collapsed end, the reference, and the values about the other seeds' places.

Before either, a number needs a floor: where only the collapsed end lies on it, a point next to that end comes first.

A proposal is a function of the points alone, whatever their order and however they came about: asked again, with the
proposed points now in training, it gives the next ones, so workers need not wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import stdtrit

from models.cell import nine_digits
from sweeper.analysis.critical import (
    FRACTIONS,
    MAX_FLOOR,
    MIN_POINTS,
    MIN_SEEDS,
    Transition,
    find_transition,
)
from sweeper.analysis.intervals import CONFIDENCE
from sweeper.parameters.control import RHO, Array, Axis
from sweeper.refine.gaps import Gap, crossing, evenly, short_values, with_neighbours

Point = tuple[float, int]  # value of the control parameter, seed

ENOUGH = 0.9  # share of the best gain for which a shorter number, or one that other seeds have, is taken
MIN_GAIN = 0.2  # in log width a cell; for less, workers rather wait for the points in training
STEP_SHARE = 0.25  # of the wanted half-width that is left to the step, where the step and the seeds add up
TYPICAL_STEP = 0.1  # in x: a first seed's gap narrower than this says little of where other seeds' places are
FINE = 0.06  # half-width, twice what seeds typically scatter: below it the seeds decide when the target is met …
SEEDS_IF_FINE = 5  # … and the interval of three or four that lie close by chance would be believed too often
SPARE = 3  # cells kept to find the place of a further seed, whose unfinished gap would undo the number there is
MAX_SEEDS = 1000  # that the interval may be found to need
_SLACK = 1 + 1e-9


@dataclass(frozen=True)
class Goal:
    """When to stop: `half_width` of the interval, in x (0.05: 5 % of 1 − ρ), or so many `cells` of a curve."""

    half_width: float
    cells: int


@dataclass(frozen=True)
class Points:
    """What is known of a curve.

    `coarse`: the points to begin with; their seeds are trained everywhere. `values`: the order parameter at each
    finished point, None where there is none (the cell diverged or failed). `pending`: points in training.
    `allowed`: the only values of the control parameter that may be asked for [any].
    """

    coarse: Collection[Point]
    values: Mapping[Point, float | None] = field(default_factory=dict)
    pending: Collection[Point] = ()
    axis: Axis = RHO
    reference: float = 0.8
    allowed: Collection[float] | None = None


@dataclass(frozen=True)
class Advice:
    """What to do next, and `why` in words.

    `state`: `coarse`, `floor`, `place` (nearer points) or `seeds`, with the `points` to train; or, without any, `wait`
    (for those in training), `met`, `spent` (the budget) or `stuck` (no point would help). `half_width` is the
    interval's as it stands, None while there is no number; `used`: points finished or in training.
    """

    state: str
    why: str
    used: int
    points: tuple[Point, ...] = ()
    half_width: float | None = None


def propose(points: Points, goal: Goal) -> Advice:
    """The next points of a curve; see the module's text. Raises ValueError where `coarse` is empty."""
    return _Look(points, goal).advice()


def transition_of(points: Points) -> Transition:
    """Onset and midpoint as the estimator has them from the finished points. Raises ValueError if there are none."""
    control = sorted({value for value, _ in points.values})
    seeds = sorted({seed for _, seed in points.values})
    table = np.full((len(seeds), len(control)), np.nan)
    lost = np.zeros(table.shape, bool)
    for (value, seed), found in points.values.items():
        place = seeds.index(seed), control.index(value)
        table[place], lost[place] = (np.nan, True) if found is None else (found, False)
    return find_transition(control, table, points.reference, seeds, lost, points.axis)


class _Look:
    """One look at a curve."""

    def __init__(self, points: Points, goal: Goal):
        if not points.coarse:
            raise ValueError("a coarse grid of at least one point is needed to begin with")
        self.points, self.goal, self.axis = points, goal, points.axis
        self.reference = nine_digits(points.reference)
        self.coordinates: dict[float, float] = {}  # of the values met so far
        self.values = {_tidy(point): value for point, value in points.values.items()}
        self.pending = {_tidy(point) for point in points.pending} - self.values.keys()
        self.asked = self.values.keys() | self.pending
        coarse = {_tidy(point) for point in points.coarse}
        end = self.axis.end
        self.end = min((value for value, _ in coarse), key=self._x) if end is None else end
        self.paired = sorted({seed for _, seed in coarse})
        self.coarse = coarse | {(value, seed) for value in (self.end, self.reference) for seed in self.paired}
        self.allowed = None if points.allowed is None else [nine_digits(value) for value in points.allowed]
        self.fewest = MIN_SEEDS if goal.half_width >= FINE else SEEDS_IF_FINE
        self.left = goal.cells - len(self.asked)
        self.short = False  # something was not proposed because too little is left

    def advice(self) -> Advice:
        """The first of the rules that applies."""
        missing = self._sorted(self.coarse - self.asked)
        if missing:
            return self._say("coarse", "the coarse grid with its collapsed end and the reference", missing)
        if not self.gaps or self.uncollapsed:
            if self.pending:
                return self._say("wait", "nothing to go by yet")
            return self._say("stuck", self.uncollapsed or "no seed has a value at both ends of the curve")
        enough = len(self.gaps) >= self.fewest
        if enough and self.half_width is not None and self.half_width <= self.goal.half_width * _SLACK:
            return self._say("met", f"half-width {self.half_width:.3g}, {self.goal.half_width:g} wanted")
        if self.left <= 0:
            return self._say("spent", f"{len(self.asked)} of at most {self.goal.cells} cells")
        for rule in self._rules():
            advice = rule()
            if advice is not None:
                return advice
        if self.pending:
            return self._say("wait", "what is in training decides")
        if self.short:
            return self._say("spent", f"{self.left} of {self.goal.cells} cells left, too few for what comes next")
        return self._say("stuck", self.transition.onset.reason or "no further cell would narrow the interval")

    def _say(self, state: str, why: str, points: Sequence[Point] = ()) -> Advice:
        return Advice(state, why, len(self.asked), tuple(points), self.half_width)

    def _rules(self) -> Iterator[Callable[[], Advice | None]]:
        """What to try, in turn: first what narrows the larger of the two terms.

        Where there are too few seeds for a number yet, further ones wait until it is known about where to train them.
        Only what they need wherever that is comes before a guess at what points in training will say.
        """
        yield self._floor
        step = max(gap.width for gap in self.gaps.values())
        wanted = self.wanted[0] * _SLACK
        least = max(2 * wanted, TYPICAL_STEP)
        searching = any(gap.width > least for seed, gap in self.gaps.items() if seed in self.paired)
        if len(self.gaps) < MIN_SEEDS and searching:
            yield from (self._certain, self._nearer) if self.pending else (self._nearer, self._more_seeds)
        elif len(self.gaps) < MIN_SEEDS or step / 2 < self.halves[len(self.gaps)] or step <= 2 * wanted:
            yield from (self._more_seeds, self._nearer)
        else:
            yield self._nearer
            if self.pending:  # else nothing is left to ask for between the points, and seeds narrow the lesser term
                yield self._more_seeds

    @staticmethod
    def _wide(gap: Gap) -> bool:
        return gap.width > gap.wanted * _SLACK

    # --- what is known

    def _x(self, value: float) -> float:
        if value not in self.coordinates:
            self.coordinates[value] = float(self.axis.coordinate(value))
        return self.coordinates[value]

    def _sorted(self, points: Collection[Point]) -> list[Point]:
        return sorted(points, key=lambda point: (self._x(point[0]), point[1]))

    @cached_property
    def rows(self) -> dict[int, dict[float, float]]:
        """Each seed's values from the reference to the collapsed end, by x, ascending; of seeds that have both."""
        rows: dict[int, dict[float, float]] = {}
        ends = {self._x(self.end), self._x(self.reference)}
        for point in self._sorted(self.values):
            x, found = self._x(point[0]), self.values[point]
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
                    sorted(x for value, s in self.pending if s == seed and gap.low < (x := self._x(value)) < gap.high)
                ),
            )
            for seed, gap in self.crossings.items()
        }
        return with_neighbours(gaps, self.wanted[0])

    @cached_property
    def crossings(self) -> dict[int, Gap]:
        """The same, from the seeds' points alone."""
        collapsed = {self._x(value) for value in self.transition.collapsed or (self.end,)}
        found = {}
        for seed, row in self.rows.items():
            floor = float(np.mean([value for x, value in row.items() if x in collapsed]))
            top = row[self._x(self.reference)]
            if top > floor and (seed in self.paired or len(row) >= MIN_POINTS):
                found[seed] = crossing(row, floor + FRACTIONS["onset"] * (top - floor))
        return found

    @cached_property
    def wanted(self) -> tuple[float, float]:
        """The half-widths to which half a step and the seeds' standard errors are narrowed: the goal's, or shares of
        it where both have reached that and the interval is still wider."""
        wanted = self.goal.half_width
        steps = [gap.width / 2 for gap in self.crossings.values()]
        reached = len(steps) >= self.fewest and max(*steps, float(self.halves[len(steps)])) <= wanted * _SLACK
        wider = self.half_width is not None and self.half_width > wanted * _SLACK
        return (STEP_SHARE * wanted, (1 - STEP_SHARE) * wanted) if reached and wider else (wanted, wanted)

    @cached_property
    def places(self) -> list[float]:
        """The seeds' places, x."""
        return [gap.place for gap in self.crossings.values()]

    @cached_property
    def halves(self) -> Array:
        """t standard errors of 0, 1, … `MAX_SEEDS` seeds that scatter as the known ones do."""
        seeds = np.arange(2, MAX_SEEDS + 1)
        spread = float(np.std(self.places, ddof=1)) if len(self.places) > 1 else 0.0
        half = stdtrit(seeds - 1, 0.5 + CONFIDENCE / 2) * spread / np.sqrt(seeds)
        return np.concatenate([[np.inf, np.inf], half])

    @cached_property
    def uncollapsed(self) -> str:
        """Why there is no transition to look for; "" where there may be one."""
        if not self.rows:
            return ""
        low, high = (
            float(np.mean([row[self._x(value)] for row in self.rows.values()])) for value in (self.end, self.reference)
        )
        at = f"at {self.axis.at(self.end)}", f"at the reference {self.axis.at(self.reference)}"
        if high <= low:
            return f"flat: {high:.3g} {at[1]}, {low:.3g} {at[0]}"
        return f"no collapsed floor: {low:.3g} {at[0]}, {high:.3g} {at[1]}" if low > MAX_FLOOR * high else ""

    # --- the floor

    def _floor(self) -> Advice | None:
        """A point next to the collapsed end, where no other lies on the floor: for the coarse grid's seeds."""
        known = self.transition.tail
        x = sorted({self._x(value) for value, _ in self.asked})
        below = any(gap.low <= x[0] for gap in self.gaps.values())  # a point nearer to the place will lie there
        if len(known) != 1 or below or x[1] in {self._x(value) for value, _ in self.pending}:
            return None
        gap = Gap(x[0], x[1], x[1])
        middle = (gap.start + gap.high) / 2
        lists = short_values(gap, self.axis) if self.allowed is None else [self.allowed]
        for values in lists:
            inside = [value for value in values if gap.start < self._x(value) < gap.high]
            if inside:
                value = min(inside, key=lambda each: abs(self._x(each) - middle))
                points = [(nine_digits(value), seed) for seed in self.paired if seed not in self._lost()]
                why = f"next to {self.axis.at(self.end)} the order parameter still falls"
                return self._affordable("floor", why, points) if points else None
        return None

    # --- the step

    def _nearer(self) -> Advice | None:
        """The next value, where a gap is wide: for the coarse grid's seeds and further ones whose gap it is in."""
        gaps = {seed: gap for seed, gap in self.gaps.items() if self._wide(gap)}
        if not gaps:
            return None
        widest = gaps[max(gaps, key=lambda seed: (gaps[seed].width, -seed))]
        gain, points = self._best(widest, gaps)
        if not points or (self.pending and gain < MIN_GAIN):
            return None
        return self._affordable("place", self._between(widest), points, self._reserve(points))

    def _best(self, widest: Gap, gaps: Mapping[int, Gap]) -> tuple[float, list[Point]]:
        """The points of the best value inside the widest gap, and their gain."""

        def best(values: Iterable[float]) -> tuple[float, list[Point]]:
            return max((self._gain(value, gaps) for value in values), key=lambda found: found[0], default=(0.0, []))

        there = sorted({value for value, _ in self.asked if widest.start < self._x(value) < widest.high})
        if self.allowed is not None:
            return best(sorted(value for value in self.allowed if widest.start < self._x(value) < widest.high))
        ideal = max(best(evenly(widest, self.axis))[0], best(there)[0])
        found = best(there)
        for values in short_values(widest, self.axis):
            if found[0] >= ENOUGH * ideal:
                break
            found = max(found, best(values), key=lambda each: each[0])
        return found

    def _gain(self, value: float, gaps: Mapping[int, Gap]) -> tuple[float, list[Point]]:
        """What a value is expected to tell for each cell, and the cells."""
        x = self._x(value)
        gains = {seed: gap.gain(x) for seed, gap in gaps.items()}
        gaining = {seed for seed, gain in gains.items() if gain > 0}
        together = self.paired if gaining & set(self.paired) else ()
        seeds = sorted({*together, *gaining} - self._lost())
        points = [(nine_digits(value), seed) for seed in seeds if (nine_digits(value), seed) not in self.asked]
        return (sum(gains.get(seed, 0.0) for _, seed in points) / len(points), points) if points else (0.0, [])

    def _between(self, gap: Gap) -> str:
        low, high = sorted(float(value) for value in self.axis.value([gap.low, gap.high]))
        return f"the onset lies between {self.axis.at(low)} and {self.axis.at(high)}"

    # --- the seeds

    def _lost(self) -> set[int]:
        """Seeds without a value at an end: there will be no place for them."""
        return {s for (value, s), found in self.values.items() if found is None and value in (self.end, self.reference)}

    def _alive(self) -> list[int]:
        """Seeds that have, or may come to have, a place."""
        return sorted({seed for _, seed in self.asked} - self._lost())

    def _wanted_seeds(self) -> int:
        """How many would narrow the interval enough."""
        if len(self.places) < MIN_SEEDS:
            return MIN_SEEDS
        enough = np.flatnonzero(self.halves <= self.wanted[1] * _SLACK)
        return max(int(enough[0]) if len(enough) else MAX_SEEDS, self.fewest)

    def _more_seeds(self) -> Advice | None:
        """What a seed of too few points still needs, or the points of a new one."""
        alive = self._alive()
        for seed in alive:
            points = self._needed(seed)
            if points:
                return self._affordable("seeds", f"seed {seed} has too few points", points)
        wanted = self._wanted_seeds()
        if len(alive) >= wanted:
            return None
        spare = SPARE if len(alive) >= MIN_SEEDS else 0
        return self._affordable("seeds", f"{wanted} seeds, {len(alive)} so far", self._needed(self._new_seed()), spare)

    def _affordable(self, state: str, why: str, points: Sequence[Point], spare: int = 0) -> Advice | None:
        """The points, if so many cells are left after them."""
        if len(points) + spare > self.left:
            self.short = True
            return None
        return self._say(state, why, points)

    def _new_seed(self) -> int:
        taken = {seed for _, seed in self.asked}
        return next(seed for seed in range(len(taken) + 1) if seed not in taken)

    def _needed(self, seed: int) -> list[Point]:
        """The points that a seed lacks for a place of its own: the ends, and the nearest to the others' places."""
        held = {value for value, s in self.asked if s == seed and self.values.get((value, s), 0.0) is not None}
        held = {value for value in held if self._x(value) <= self._x(self.reference)}
        lost = {value for value, s in self.asked if s == seed} - held
        needed = [value for value in (self.end, self.reference) if value not in held]
        centre = float(np.mean(self.places))
        others = {value for value, _ in self.asked if self._x(value) < self._x(self.reference)} - {self.end}
        below = sorted((v for v in others if self._x(v) <= centre), key=lambda v: -self._x(v))
        above = sorted((v for v in others if self._x(v) > centre), key=self._x)
        nearest = sorted(others, key=lambda v: abs(self._x(v) - centre))
        for value in [*below[:1], *above[:1], *nearest]:
            if len(held) + len(needed) >= MIN_POINTS:
                break
            if value not in held and value not in lost and value not in needed:
                needed.append(value)
        return self._sorted([(value, seed) for value in needed])

    def _reserve(self, points: Sequence[Point]) -> int:
        """Cells to keep, once `points` are asked, for the seeds without which there is no number."""
        asked = [seed for _, seed in [*self.asked, *points]]
        short = [MIN_POINTS - asked.count(seed) for seed in self._alive()]
        new = max(MIN_SEEDS - len(short), 0)
        inside = {value for value, _ in [*self.asked, *points]} - {self.end, self.reference}
        spare = new if len(inside) > MIN_POINTS - 2 else 0  # a cell each for those whose place lies beside the gap
        return sum(max(n, 0) for n in short) + MIN_POINTS * new + spare

    def _certain(self) -> Advice | None:
        """The ends of a seed that will be needed wherever the place is: work for those who would wait."""
        if len(self._alive()) >= MIN_SEEDS:
            return None
        points = self._sorted([(value, self._new_seed()) for value in (self.end, self.reference)])
        return self._affordable("seeds", f"{MIN_SEEDS} seeds are needed wherever the onset lies", points)


def _tidy(point: Point) -> Point:
    return nine_digits(point[0]), int(point[1])
