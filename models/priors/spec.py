"""Options of the priors, and what they add to a cell's needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.size import Affine, Size

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class VampOptions:
    """A mixture of the posteriors of pseudo-inputs."""

    pseudo_inputs: int = option(
        500, "K, components of the prior, each the posterior of a pseudo-input that is learned", unit="pseudo-inputs",
        low=1, high=100_000, shape=True, since=4, symbol="K", label="pseudo-inputs, K",
    )  # fmt: skip

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this prior."""
        found = {}
        if cell.posterior != "gaussian":
            found["posterior"] = (
                f"posterior should be gaussian with prior vamp, got {cell.posterior}: the prior needs the density of "
                "q(z_L|·) at points that were not drawn from it, which has a closed form only for a Gaussian"
            )
        if cell.has("free_bits_group") and cell.free_bits_group == "unit" and cell.free_bits:
            found["free_bits_group"] = (
                "free_bits_group should be layer with prior vamp, got unit: a mixture is no product over units, so the "
                "top layer's KL is no sum of theirs"
            )
        return found


def vamp_size(cell: Cell, shape: ImageShape) -> Size:
    """What the prior adds: its pseudo-inputs, their way through q(z_L|·), and the products behind their densities."""
    network, components, units = cell.options("network"), cell.pseudo_inputs, cell.latent_sizes[-1]
    rows = cell.batch_size * cell.training_chains
    maps = [*network.top_maps(components, shape), Affine(rows, 2 * units, components)]
    parameters = components * network.top_inputs(shape.features)
    kept = sum(each.rows * each.outputs for each in maps) + 6 * rows * components + 12 * components * units
    number_bytes = 8 if cell.precision == "float64" else 4
    return Size(
        parameters, sum(each.flops for each in maps), number_bytes * (4 * parameters + max(kept, 3 * parameters))
    )
