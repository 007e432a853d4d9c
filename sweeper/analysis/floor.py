"""The collapsed points of a curve, and whether the curve rises from them to its reference.

A curve's points ascend in x from collapse on; its seeds are rows, (seeds, points), with NaN where a cell gave no value.
The rules are those of `sweeper.analysis.critical`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sweeper.analysis.intervals import quantile
from sweeper.analysis.monotone import Monotone
from sweeper.parameters.control import Array, Axis

TOLERANCE = 0.005  # of the drop: how far above the collapsed end a collapsed point may lie without noise
MAX_TAIL = 0.025  # of the drop: how far it may lie at most
FLAT_LEVEL = 0.99  # one-sided t test that the value at the reference lies above the floor
MIN_DROP_IN_NOISE = 5.0  # or each seed's drop exceeds its curve's noise by this factor
MAX_FALL = 0.10  # of the mean curve's range: how far it may fall on its way up


def collapsed(curves: Array, tolerance: float) -> int:
    """How many points from the end on lie above it by `tolerance` at most; curves: (seeds, points), x ascending. A
    point without a value counts with those before it."""
    above = curves - curves[:, :1]
    known = np.flatnonzero(np.isfinite(above).any(axis=0))[1:]
    return next((int(point) for point in known if np.nanmean(above[:, point]) > tolerance), curves.shape[1])


def tolerance(end: Array, height: Array) -> float:
    """How far above the end a collapsed point may lie: the rule *Floor*. end, height: (seeds,)."""
    drop = height.mean() - end.mean()
    return float(min(max(noise(end), TOLERANCE * drop), MAX_TAIL * drop))


def noise(end: Array) -> float:
    """Two standard errors of the difference of two points that scatter as the collapsed end does; end: (seeds,)."""
    return float(2 * end.std(ddof=1) * np.sqrt(2 / len(end)))


def flat(drop: Array, curves: Array, monotone: Sequence[Monotone]) -> bool:
    """Whether the reference is not above the floor: in some seed, or within both the scatter of the seeds' drops,
    (seeds,), and the noise of the curves, (seeds, points), about their monotone fits."""
    if drop.min() <= 0:
        return True
    error = drop.std(ddof=1) / math.sqrt(len(drop))
    rest = np.concatenate([row[np.isfinite(row)] - curve.fit for row, curve in zip(curves, monotone, strict=True)])
    noise = float(np.sqrt(np.mean(rest**2)))
    beyond_scatter = drop.mean() > quantile(FLAT_LEVEL, len(drop) - 1) * error
    return not (beyond_scatter or drop.min() > MIN_DROP_IN_NOISE * noise)


def falls(axis: Axis, x: Array, curves: Array) -> str:
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
