"""What goes with a network without latent variables, L = 0, whose log p(x) is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.cell.fields import options_of
from models.objectives.spec import VaeOptions

if TYPE_CHECKING:
    from models.cell.cell import Cell


def conflicts_of_none(cell: Cell) -> dict[str, str]:
    """A sentence for each part of the cell that is of latent variables."""
    without = f"with network {cell.network}, which has no latent variables"
    alone = {"prior": "normal", "posterior": "gaussian", "objective": "vae", "procedure": "joint"}
    return {
        role: f"{role} should be {name} {without}, got {getattr(cell, role)}"
        for role, name in alone.items()
        if getattr(cell, role) != name and not (role == "objective" and cell.smoothed)  # which is refused anyway
    }


def idle_of_none(cell: Cell) -> dict[str, Any]:
    """Options of the objective that weigh layers and chains, at their default."""
    return {name: each.default for name, each in options_of(VaeOptions).items() if cell.has(name)}
