"""Cells that continue from others beside cold starts that trained as long in all.

At the k-th ρ of a branch a cell has k times as many steps behind it as the cold start that a study of so many steps has
there: where the two differ, it may be for the steps. Cold starts of as many steps as a whole branch
(`studies/hysteresis_cold.yaml`) pass every such total during training, where their history was measured.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from models.cell import CONTINUE, Cell
from models.cell.continuation import COLD, Passed, branch
from sweeper.parameters.order import parse_order_parameter


def at_equal_totals(cells: pd.DataFrame, history: pd.DataFrame, order_parameter: str = "kl_top") -> pd.DataFrame:
    """Each cell of a branch beside the cold start of its ρ and seed after as many steps in all.

    cells, history: of one store, or of several one after the other; the order parameter is taken from the history, so
    on validation images on both sides. Returns a row per cell of a branch: `data`, `architecture`, `branch` (`continue
    up` or `continue down`), `rho`, `seed`, `total_steps`, `value`, and `cold`, NaN where no history has it. Cells with
    `steps` of a cold start's own are left out. Raises ValueError for an order parameter that the history has not.
    """
    parameter = parse_order_parameter(order_parameter)
    if not parameter.in_history:
        raise ValueError(f"order_parameter {order_parameter} is not measured during training")
    kept = cells.drop_duplicates("cell_id")
    measured = history.drop_duplicates(["cell_id", "step"]).merge(kept[["cell_id", "cell", "latents"]], on="cell_id")
    values = dict(zip(zip(measured["cell"], measured["step"], strict=True), parameter.of(measured), strict=True))
    found = []
    for row in kept.itertuples(index=False):
        cell = Cell.from_json(row.cell)
        passed = Passed.of(cell.procedure)
        if not cell.procedure.startswith(CONTINUE) or passed is None:
            continue
        total = passed.steps * len(passed.rhos) + int(row.step)
        cold = replace(cell, procedure=COLD).canonical().to_json()
        found.append(
            {
                "data": row.data, "architecture": row.architecture, "branch": branch(cell.procedure, cell.rho),
                "rho": cell.rho, "seed": cell.seed, "total_steps": total,
                "value": values.get((row.cell, row.step)), "cold": values.get((cold, total)),
            }
        )  # fmt: skip
    columns = ["data", "architecture", "branch", "rho", "seed", "total_steps", "value", "cold"]
    frame = pd.DataFrame(found, columns=columns).astype({"value": "float64", "cold": "float64"})
    return frame.sort_values(columns[:5], ignore_index=True)
