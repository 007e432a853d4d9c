"""Planted curves and stores whose critical ρ is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from models.cell import Cell

GRID = np.array([0.75, 0.8, 0.84, 0.87, 0.89, 0.905, 0.92, 0.93, 0.94, 0.95, 0.96, 0.98, 1.0])
REFERENCE = 0.8

Shape = Callable[[np.ndarray, float], np.ndarray]  # u and u_c to the order parameter, nats


def broken(u, u_c):
    """b + A (log u − log u_c)₊: floor 0.2, about 12 nats at u = 0.2."""
    with np.errstate(divide="ignore"):
        return 0.2 + 9 * np.maximum(np.log(u) - np.log(u_c), 0)


def onset(u, u_c):
    """b + A log(1 + (u − u_c)₊/u_0): floor 0.2, about 17 nats at u = 0.2."""
    return 0.2 + 8 * np.log1p(np.maximum(u - u_c, 0) / 0.02)


def logistic(u, u_c):
    """b + A / (1 + exp(−(log u − log u_c)/w)): floor 0.2, upper plateau 20.2 nats."""
    with np.errstate(divide="ignore"):
        return 0.2 + 20 / (1 + np.exp(-(np.log(u) - np.log(u_c)) / 0.2))


def logistic_of(width: float) -> Shape:
    """The same, of any width w in log u."""

    def shape(u, u_c):
        with np.errstate(divide="ignore"):
            return 0.2 + 20 / (1 + np.exp(np.clip(-(np.log(u) - np.log(u_c)) / width, -700, 700)))

    return shape


def gompertz(width: float) -> Shape:
    """b + A exp(−exp(−(log u − log u_c)/w)): leaves its floor abruptly and nears its plateau slowly."""

    def shape(u, u_c):
        with np.errstate(divide="ignore"):
            return 0.2 + 20 * np.exp(-np.exp(np.clip(-(np.log(u) - np.log(u_c)) / width, -700, 700)))

    return shape


def cloglog(width: float) -> Shape:
    """b + A (1 − exp(−exp((log u − log u_c)/w))): leaves its floor slowly and reaches its plateau abruptly."""

    def shape(u, u_c):
        with np.errstate(divide="ignore"):
            return 0.2 + 20 * (1 - np.exp(-np.exp(np.clip((np.log(u) - np.log(u_c)) / width, -700, 700))))

    return shape


def jump(height: float, total: float = 20.0) -> Shape:
    """A jump of `height` nats at u_c, and a straight line in log u from there to `total` above the floor at u = 0.2."""

    def shape(u, u_c):
        u = np.asarray(u, dtype=float)
        risen = np.log(np.maximum(u, u_c) / u_c) / np.log(0.2 / u_c)
        return 0.2 + np.where(u > u_c, height + (total - height) * risen, 0.0)

    return shape


def hump(height: float) -> Shape:
    """The broken line with a hump of `height` nats 0.15 in log u above its kink, of standard deviation 0.08."""

    def shape(u, u_c):
        x = np.log(np.maximum(np.asarray(u, dtype=float), 1e-300)) - np.log(u_c)
        return broken(u, u_c) + height * np.exp(-0.5 * ((x - 0.15) / 0.08) ** 2)

    return shape


def flat(u, u_c):
    """0.5 nats whatever ρ."""
    return np.full_like(u, 0.5)


def planted(shape: Shape, u_c: float, fraction: float) -> float:
    """The ρ at which the shape is first `fraction` of the way from its floor to its value at the reference, seen from
    collapse."""
    floor, top = (float(shape(np.array([u]), u_c)[0]) for u in (0.0, 1 - REFERENCE))
    level = floor + fraction * (top - floor)
    x = np.linspace(np.log(1e-5), np.log(1 - REFERENCE), 4001)
    above = int(np.argmax(shape(np.exp(x), u_c) >= level))
    # Bisection: a shape may jump over the level, or pass it more than once.
    low, high = float(x[above - 1]), float(x[above])
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if float(shape(np.exp([middle]), u_c)[0]) >= level else (middle, high)
    return 1 - float(np.exp(high))


def sample(shape: Shape, u_c: float, seeds: int, noise: float, spread: float, rng: np.random.Generator, rho=GRID):
    """(seeds, points): each seed with its own log u_c (standard deviation `spread`) and noise in units of the drop."""
    u = np.round(1 - rho, 12)
    drop = np.ptp(shape(np.array([0.0, 1 - REFERENCE]), u_c))
    rows = np.stack([shape(u, u_c * np.exp(spread * rng.normal())) for _ in range(seeds)])
    return rows + noise * drop * rng.normal(size=rows.shape)


def store(
    data: Sequence[str] = ("digits",),
    latents: Sequence[str] = ("10-10-10",),
    rho: np.ndarray = GRID,
    seeds: int = 3,
    u_c: float = 0.05,
    shape: Shape = broken,
    steps: int = 6000,
    smoothing_samples: Sequence[int] = (5,),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of cells and of history with the columns that the analysis reads, from a planted curve for each grid point.

    Critical values differ by data set and architecture, and move to larger u with steps as real ones do.
    """
    rng = np.random.default_rng(0)
    cells: dict[str, dict] = {}
    history: list[dict] = []
    for i, name in enumerate(data):
        for j, sizes in enumerate(latents):
            for samples in smoothing_samples:
                for seed in range(seeds):
                    place = u_c * np.exp(0.15 * i + 0.1 * j + 0.03 * rng.normal())
                    for value in rho:
                        cell = Cell(
                            data=name, latents=sizes, seed=seed, objective="ou", rho=float(value), hidden="64-64",
                            smoothing_samples=samples,
                        ).canonical()  # fmt: skip
                        identity = cell.to_json()
                        if identity not in cells:
                            kl = float(shape(np.array([round(1 - value, 12)]), place)[0] + 0.03 * rng.normal())
                            cells[identity] = _row(cell, kl, steps)
                            history += _history(cells[identity], cell, place, shape, steps, rng)
    return pd.DataFrame(list(cells.values())), pd.DataFrame(history)


def rows_of(cells: Iterable[Cell], kl: Callable[[Cell], float], steps: int = 6000) -> pd.DataFrame:
    """A row of each cell's canonical form, each once, with the order parameter that `kl` gives it."""
    distinct = dict.fromkeys(cell.canonical() for cell in cells)
    return pd.DataFrame([_row(cell, kl(cell), steps) for cell in distinct])


def _row(cell: Cell, kl: float, steps: int) -> dict:
    kl = max(kl, 0.01)
    share = min(1.0, kl / 10)
    active = [max(0, round(size * share ** (0.3 * layer))) for layer, size in enumerate(cell.latent_sizes)]
    return {
        **asdict(cell), "study": "planted", "cell": cell.to_json(),
        "cell_id": hashlib.sha256(cell.to_json().encode()).hexdigest()[:24],
        "data_digest": "0" * 8, "architecture": cell.architecture, "depth": cell.depth,
        "latents": list(cell.latent_sizes), "state": "done", "step": steps,
        "steps_asked": steps, "split": "test", "elbo": -25.0 - 0.2 * kl, "kl_top": kl, "active_units": active,
        "relative_activity": [a / size for a, size in zip(active, cell.latent_sizes, strict=True)],
    }  # fmt: skip


def _history(row: dict, cell: Cell, place: float, shape: Shape, steps: int, rng: np.random.Generator) -> list[dict]:
    rows = []
    for step in np.linspace(0, steps, 7).astype(int):
        grown = 1 - np.exp(-3 * step / steps)
        moved = place * (0.8 + 0.2 * grown)
        kl = max(float(shape(np.array([round(1 - cell.rho, 12)]), moved)[0]) * grown + 0.02 * rng.normal(), 0.001)
        elbo = -25.0 - 500 * np.exp(-25 * step / steps) - 0.2 * kl
        same = {"cell_id": row["cell_id"], "study": "planted", "split": "validation"}
        rows.append({**same, "step": int(step), "elbo": elbo, "kl_top": kl})
    return rows
