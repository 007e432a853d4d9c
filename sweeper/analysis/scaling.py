"""Finite-size scaling: do the curves of a family fall on one, once axes are stretched by powers of the size?

For a family of curves m_L(x) that differ in size alone, L layers or L units per layer, with x the coordinate of the
control parameter (log(1 − ρ)):

    m_L(x) L^(β/ν)   against   (x − x_c) L^(1/ν)

with x_c and the exponents 1/ν and β/ν chosen for the best collapse. Its quality is that of Houdayer & Hartmann (Phys.
Rev. B 70, 014418, 2004): each scaled point is compared with the straight line through the neighbours on either side of
every other size's curve, in units of their standard errors,

    S = mean of (y − Y)² / (dy² + dY²)

about 1 where the curves are one within their errors, larger where they are not. Choices that leave fewer than half of
the points something to be compared with are not considered. The 95 % ranges are from leaving out one seed at a time
and every fourth point in turn (two jackknives, t(S − 1) and t(3), added in squares): the seeds alone say nothing of
what the places of the points do to a quality that straight lines between them decide.

This is a plot of scaling, and no claim of a universality class: sizes of networks span no decades, and a small family
collapses easily.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from sweeper.analysis.critical import MIN_SEEDS
from sweeper.analysis.intervals import CONFIDENCE, jackknife_error, quantile
from sweeper.analysis.trends import Family
from sweeper.parameters.control import Array

MIN_SIZES = 4
MIN_POINTS = 4  # of a curve, from the reference to the last point before the collapsed end
POINT_GROUPS = 4  # of points that are left out in turn
SHARE = 0.5  # of the points, that have something to be compared with
BOUNDS = ((0.0, 3.0), (-2.0, 2.0))  # of 1/ν and β/ν
NO_OVERLAP = 1e12  # in place of a quality

Theta = tuple[float, float, float]  # x_c, 1/ν, β/ν
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Sized:
    """The curve of one size: `x` ascending, (points,); `y`, (seeds, points); `dy`, (points,), the standard error of the
    mean over seeds, from variances averaged over neighbours, as one of three seeds alone is too uncertain to weigh by.
    """

    size: float
    x: Array
    y: Array
    dy: Array


@dataclass(frozen=True, eq=False)
class Scaling:
    """The best collapse of curves of different sizes.

    x_c, `stretch` = 1/ν and `lift` = β/ν, each with its 95 % range, and the `quality` S over the
    `points` that could be compared. `edge`: one of the three lies at the end of its range (the grid's, or `BOUNDS`),
    so that there is no best within it."""

    sized: tuple[Sized, ...]
    x_c: float
    stretch: float
    lift: float
    x_c_interval: Interval
    stretch_interval: Interval
    lift_interval: Interval
    quality: float
    points: int
    edge: bool

    def scaled(self) -> list[tuple[Array, Array, Array]]:
        """Place, mean and error of the points of each size in the collapsed plot."""
        return _scaled(self.sized, [one.y.mean(axis=0) for one in self.sized], (self.x_c, self.stretch, self.lift))


def scaling_sentence(family: Family, scaling: Scaling) -> str:
    """Family, quality and exponents, in one line."""
    axis = family.curves[0].axis
    said = f"{family.label}: scaling with {family.along}: quality S = {scaling.quality:.3g} (1: one curve within error)"
    if scaling.edge:
        return f"{said}, the best at the edge of what was searched: no scaling found"
    low, high = sorted(float(axis.value(end)) for end in scaling.x_c_interval)
    numbers = [f"{axis.symbol}_c = {float(axis.value(scaling.x_c)):.4g} [{low:.4g}, {high:.4g}]"]
    for name, value, ends in (
        ("1/ν", scaling.stretch, scaling.stretch_interval),
        ("β/ν", scaling.lift, scaling.lift_interval),
    ):
        numbers.append(f"{name} = {value:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]")
    return f"{said}, {', '.join(numbers)} (95 % ranges, by leaving out seeds and points)"


def scaling_table(found: Sequence[tuple[Family, Scaling]]) -> pd.DataFrame:
    """One row per family: the fields of `Scaling`, its place as a value of the control parameter."""
    rows = []
    for family, scaling in found:
        axis = family.curves[0].axis
        low, high = sorted(float(axis.value(end)) for end in scaling.x_c_interval)
        rows.append(
            {
                "along": family.along,
                "label": family.label,
                "sizes": [int(one.size) for one in scaling.sized],
                "critical": float(axis.value(scaling.x_c)),
                "critical_low": low,
                "critical_high": high,
                "stretch": scaling.stretch,
                "stretch_low": scaling.stretch_interval[0],
                "stretch_high": scaling.stretch_interval[1],
                "lift": scaling.lift,
                "lift_low": scaling.lift_interval[0],
                "lift_high": scaling.lift_interval[1],
                "quality": scaling.quality,
                "points": scaling.points,
                "seeds": len(scaling.sized[0].y),
                "edge": scaling.edge,
            }
        )
    return pd.DataFrame(rows)


def family_scaling(family: Family) -> Scaling | None:
    """The scaling of a family; None with fewer than 3 seeds in common, different numbers of steps, or fewer than 4
    sizes left once those without 4 points for all these seeds are left out."""
    seeds = sorted(set.intersection(*(set(curve.seeds) for curve in family.curves)))
    sized = []
    for size, curve in zip(family.sizes, family.curves, strict=True):
        x = curve.axis.coordinate(curve.control)
        rows = curve.values[[curve.seeds.index(seed) for seed in seeds]]
        order = np.argsort(x)
        here = order[(np.isfinite(x) & (x <= curve.axis.coordinate(curve.reference)) & np.isfinite(rows).all(0))[order]]
        if len(here) >= MIN_POINTS:
            sized.append(with_errors(size, x[here], rows[:, here]))
    alike = len(seeds) >= MIN_SEEDS and len({curve.steps[1] for curve in family.curves}) == 1
    return collapse(sized) if alike and len(sized) >= MIN_SIZES else None


def with_errors(size: float, x: ArrayLike, y: ArrayLike) -> Sized:
    """The curve of one size from its seeds' values: x, (points,), ascending; y, (seeds, points)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    variance = y.var(axis=0, ddof=1)
    weights = np.ones(3)
    near = np.convolve(variance, weights, "same") / np.convolve(np.ones_like(variance), weights, "same")
    least = 1e-6 * max(float(np.abs(y).max()), 1e-300)  # where seeds agree exactly
    return Sized(float(size), x, y, np.maximum(np.sqrt(near / len(y)), least))


def collapse(sized: Sequence[Sized]) -> Scaling:
    """The best collapse of curves of different sizes, and its intervals.

    Raises ValueError on fewer than two sizes or on curves of different seeds.
    """
    if len(sized) < 2 or len({len(one.y) for one in sized}) > 1:
        raise ValueError("curves should be of two sizes or more, and of the same seeds")
    means = [one.y.mean(axis=0) for one in sized]
    low, high = min(one.x[0] for one in sized), max(one.x[-1] for one in sized)
    bounds = ((float(low), float(high)), *BOUNDS)
    x_c, *exponents = (np.linspace(*ends, 9)[1:-1] for ends in bounds)
    pairs = np.stack(np.meshgrid(*exponents), axis=-1).reshape(-1, 2)
    polished = []
    for place in x_c:  # S has several minima, and where x_c is off the exponents make up for it
        starts = np.column_stack([np.full(len(pairs), place), pairs])
        start = min(starts, key=lambda theta: quality(sized, means, theta)[0])
        polished.append(_polish(sized, means, start, bounds))
    theta = min(polished, key=lambda theta: quality(sized, means, theta)[0])
    without_seed = [
        _polish(sized, [np.delete(one.y, seed, axis=0).mean(axis=0) for one in sized], theta, bounds)
        for seed in range(len(sized[0].y))
    ]
    without_points = []
    for group in range(POINT_GROUPS):
        left = [_without_points(one, (group + number) % POINT_GROUPS) for number, one in enumerate(sized)]
        without_points.append(_polish(left, [one.y.mean(axis=0) for one in left], theta, bounds))
    half = np.hypot(_jackknife_half_width(without_seed), _jackknife_half_width(without_points))
    places, stretches, lifts = ((float(at - by), float(at + by)) for at, by in zip(theta, half, strict=True))
    best, points = quality(sized, means, theta)
    near = 1e-3 * np.ptp(bounds, axis=1)
    return Scaling(
        sized=tuple(sized),
        x_c=float(theta[0]),
        stretch=float(theta[1]),
        lift=float(theta[2]),
        x_c_interval=places,
        stretch_interval=stretches,
        lift_interval=lifts,
        quality=best,
        points=points,
        edge=bool((np.abs(np.transpose(bounds) - theta) < near).any()),
    )


def _without_points(one: Sized, group: int) -> Sized:
    """Without the points group, group + `POINT_GROUPS`, …"""
    kept = np.arange(len(one.x)) % POINT_GROUPS != group
    return Sized(one.size, one.x[kept], one.y[:, kept], one.dy[kept])


def _jackknife_half_width(without: Sequence[Array]) -> Array:
    """Of the 95 % range of each of the three numbers, from their values without each part of the data in turn."""
    return np.asarray(quantile(0.5 + CONFIDENCE / 2, len(without) - 1) * jackknife_error(without))


def quality(sized: Sequence[Sized], means: Sequence[Array], theta: Theta | Array) -> tuple[float, int]:
    """S of Houdayer & Hartmann, and how many points it averages."""
    curves = _scaled(sized, means, theta)
    counts = np.array([len(x) for x, _, _ in curves])
    x, y, dy = np.full((3, len(curves), counts.max()), np.inf)  # (sizes, points), short curves filled up with ∞
    for i, one in enumerate(curves):
        x[i, : counts[i]], y[i, : counts[i]], dy[i, : counts[i]] = one
    # Of every point (i, k), the neighbours on curve j: its points `above − 1` and `above`.
    above = (x < x[:, :, None, None]).sum(axis=-1)  # (sizes, points, sizes)
    other = np.arange(len(curves))
    inside = (above > 0) & (above < counts) & np.isfinite(x)[:, :, None] & (other[:, None, None] != other)
    at = np.stack([np.maximum(above - 1, 0), np.minimum(above, counts - 1)], axis=-1)
    w = inside[..., None] / dy[other[:, None], at] ** 2
    # The weighted line through all neighbours of a point, at that point: Σw, Σwx, Σwx², Σwy, Σwxy with x from there.
    with np.errstate(invalid="ignore"):
        beside = np.where(inside[..., None], x[other[:, None], at] - x[:, :, None, None], 0.0)
    beyond = y[other[:, None], at]
    sums = [part.sum(axis=(-1, -2)) for part in (w, w * beside, w * beside**2, w * beyond, w * beside * beyond)]
    here = sums[0] > 0
    w0, wx, wxx, wy, wxy = (part[here] for part in sums)
    determinant = w0 * wxx - wx**2
    master, variance = (wxx * wy - wx * wxy) / determinant, wxx / determinant
    count = int(here.sum())
    if count < SHARE * counts.sum():
        return NO_OVERLAP, count
    return float(((y[here] - master) ** 2 / (dy[here] ** 2 + variance)).mean()), count


def _scaled(sized: Sequence[Sized], means: Sequence[Array], theta: Theta | Array) -> list[tuple[Array, Array, Array]]:
    """Place, mean and error of the points of each size, the sizes in units of their geometric mean."""
    x_c, stretch, lift = theta
    sizes = np.array([one.size for one in sized])
    sizes = sizes / np.exp(np.log(sizes).mean())
    return [
        ((one.x - x_c) * size**stretch, mean * size**lift, one.dy * size**lift)
        for one, mean, size in zip(sized, means, sizes, strict=True)
    ]


def _polish(sized: Sequence[Sized], means: Sequence[Array], start: Array, bounds: Sequence[Interval]) -> Array:
    def objective(theta: Array) -> float:
        return quality(sized, means, theta)[0]

    spans = np.array([high - low for low, high in bounds])
    towards = np.where(start < np.mean(bounds, axis=1), 1, -1)  # into the bounds
    simplex = np.vstack([start, start + np.diag(towards * spans / 10)])
    options = {"xatol": 1e-3, "fatol": 1e-3, "maxfev": 600, "initial_simplex": simplex}
    found = np.asarray(minimize(objective, start, method="Nelder-Mead", bounds=bounds, options=options).x)
    return min((np.asarray(start), found), key=objective)
