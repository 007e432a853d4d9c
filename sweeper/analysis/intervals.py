"""The interval of a mean over seeds where each seed's number is estimated, and known to lie between two ends.

A number is a crossing in x, a difference of two crossings, or a slope over several. Its ends are the grid points
between which it must lie, or nearer ones where something is assumed of the curve between them
(`sweeper.analysis.monotone`). The 95 % interval of the mean joins them with t(S − 1) standard errors of the estimates
over the S seeds. It is the narrower of

    from the mean of the lower ends to that of the upper ends, t standard errors wider either way;
    the hull of all seeds' ends and of the t interval of their estimates.

The first is the narrower where seeds scatter more than the grid leaves open, the second where they fall into the same
or into neighbouring steps of a coarse grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from sweeper.parameters.control import Array

CONFIDENCE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Known:
    """One number per seed: `estimates`, each between `lows` and `highs`; (seeds,) all."""

    estimates: Array
    lows: Array
    highs: Array

    def __sub__(self, other: Known) -> Known:
        """Differences seed by seed."""
        return Known(self.estimates - other.estimates, self.lows - other.highs, self.highs - other.lows)

    def hull(self) -> Interval:
        """From the lowest to the highest end."""
        return float(self.lows.min()), float(self.highs.max())

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Of the mean over seeds; see above."""
        mean, half = float(self.estimates.mean()), float(t_half_width(self.estimates, confidence))
        by_seeds = float(self.lows.mean()) - half, float(self.highs.mean()) + half
        by_grid = hull_of(self.hull(), (mean - half, mean + half))
        return min(by_seeds, by_grid, key=lambda ends: ends[1] - ends[0])


def hull_of(*intervals: Interval) -> Interval:
    """The smallest interval that holds all of them."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def t_half_width(values: ArrayLike, confidence: float = CONFIDENCE) -> Array:
    """Half of the t interval of a mean over seeds: values, (seeds, …) with 2 or more, to (…,)."""
    rows = np.asarray(values, dtype=np.float64)
    error = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    return np.asarray(quantile(0.5 + confidence / 2, len(rows) - 1) * error)


def jackknife_error(without: ArrayLike) -> Array:
    """Standard error of an estimate from its values without each of n parts of the data in turn: (n, …) to (…)."""
    values = np.asarray(without, dtype=np.float64)
    count = len(values)
    return np.asarray(np.sqrt((count - 1) / count * np.square(values - values.mean(axis=0)).sum(axis=0)))


@lru_cache
def quantile(level: float, freedom: float) -> float:
    """Of Student's t."""
    return float(stdtrit(freedom, level))
