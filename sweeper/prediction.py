"""`sweeper predict`: from a store's kept states to predictions of the critical ρ. Loads torch when it computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from models.cell import Cell
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.prediction import MAX_BATCHES, MIN_BATCHES, Prediction, places, predict, settled
from sweeper.errors import StoreDamaged
from sweeper.parameters.control import RHO, Array
from sweeper.store import Store
from sweeper.study import Study

if TYPE_CHECKING:
    from models.stack.stack import Stack

Told = Callable[[str, int, int], object]  # of a curve's label, a seed and its batches of draws
_UNPREDICTED = {"ou_iwae": ("objective",), "yes": ("smooth_posterior", "smooth_output")}  # fields of other objectives
GROWTH = 1.2  # of the batches, from one look at what they leave open to the next


def predictions(
    study: Study, store: Store, below: float | None = None, told: Told = lambda curve, seed, batches: None
) -> list[Prediction]:
    """A prediction for each smoothed curve of the study, from `below` [the study's reference ρ] and ρ = 1.

    Both cells' kept states are evaluated on the validation images used along the way, until draws leave little open;
    `told` hears of each seed. A seed without both states is left out; a curve without any gets the reason. Raises
    StoreDamaged where a kept state was altered.
    """
    from models.cell import cell_id

    rows = store.cells()
    kept = select(rows, {cell_id(cell) for cell in study.cells})
    found = []
    for curve in curves(kept, study.analysis.order_parameter, study.analysis.rho_ref, RHO, store.history()):
        if (curve.control < 1).any():
            found.append(_predicted(study, store, curve, study.analysis.rho_ref if below is None else below, told))
    return found


def _predicted(study: Study, store: Store, curve: Curve, below: float, told: Told) -> Prediction:
    more = [f"{name} {value}" for name, value in curve.fields.items() if name in _UNPREDICTED.get(str(value), ())]
    if more:
        reason = f"{', '.join(more)}: the objective that is predicted is that of ou alone"
        return Prediction(curve, below, reason=reason)
    if below not in curve.control or 1.0 not in curve.control:
        return Prediction(curve, below, reason=f"no cells at ρ = {below:g} and at ρ = 1 both")
    ends = [list(curve.control).index(value) for value in (below, 1.0)]
    states = store.states()
    leads = {}
    for row, seed in enumerate(curve.seeds):
        names = [str(curve.cell_ids[row, column]) for column in ends]
        if all(name in states for name in names):
            leads[seed] = _leads(study, store, names, curve, below, seed)
            told(curve.label, seed, len(leads[seed]))
    return predict(curve, below, leads)


def _leads(study: Study, store: Store, names: list[str], curve: Curve, below: float, seed: int) -> Array:
    """The lead of the second of two cells' kept weights over the first, at the curve's places: (batches, points)."""
    import torch

    from models.evaluation.prediction import noise_seed, smoothed_objective

    torch.set_num_threads(study.run.threads)
    uncollapsed, collapsed = (_stack(study, store, name) for name in names)
    smoothed, rho = Cell(**{**curve.fields, "seed": 0, "rho": below}), places(curve, below)
    images = collapsed.dataset.validation[: study.evaluation.validation_images]
    drawn = noise_seed(study.evaluation.seed, seed)
    samples, ratio = smoothed.smoothing_samples, smoothed.smoothing == "ratio"

    def lead(batch: int) -> Array:
        ahead, behind = (
            smoothed_objective(stack, images, rho.tolist(), samples, drawn, batch, ratio)
            for stack in (collapsed, uncollapsed)
        )
        found: Array = (ahead - behind)[0].cpu().numpy()
        return found

    leads = np.stack([lead(batch) for batch in range(MIN_BATCHES)])
    while len(leads) < MAX_BATCHES and not settled(rho, leads):
        count = min(math.ceil(len(leads) * GROWTH), MAX_BATCHES)
        leads = np.concatenate([leads, [lead(batch) for batch in range(len(leads), count)]])
    return leads


def _stack(study: Study, store: Store, name: str) -> Stack:
    """A cell's kept weights as a stack of one."""
    import torch

    import models.data
    from models.cell import cell_id
    from models.stack.stack import Stack

    cell = next(cell for cell in study.cells if cell_id(cell) == name)
    tensors, _ = store.load_state(name)
    stack = Stack([cell], models.data.load(cell.data))
    with torch.no_grad():
        for key, parameter in stack.params.items():
            if f"param/{key}" not in tensors:
                raise StoreDamaged(f"the kept state of {name} lacks {key}")
            parameter.copy_(torch.from_numpy(tensors[f"param/{key}"])[None])
    return stack
