"""Shapes fitted to a seed's curve beside the interpolated critical value, and how well each explains it.

Least squares in the axis's coordinate x = log u (u = 1 − ρ for ρ, 1/β for β) over the window from the reference to the
collapsed end, a physical end (u = 0) included as what every shape reaches:

    broken    b + A (log u − log u_c)₊
    onset     b + A log(1 + (u − u_c)₊ / u_0)
    logistic  b + A / (1 + exp(−(log u − log u_c) / w))
    flat      b

with b ≥ 0, A ≥ 0 and u_c inside the window. Weights are Akaike's, w ∝ exp(−AIC/2), AIC = n log(RSS/n) + 2 k with the
noise counted among the k parameters (Burnham & Anderson 2002), per seed and then averaged over seeds: residuals over ρ
within a seed are not independent, and adding seeds up would overstate the evidence further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from sweeper.analysis.axis import RHO, Array, Axis

FEWEST_POINTS = 6  # five free numbers are the most that a shape has
WIDTHS = (0.02, 3.0)  # of the logistic, in log u

Shape = Callable[[Array, Array], Array]


def _broken(x: Array, theta: Array) -> Array:
    return np.asarray(np.maximum(x - theta[0], 0.0))


def _onset(x: Array, theta: Array) -> Array:
    return np.asarray(np.log1p(np.maximum(np.exp(x) - np.exp(theta[0]), 0.0) / np.exp(theta[1])))


def _logistic(x: Array, theta: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(np.clip(-(x - theta[0]) / np.exp(theta[1]), -700, 700))))


@dataclass(frozen=True)
class Fit:
    """A fitted shape. `critical` is its own critical value (at u_c; None for flat), `scale` u_0 or w where it has one;
    `floor` and `height` are b and A; `rss` in the order parameter's unit squared; `weight` among the seed's shapes."""

    family: str
    floor: float
    height: float
    critical: float | None
    scale: float | None
    rss: float
    aic: float
    weight: float


def fit_families(control: ArrayLike, values: ArrayLike, reference: float, axis: Axis = RHO) -> dict[str, Fit]:
    """Fit every family to one seed's curve; {} if the window holds fewer than 6 points with a value.

    control: (points,), distinct; values: (points,), NaN where there is none; reference: where the window begins.
    """
    x, y = axis.coordinate(control), np.asarray(values, dtype=np.float64)
    here = np.isfinite(y) & (x <= axis.coordinate(reference))
    x, y = x[here], y[here]
    inner = x[np.isfinite(x)]
    if len(x) < FEWEST_POINTS or np.ptp(inner) == 0:
        return {}
    place = (float(inner.min()), float(inner.max()))
    searched: dict[str, tuple[Shape, list[tuple[float, float]]]] = {
        "broken": (_broken, [place]),
        "onset": (_onset, [place, (place[0] - 3, place[1] + 3)]),
        "logistic": (_logistic, [place, (float(np.log(WIDTHS[0])), float(np.log(WIDTHS[1])))]),
    }
    # Exact data leave no residual: a floor under it, far below any noise, keeps the logarithm finite.
    least = len(y) * (1e-9 * max(float(np.ptp(y)), 1e-300)) ** 2
    found = {"flat": (np.zeros(0), max(float(y.mean()), 0.0), 0.0, float(((y - max(y.mean(), 0.0)) ** 2).sum()))}
    for name, (shape, bounds) in searched.items():
        found[name] = _search(shape, bounds, x, y)
    aic = {
        name: len(y) * np.log(max(rss, least) / len(y)) + 2 * (len(theta) + (2 if name == "flat" else 3))
        for name, (theta, _, _, rss) in found.items()
    }
    relative = {name: float(np.exp((min(aic.values()) - value) / 2)) for name, value in aic.items()}
    total = sum(relative.values())
    return {
        name: Fit(
            family=name,
            floor=floor,
            height=height,
            critical=float(axis.value(theta[0])) if len(theta) else None,
            scale=float(np.exp(theta[1])) if len(theta) > 1 else None,
            rss=rss,
            aic=float(aic[name]),
            weight=relative[name] / total,
        )
        for name, (theta, floor, height, rss) in found.items()
    }


def mean_weights(fits: Iterable[Mapping[str, Fit]]) -> dict[str, float]:
    """Akaike weights averaged over the seeds that could be fitted; {} if none could."""
    fitted = [fit for fit in fits if fit]
    return {name: float(np.mean([fit[name].weight for fit in fitted])) for name in (fitted[0] if fitted else ())}


def _search(shape: Shape, bounds: list[tuple[float, float]], x: Array, y: Array) -> tuple[Array, float, float, float]:
    """Least squares over the shape's own parameters: a grid, then a simplex; b and A follow in closed form."""

    def rss(theta: Array) -> float:
        return _floor_and_height(shape(x, theta), y)[2]

    axes = [np.linspace(low, high, 60 if len(bounds) == 1 else 25) for low, high in bounds]
    starts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(bounds))
    best = min(starts, key=rss)
    polished = minimize(rss, best, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-6, "fatol": 1e-12}).x
    theta = min((best, np.asarray(polished)), key=rss)
    return theta, *_floor_and_height(shape(x, theta), y)


def _floor_and_height(g: Array, y: Array) -> tuple[float, float, float]:
    """b ≥ 0 and A ≥ 0 that minimise Σ (y − b − A g)², and that sum."""

    def of(b: float, a: float) -> tuple[float, float, float]:
        return b, a, float(((y - b - a * g) ** 2).sum())

    centred = g - g.mean()
    spread = float(centred @ centred)
    a = float(centred @ y) / spread if spread > 0 else 0.0
    b = float(y.mean() - a * g.mean())
    if a >= 0 and b >= 0:
        return of(b, a)
    squares = float(g @ g)
    edges = [of(0.0, max(float(g @ y) / squares, 0.0) if squares > 0 else 0.0), of(max(float(y.mean()), 0.0), 0.0)]
    return min(edges, key=lambda edge: edge[2])
