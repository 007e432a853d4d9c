"""Curves whose place is known seed by seed, without a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from models.cell import Cell
from sweeper.analysis.curves import Curve
from sweeper.parameters.control import RHO, Axis
from tests.sweeper.synthetic import GRID, REFERENCE, Shape, broken


def step_function(u, u_c):
    """20 nats above u_c, 0.2 below: all of the drop within one step of any grid."""
    return np.where(np.asarray(u) > u_c, 20.2, 0.2)


def even_grid(step: float, first: float = 0.2, last: float = 0.01) -> np.ndarray:
    """ρ with 1 − ρ from `first` down to `last`, evenly spaced in its logarithm, and 1."""
    return np.append(1 - first * np.exp(-np.arange(0, np.log(first / last), step)), 1.0)


def planted_curve(
    places: Sequence[float],
    shape: Shape = broken,
    rho: np.ndarray = GRID,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    axis: Axis = RHO,
    seeds: Sequence[int] | None = None,
    steps: int = 6000,
    **fields,
) -> Curve:
    """A curve with a u_c of its own for each seed; on another axis than ρ with x = log u there.

    noise: in nats; fields: of the cells, as `data`, `latents`, `smoothing_samples`.
    """
    u = np.round(1 - np.asarray(rho), 12)
    values = np.stack([shape(u, u_c) for u_c in places])
    if rng is not None:
        values = values + noise * rng.normal(size=values.shape)
    with np.errstate(divide="ignore"):
        control = axis.value(np.log(u))
    here = np.isfinite(control)
    order = np.argsort(control[here])
    cell = Cell(**{"data": "mnist", "latents": "40-40", "seed": 0, "objective": "ou", "rho": 0.9, **fields})
    kept = {name: value for name, value in asdict(cell).items() if name not in (axis.name, "seed")}
    return Curve(
        data=cell.data,
        architecture=cell.architecture,
        objective=cell.objective,
        variant="",
        fields=kept,
        axis=axis,
        control=control[here][order],
        seeds=tuple(range(len(places)) if seeds is None else seeds),
        values=values[:, here][:, order],
        diverged=np.zeros(values[:, here].shape, bool),
        cell_ids=np.full(values[:, here].shape, "", dtype=object),
        steps=(steps, steps),
        reference=float(axis.value(np.log(1 - REFERENCE))),
    )
