"""A seed's curve made monotone, and where it crosses a level: between which ends, whatever it does between its points.

The curve is the isotonic least-squares fit of the seed's points (pool adjacent violators): it crosses every level once,
and equals the data wherever they are monotone. It crosses a level in a *gap*, between the last point below the level
and the next. Where in the gap is known as well as the steps on either side tell. With s the slope across the gap, s₋
that of the step before it (on the collapsed side) and s₊ that of the step after it:

    s₋ ≤ s ≤ s₊    a curve that bends upward lies below the chord, and above both neighbours' lines drawn on into the
                   gap
    s₋ ≥ s ≥ s₊    a curve that bends downward lies above the chord, and below both these lines
    s > both       the rise that neither neighbour explains, (s − max(s₋, s₊)) times the width of the gap, may be a
                   jump anywhere in the gap, and the rest a line of slope max(s₋, s₊)
    s < both       likewise for the rise that is missing: a level stretch may lie anywhere in the gap, with lines of
                   slope min(s₋, s₊) around it

So a straight line and a kink at a grid point leave nothing open, and of a step function the whole gap stays open. The
four cases pass into each other continuously, so noise does not switch between narrow and wide. All of these are
straight lines, so each end is a quotient; nothing is left to a root finder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from sweeper.parameters.control import Array


@dataclass(frozen=True)
class Crossing:
    """Where a seed's curve crosses a level, in x.

    `low`, `high`: the gap, that is the grid points below and at or above the level; `low` is −∞ next to the physical
    end, where nothing is known of the crossing but that it lies beyond `high`. `first`, `last`: the ends between which
    a curve as above crosses the level. `share`: the slope within the gap over the sum of the slopes in it and in the
    step on either side of it, between 0 and 1; 1/3 for a straight line, 1 for a curve that is level on both sides.
    """

    low: float
    high: float
    first: float
    last: float
    share: float

    @property
    def middle(self) -> float:
        """The estimate: midway between `first` and `last`."""
        return (self.first + self.last) / 2


@dataclass(frozen=True, eq=False)
class Monotone:
    """`x`: (points,), ascending, the first may be −∞; `fit`: (points,), ascending."""

    x: Array
    fit: Array

    @classmethod
    def of(cls, x: Array, values: Array) -> Monotone:
        """Of one seed; x, values: (points,), NaN where there is no value."""
        here = np.isfinite(values)
        return cls(x[here], np.asarray(isotonic_regression(values[here]).x))

    def crossing(self, level: float) -> Crossing:
        """Where the curve crosses `level`, which must not lie above the fit's end. A level below its start is crossed
        beyond the curve's first point."""
        at = int(np.argmax(self.fit >= level))
        high = float(self.x[at])
        low = float(self.x[at - 1]) if at else -math.inf
        if math.isinf(low):
            return Crossing(low, high, high, high, 1.0)
        width, rise, wanted = high - low, self._rise(at), level - float(self.fit[at - 1])
        slope = rise / width
        # Beyond the ends of the curve nothing is known: it counts as level there, which leaves most open.
        before = self._rise(at - 1) / float(self.x[at - 1] - self.x[at - 2]) if at > 1 else 0.0
        after = self._rise(at + 1) / float(self.x[at + 1] - self.x[at]) if at + 1 < len(self.x) else 0.0
        lines = [_from_start(before, wanted, width), _from_end(after, rise - wanted, width)]
        chord = wanted / slope
        if before <= slope <= after:
            ends = chord, min(lines)
        elif before >= slope >= after:
            ends = max(lines), chord
        else:
            nearest = max(before, after) if slope > max(before, after) else min(before, after)
            ends = _from_start(nearest, wanted, width), _from_end(nearest, rise - wanted, width)
        return Crossing(low, high, low + min(ends), low + max(ends), slope / (before + slope + after))

    def _rise(self, at: int) -> float:
        """From the point before `at` to it."""
        return float(self.fit[at] - self.fit[at - 1])


def _from_start(slope: float, wanted: float, width: float) -> float:
    """Where a line of this slope from the gap's start has risen by `wanted`, at most `width`."""
    return width if slope * width <= wanted else wanted / slope


def _from_end(slope: float, left: float, width: float) -> float:
    """Where a line of this slope that ends at the gap's end has `left` yet to rise, at least 0."""
    return 0.0 if slope * width <= left else width - left / slope
