"""A seed's curve made monotone, and where it passes a level.

The curve is the isotonic least-squares fit of the seed's points (pool adjacent violators): it crosses every level once,
and equals the data wherever they are monotone. Between two grid points there are two ways: straight, and along the
monotone cubic (PCHIP, Fritsch & Butland 1984). A chord lies above a curve that bends upward as it leaves its floor,
which moves the place towards collapse; a cubic lies below a curve with a kink, which moves it away. The truth of
planted curves of both sorts lies between, so both places are given: their middle is the estimate, and their distance
says what is left open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from sweeper.analysis.axis import Array

HALVINGS = 40  # of a grid step


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

    def above(self, level: float) -> int:
        """The first point at or above `level`, which must lie above the fit's start and not above its end."""
        return int(np.argmax(self.fit >= level))

    @cached_property
    def _cubics(self) -> Array:
        """(4, intervals): coefficients of each interval's cubic in the distance from its lower end, highest first."""
        inner = np.isfinite(self.x)
        return np.asarray(PchipInterpolator(self.x[inner], self.fit[inner]).c)

    def places(self, level: float) -> tuple[float, float]:
        """Where the chord and the cubic pass `level`, in x. Next to x = −∞ nothing can be interpolated: there, twice
        the point itself."""
        above = self.above(level)
        step = float(self.x[above] - self.x[above - 1])
        if math.isinf(step):
            return float(self.x[above]), float(self.x[above])
        chord = step * float((level - self.fit[above - 1]) / (self.fit[above] - self.fit[above - 1]))
        a, b, c, d = (float(each) for each in self._cubics[:, above - 1 - int(np.isinf(self.x[0]))])
        low, high = 0.0, step
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if ((a * middle + b) * middle + c) * middle + d < level:
                low = middle
            else:
                high = middle
        return float(self.x[above - 1]) + chord, float(self.x[above - 1]) + high
