"""The gap between two points of a curve in which its crossing lies, and what a point inside it is expected to tell.

A gap is an interval (low, high) of the coordinate x. Its log width, counted from the wanted one on, is what a further
point makes smaller: it leaves the part in which the crossing lies. `Gap.gain` is the expected decrease.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sweeper.analysis.monotone import Monotone
from sweeper.parameters.control import Axis

REACH = math.log(16)  # taken for the width of a gap that ends at x = −∞
EVEN = 0.25  # share of belief that stays spread evenly over a gap of whose crossing other seeds say something
MAX_DECIMALS = 9


@dataclass(frozen=True)
class Gap:
    """Where a seed's curve crosses a level: between `low` (−∞: the physical end) and `high`, by interpolation at
    `crossing`.

    `wanted`: the width that is narrow enough; `near`: centre and scale of what other seeds say of the crossing, None
    where they say nothing; `waiting`: points inside that are still in training.
    """

    low: float
    high: float
    crossing: float
    wanted: float = 0.0
    near: tuple[float, float] | None = None
    waiting: tuple[float, ...] = ()

    @property
    def width(self) -> float:
        """In x; ∞ where it reaches the physical end."""
        return self.high - self.low

    @property
    def start(self) -> float:
        """`low`, or as far as is looked at a time."""
        return max(self.low, self.high - REACH)

    def gain(self, x: float) -> float:
        """Expected decrease of log max(width, wanted) if a point at `x` were known besides those `waiting`."""
        if not self.start < x < self.high or x in self.waiting:
            return 0.0
        left = max([self.start, *(other for other in self.waiting if other < x)])
        right = min([self.high, *(other for other in self.waiting if other > x)])
        below, above = self._belief(left, x), self._belief(x, right)
        return (below + above) * self._log(right - left) - below * self._log(x - left) - above * self._log(right - x)

    def _log(self, width: float) -> float:
        return math.log(max(width, self.wanted, 1e-300))

    def _belief(self, left: float, right: float) -> float:
        """Probability that the crossing lies between `left` and `right`, both inside the gap."""
        even = (right - left) / (self.high - self.start)
        if self.near is None:
            return even
        inside = self._near(self.high) - self._near(self.start)
        if inside < 1e-6:  # the others lie elsewhere: they say nothing of this gap
            return even
        return EVEN * even + (1 - EVEN) * (self._near(right) - self._near(left)) / inside

    def _near(self, x: float) -> float:
        """The logistic distribution about what the other seeds say."""
        assert self.near is not None
        centre, scale = self.near
        return 1 / (1 + math.exp(-max(min((x - centre) / scale, 500.0), -500.0)))


def gap_of(row: Mapping[float, float], level: float) -> Gap:
    """The gap in which a seed's monotone curve (its points, x to value, ascending in x) crosses `level`."""
    crossing = Monotone.of(np.array(list(row)), np.array(list(row.values()))).crossing(level)
    return Gap(crossing.low, crossing.high, crossing.middle)


def with_neighbours(gaps: Mapping[int, Gap], least_scale: float) -> dict[int, Gap]:
    """The seeds' gaps, each with what the seeds in narrower gaps say of its crossing."""
    found = {}
    for seed, gap in gaps.items():
        crossings = [other.crossing for other in gaps.values() if other.width < gap.width * 0.75]
        scale = max(float(np.std(crossings)), least_scale) if crossings else 0.0
        found[seed] = replace(gap, near=(float(np.mean(crossings)), scale) if crossings else None)
    return found


def short_values(gap: Gap, axis: Axis) -> Iterator[list[float]]:
    """Values of the control parameter inside a gap: all that have few decimals, then those with one more, and so on."""
    low, high = sorted(float(value) for value in axis.value([gap.start, gap.high]))
    first = -math.floor(math.log10(high - low))
    for decimals in range(first, MAX_DECIMALS + 1):
        unit = 10.0**-decimals
        numbers = range(math.floor(low / unit), math.ceil(high / unit) + 1)
        values = [round(number * unit, max(decimals, 0)) for number in numbers]
        yield [value for value in values if low < value < high]
        if len(values) > 100:
            return


def evenly(gap: Gap, axis: Axis, count: int = 31) -> Iterable[float]:
    """So many values inside a gap, evenly spaced in x."""
    x = gap.start + (gap.high - gap.start) * np.arange(1, count + 1) / (count + 1)
    return [float(value) for value in axis.value(x)]
