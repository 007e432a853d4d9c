"""`sweeper predict`: from a store's kept states to predictions of the critical ρ. Loads torch when it computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.cell import Cell
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.prediction import (
    MAX_BATCHES,
    METHODS,
    MIN_BATCHES,
    Method,
    Prediction,
    places,
    predict,
    settled,
)
from sweeper.errors import StoreDamaged
from sweeper.parameters.control import RHO, Array
from sweeper.store import Store
from sweeper.study import Study

if TYPE_CHECKING:
    from models.stack.stack import Stack

Told = Callable[[str, int, int], object]  # of a curve's label, a seed and its batches of draws
_UNPREDICTED = {"ou_iwae": ("objective",), "yes": ("smooth_posterior", "smooth_output"), "all": ("skip",)}  # of others
_TOP_LAYER_ONLY = {"smoothing": "moments", "prior": "normal"}  # what noise and stability are worked out for
GROWTH = 1.2  # of the batches, from one look at what they leave open to the next
COST_POINTS = 5  # ρ at which the noise of the gradient is measured: it hardly varies, and is interpolated
CURVATURE_POINTS = 9  # ρ at which the curvature is measured where it changes sign
CURVATURE_BATCHES = 2


def predictions(
    study: Study,
    store: Store,
    below: float | None = None,
    told: Told = lambda curve, seed, batches: None,
    methods: Sequence[Method] = METHODS,
) -> list[Prediction]:
    """A prediction by each method for each smoothed curve of the study, from `below` [its reference ρ] and ρ = 1.

    Objectives are evaluated on the validation images used along the way, until draws leave little open; noise and
    curvature on training images. `told` hears of each seed. A seed without both states is left out; a curve without any
    gets the reason. Raises StoreDamaged where a kept state was altered.
    """
    from models.cell import cell_id

    rows = store.cells()
    kept = select(rows, {cell_id(cell) for cell in study.cells})
    found = []
    for curve in curves(kept, study.analysis.order_parameter, study.analysis.rho_ref, RHO, store.history()):
        if (curve.control < 1).any():
            lower = study.analysis.rho_ref if below is None else below
            found += _predicted(study, store, curve, lower, told, methods)
    return found


def _predicted(
    study: Study, store: Store, curve: Curve, below: float, told: Told, methods: Sequence[Method]
) -> list[Prediction]:
    reasons = {method: _why_not(curve, below, method) for method in methods}
    unknown = [Prediction(curve, below, reason=why, method=method) for method, why in reasons.items() if why]
    methods = [method for method in methods if not reasons[method]]
    if not methods:
        return unknown
    ends = [list(curve.control).index(value) for value in (below, 1.0)]
    states = store.states()
    rho = places(curve, below)
    lowest = np.geomspace(1 - rho[0], 1 - rho[-1], CURVATURE_POINTS)
    points = {"stability": 1 - lowest} | {method: rho for method in methods if method != "stability"}
    leads: dict[Method, dict[int, Array]] = {method: {} for method in methods}
    for row, seed in enumerate(curve.seeds):
        names = [str(curve.cell_ids[row, column]) for column in ends]
        if all(name in states for name in names):
            pair = _Pair(study, store, names, curve, below, seed)
            for method in methods:
                leads[method][seed] = getattr(pair, method)(points[method])
            told(curve.label, seed, max(len(leads[method][seed]) for method in methods))
    return [predict(curve, below, leads[method], method, points[method]) for method in methods] + unknown


def _why_not(curve: Curve, below: float, method: Method) -> str | None:
    """Why there is no prediction by a method, before anything is computed; None: there may be one."""
    more = [f"{name} {value}" for name, value in curve.fields.items() if name in _UNPREDICTED.get(str(value), ())]
    if more:
        return f"{', '.join(more)}: the objective that is predicted is that of ou alone"
    cell = Cell(**{**curve.fields, "seed": 0, "rho": below})
    for name, known in _TOP_LAYER_ONLY.items():
        if method != "objectives" and getattr(cell, name) != known:
            return f"{name} {getattr(cell, name)}: what the top layer's gradient says is known of {name} {known} alone"
    if below not in curve.control or 1.0 not in curve.control:
        return f"no cells at ρ = {below:g} and at ρ = 1 both"
    return None


class _Pair:
    """The kept weights of a seed's two cells, and the leads of the collapsed one by each method: (batches, points)."""

    def __init__(self, study: Study, store: Store, names: list[str], curve: Curve, below: float, seed: int):
        import torch

        from models.evaluation.prediction import noise_seed

        torch.set_num_threads(study.run.threads)
        self.uncollapsed, self.collapsed = (_stack(study, store, name) for name in names)
        self.dead = names[1]
        self.study, self.store = study, store
        self.smoothed = Cell(**{**curve.fields, "seed": 0, "rho": below})
        self.samples = self.smoothed.smoothing_samples
        self.draws = noise_seed(study.evaluation.seed, seed)

    def objectives(self, rho: Array) -> Array:
        """The smoothed objective of the cell trained at ρ = 1, less the other's, nats per image."""
        from models.evaluation.prediction import smoothed_objective

        images = self.collapsed.dataset.validation[: self.study.evaluation.validation_images]
        ratio = self.smoothed.smoothing == "ratio"

        def lead(batch: int) -> Array:
            ahead, behind = (
                smoothed_objective(stack, images, rho.tolist(), self.samples, self.draws, batch, ratio)
                for stack in (self.collapsed, self.uncollapsed)
            )
            found: Array = (ahead - behind)[0].cpu().numpy()
            return found

        leads = np.stack([lead(batch) for batch in range(MIN_BATCHES)])
        while len(leads) < MAX_BATCHES and not settled(rho, leads):
            count = min(math.ceil(len(leads) * GROWTH), MAX_BATCHES)
            leads = np.concatenate([leads, [lead(batch) for batch in range(len(leads), count)]])
        return leads

    def noise(self, rho: Array) -> Array:
        """What the gradient's noise costs the top layer, less what smoothing pays for it, nats per image."""
        from models.evaluation.noise_balance import noise_cost, pay

        measured = np.geomspace(1 - rho[0], 1 - rho[-1], COST_POINTS)

        def cost(batch: int) -> Array:
            alive, dead = (
                noise_cost(stack, (1 - measured).tolist(), self.samples, self.draws, batch).cpu().numpy()
                for stack in (self.uncollapsed, self.collapsed)
            )
            found: Array = np.interp(np.log(1 - rho), np.log(measured), alive - dead)
            return found

        return np.stack([cost(batch) for batch in range(MIN_BATCHES)]) - pay(rho, self.smoothed)

    def stability(self, rho: Array) -> Array:
        """Minus the largest curvature of the smoothed objective over the dead layer's maps.

        First at both ends: where it has one sign there, it is taken to have it between them, by straight lines.
        """
        from models.evaluation.stability import largest_curvature

        stack = _stack(self.study, self.store, self.dead, precision="float64")

        def curvature(places: Array, batch: int) -> Array:
            return largest_curvature(stack, places.tolist(), self.samples, self.draws, batch)

        leads = []
        for batch in range(CURVATURE_BATCHES):
            ends = curvature(rho[[0, -1]], batch)
            if ends[0] * ends[1] > 0:
                leads.append(-np.interp(np.log(1 - rho), np.log(1 - rho[[0, -1]]), ends))
            else:
                leads.append(-curvature(rho, batch))
        return np.stack(leads)


def _stack(study: Study, store: Store, name: str, **changes: str) -> Stack:
    """A cell's kept weights as a stack of one, at its step; `changes`: of the cell."""
    import torch

    import models.data
    from models.cell import cell_id
    from models.stack.stack import Stack

    cell = next(cell for cell in study.cells if cell_id(cell) == name)
    tensors, _ = store.load_state(name)
    stack = Stack([replace(cell, **changes)], models.data.data_of(cell))
    with torch.no_grad():
        for key, parameter in stack.params.items():
            if f"param/{key}" not in tensors:
                raise StoreDamaged(f"the kept state of {name} lacks {key}")
            parameter.copy_(torch.from_numpy(tensors[f"param/{key}"])[None])
    stack.step = store.states()[name]
    return stack
