"""Shapes fitted to a seed's curve beside the interpolated critical value, and how well each explains it.

Least squares in the axis's coordinate x = log u (u = 1 − ρ for ρ, 1/β for β) over the window from the reference to the
collapsed end, a physical end (u = 0) included as what every shape reaches:

    broken    b + A (log u − log u_c)₊
    onset     b + A log(1 + (u − u_c)₊ / u_0)
    logistic  b + A / (1 + exp(−(log u − log u_c) / w))
    flat      b

with b ≥ 0, A ≥ 0 and u_c inside the window, each as a function of the shape's own parameters alone (b and A follow in
closed form) from the best of a grid on. A fit does not hang on the points far from collapse as the window does: see
`nearer`. Weights are Akaike's, w ∝ exp(−AIC/2), AIC = n log(RSS/n) + 2 k with the
noise counted among the k parameters (Burnham & Anderson 2002), per seed and then averaged over seeds: residuals over ρ
within a seed are not independent, and adding seeds up would overstate the evidence further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from sweeper.parameters.control import RHO, Array, Axis

MIN_POINTS = 6  # five free numbers are the most that a shape has
SCALES = (0.02, 3.0)  # w of the logistic, in log u
TIE = float(np.exp(-1))  # a family of at least this share of the heaviest weight, ΔAIC < 2, is as good
FAR = 1 / 3  # of the window's points, those that are left out to see whether a fit is steady
WIDTHS = {  # what `Fit.width` is, in words
    "broken": "0: a kink",
    "onset": "in log u, from where it leaves its floor to where it has risen by A log 2: log(1 + u_0/u_c)",
    "logistic": "in log u, from 10 % to 90 % of its rise: 4.39 w",
}

Shape = Callable[[Array, Array], Array]  # x (points,), parameters (…, own) to (…, points)


def _broken(x: Array, theta: Array) -> Array:
    return np.asarray(np.maximum(x - theta[..., :1], 0.0))


def _onset(x: Array, theta: Array) -> Array:
    return np.asarray(np.log1p(np.maximum(np.exp(x) - np.exp(theta[..., :1]), 0.0) / np.exp(theta[..., 1:])))


def _logistic(x: Array, theta: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(np.clip(-(x - theta[..., :1]) / np.exp(theta[..., 1:]), -700, 700))))


@dataclass(frozen=True)
class Fit:
    """A fitted shape. `critical` is its own critical value (at u_c; None for flat), `scale` u_0 or w where it has one,
    `width` how sharp it is (see WIDTHS; None for flat); `floor` and `height` are b and A; `rss` in the order
    parameter's unit squared; `weight` among the seed's shapes."""

    family: str
    floor: float
    height: float
    critical: float | None
    scale: float | None
    width: float | None
    rss: float
    aic: float
    weight: float


def fit_shapes(control: ArrayLike, values: ArrayLike, reference: float, axis: Axis = RHO) -> dict[str, Fit]:
    """Fit every family to one seed's curve; {} if the window holds fewer than 6 points with a value.

    control: (points,), distinct; values: (points,), NaN where there is none; reference: where the window begins.
    """
    x, y = axis.coordinate(control), np.asarray(values, dtype=np.float64)
    here = np.isfinite(y) & (x <= axis.coordinate(reference))
    x, y = x[here], y[here]
    inner = x[np.isfinite(x)]
    if len(x) < MIN_POINTS or np.ptp(inner) == 0:
        return {}
    place = (float(inner.min()), float(inner.max()))
    searched: dict[str, tuple[Shape, list[tuple[float, float]]]] = {
        "broken": (_broken, [place]),
        "onset": (_onset, [place, (place[0] - 3, place[1] + 3)]),
        "logistic": (_logistic, [place, (float(np.log(SCALES[0])), float(np.log(SCALES[1])))]),
    }
    # Exact data leave no residual: a floor under it, far below any noise, keeps the logarithm finite.
    least = len(y) * (1e-9 * max(float(np.ptp(y)), 1e-100)) ** 2
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
            width=_width(name, theta),
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


def tied(weights: Mapping[str, float]) -> list[str]:
    """The families that explain a curve as well as the heaviest does (ΔAIC < 2), heaviest first; [] if it is alone."""
    order = sorted(weights, key=lambda name: -weights[name])
    good = [name for name in order if weights[name] >= TIE * weights[order[0]]]
    return good if len(good) > 1 else []


def nearer(control: ArrayLike, reference: float, axis: Axis = RHO) -> float:
    """A reference that leaves the third of the window's points farthest from collapse out: a fit of the remaining curve
    should give the same place."""
    values = np.asarray(control, dtype=np.float64)
    x = axis.coordinate(values)
    window = values[np.isfinite(x) & (x <= axis.coordinate(reference))]
    ordered = window[np.argsort(axis.coordinate(window))]
    return float(ordered[max(len(ordered) - 1 - int(np.ceil(FAR * len(ordered))), 0)]) if len(ordered) else reference


def _width(name: str, theta: Array) -> float | None:
    if name == "onset":
        return float(np.log1p(np.exp(theta[1] - theta[0])))
    return float(2 * np.log(9) * np.exp(theta[1])) if name == "logistic" else 0.0 if name == "broken" else None


def _search(shape: Shape, bounds: list[tuple[float, float]], x: Array, y: Array) -> tuple[Array, float, float, float]:
    """Least squares over the shape's own parameters: a grid, then a simplex; b and A follow in closed form."""

    moments = len(y), float(y.mean()), float(y @ y)

    def rss(theta: Array) -> float:
        return _least_squares_of_one(shape(x, theta[None]), y, *moments)

    axes = [np.linspace(low, high, 60 if len(bounds) == 1 else 25) for low, high in bounds]
    starts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(bounds))
    best = starts[int(np.argmin(_least_squares(shape(x, starts), y)))]
    step = [each[1] - each[0] if at < each[-1] else each[0] - each[1] for each, at in zip(axes, best, strict=True)]
    options = {"xatol": 1e-5, "fatol": np.inf, "initial_simplex": np.vstack([best, best + np.diag(step)])}
    polished = minimize(rss, best, method="Nelder-Mead", bounds=bounds, options=options).x
    theta = min((best, np.asarray(polished)), key=rss)
    return theta, *_floor_and_height(shape(x, theta), y)


def _least_squares(g: Array, y: Array) -> Array:
    """min Σ (y − b − A g)² over b ≥ 0 and A ≥ 0; g: (shapes, points), y: (points,) to (shapes,)."""
    count, mean, square = len(y), float(y.mean()), float(y @ y)
    middle, gy, gg = g.mean(axis=1), g @ y, np.einsum("ij,ij->i", g, g)
    spread, common = gg - count * middle**2, gy - count * middle * mean
    flat = square - count * max(mean, 0.0) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        a = common / spread
        free = np.where((a >= 0) & (mean >= a * middle), square - count * mean**2 - common * a, np.inf)
        through = np.where(gy > 0, square - gy**2 / gg, square)
    # Where it is allowed the free optimum is the least of all; else the best of the two edges is.
    return np.asarray(np.maximum(np.where(np.isfinite(free), free, np.minimum(through, flat)), 0.0))


def _least_squares_of_one(g: Array, y: Array, count: int, mean: float, square: float) -> float:
    """`_least_squares` of one shape, g: (1, points), to the last bit: a simplex asks for it thousands of times.

    count, mean, square: of y; square is the sum of its squares.
    """
    middle, gy, gg = float(g.mean(axis=1)[0]), float((g @ y)[0]), float(np.einsum("ij,ij->i", g, g)[0])
    spread, common = gg - count * (middle * middle), gy - count * middle * mean
    if spread != 0:
        a = common / spread
        if a >= 0 and mean >= a * middle:
            free = square - count * mean**2 - common * a
            if math.isfinite(free):
                return max(free, 0.0)
    through = square
    if gy > 0:  # a division by zero is NaN or infinite, as it is among arrays
        through -= gy * gy / gg if gg != 0 else math.inf if gy * gy > 0 else math.nan
    flat = square - count * max(mean, 0.0) ** 2
    return math.nan if math.isnan(through) else max(min(through, flat), 0.0)


def _floor_and_height(g: Array, y: Array) -> tuple[float, float, float]:
    """The b and A of `_least_squares` for one shape, and the sum of squares itself."""
    centred = g - g.mean()
    spread, squares = float(centred @ centred), float(g @ g)
    a = float(centred @ y) / spread if spread > 0 else 0.0
    choices = [
        (float(y.mean() - a * g.mean()), a),
        (0.0, max(float(g @ y) / squares, 0.0) if squares > 0 else 0.0),
        (max(float(y.mean()), 0.0), 0.0),
    ]
    sums = [(float(((y - b - a * g) ** 2).sum()), b, a) for b, a in choices if b >= 0 and a >= 0]
    least, b, a = min(sums)
    return b, a, least
