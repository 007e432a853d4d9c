"""Options of the posteriors, and what they add to a cell's needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.size import Affine, Size

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class PlanarOptions:
    """A Gaussian through planar flows, at the top layer."""

    flow_steps: int = option(
        8, "planar steps that the top layer's sample goes through", unit="steps of the flow", low=1, high=10_000,
        shape=True, since=4, symbol="T", label="steps of the flow, T",
    )  # fmt: skip
    flow_parameters: str = option(
        "amortised", "parameters of the flow: `amortised`, outputs of the top layer's inference map, or `global`, the "
        "same for all images", choices=("amortised", "global"), shape=True, since=4,
    )  # fmt: skip

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with a flow."""
        found = {}
        if cell.smoothed:
            found["posterior"] = (
                f"posterior should be gaussian with objective {cell.objective}, got {cell.posterior}: a flow has no "
                "deviation to smooth with, and samples around its mean would not have the distribution of z_L"
            )
        if cell.has("gradient_estimator") and cell.gradient_estimator != "plain":
            found["gradient_estimator"] = (
                f"gradient_estimator should be plain with posterior {cell.posterior}, got {cell.gradient_estimator}: "
                "it needs the density of q at a sample that is held while q's parameters are, and a flow cannot be "
                "turned back to where its sample began"
            )
        if cell.has("free_bits_group") and cell.free_bits_group == "unit" and cell.free_bits:
            found["free_bits_group"] = (
                f"free_bits_group should be layer with posterior {cell.posterior}, got unit: the density of a flow is "
                "no product over units, so the top layer's KL is no sum of theirs"
            )
        return found


def planar_size(cell: Cell, shape: ImageShape) -> Size:
    """What flows add: their parameters or the head that puts them out, and what a step keeps for its gradient."""
    network, units, last = cell.options("network"), cell.latent_sizes[-1], cell.hidden_sizes[-1][-1]
    chains = cell.batch_size * cell.training_chains
    outputs = cell.flow_steps * (2 * units + 1)
    head = Affine(cell.batch_size if network.top_given_image else chains, last, outputs)
    amortised = cell.flow_parameters == "amortised"
    parameters = (last + 1 if amortised else 1) * outputs
    kept = 3 * head.rows * outputs + 4 * chains * cell.flow_steps * units
    number_bytes = 8 if cell.precision == "float64" else 4
    memory = number_bytes * (4 * parameters + max(kept, 3 * parameters))
    return Size(parameters, head.flops if amortised else 0, memory)
