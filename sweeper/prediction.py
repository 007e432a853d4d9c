"""`sweeper predict`: from a store's kept states to predictions of the critical ρ. Loads torch when it computes."""

from __future__ import annotations

from models.cell import Cell
from models.settings import Evaluation
from sweeper.analysis.axis import RHO, Array
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.prediction import Prediction, places, predict
from sweeper.errors import StoreDamaged
from sweeper.store import Store
from sweeper.study import Study

CHAINS = 1  # an image: the noise is shared by the two cells and all ρ, and averages out over the images


def predictions(study: Study, store: Store, below: float | None = None) -> list[Prediction]:
    """A prediction for each smoothed curve of the study, from `below` [the study's reference ρ] and ρ = 1.

    Both cells' kept states are evaluated on the validation images used along the way. A seed without both states is
    left out; a curve without any gets the reason. Raises StoreDamaged where a kept state was altered.
    """
    from models.registry import cell_id

    rows = store.cells()
    kept = select(rows, {cell_id(cell) for cell in study.cells})
    found = []
    for curve in curves(kept, study.analysis.order_parameter, study.analysis.rho_ref, RHO, store.history()):
        if (curve.control < 1).any():
            found.append(_predicted(study, store, curve, study.analysis.rho_ref if below is None else below))
    return found


def _predicted(study: Study, store: Store, curve: Curve, below: float) -> Prediction:
    if below not in curve.control or 1.0 not in curve.control:
        return Prediction(curve, below, reason=f"no cells at ρ = {below:g} and at ρ = 1 both")
    ends = [list(curve.control).index(value) for value in (below, 1.0)]
    states = store.states()
    objectives = {}
    for row, seed in enumerate(curve.seeds):
        names = [str(curve.cell_ids[row, column]) for column in ends]
        if all(name in states for name in names):
            uncollapsed, collapsed = (_objective(study, store, name, curve, below) for name in names)
            objectives[seed] = uncollapsed, collapsed
    return predict(curve, below, objectives)


def _objective(study: Study, store: Store, name: str, curve: Curve, below: float) -> Array:
    """The smoothed objective of one cell's kept weights at the curve's places, (points,), nats an image."""
    import torch

    import models.data
    from models.prediction import smoothed_objective
    from models.registry import cell_id
    from models.training import Stack

    torch.set_num_threads(study.run.threads)
    cell = next(cell for cell in study.cells if cell_id(cell) == name)
    tensors, _ = store.load_state(name)
    stack = Stack([cell], models.data.load(cell.data))
    with torch.no_grad():
        for key, parameter in stack.params.items():
            if f"param/{key}" not in tensors:
                raise StoreDamaged(f"the kept state of {name} lacks {key}")
            parameter.copy_(torch.from_numpy(tensors[f"param/{key}"])[None])
    smoothed = Cell(**{**curve.fields, "seed": 0, "rho": below})
    settings = Evaluation(
        importance_samples=CHAINS, images=study.evaluation.validation_images, split="validation",
        seed=study.evaluation.seed,
    )  # fmt: skip
    ratio = smoothed.smoothing == "ratio"
    values = smoothed_objective(stack, places(curve, below).tolist(), smoothed.smoothing_samples, settings, ratio)
    return values[0].cpu().numpy()
