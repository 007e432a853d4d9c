"""What is known of the two-level network without torch: its options, its name in words, and what a cell of it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.cell.image_shape import ImageShape
from models.cell.size import Affine, Size
from models.networks.mlp_spec import SizeOptions

if TYPE_CHECKING:
    from models.cell.cell import Cell

UNSMOOTHABLE = (
    "p(x|z₁, z₂) is never smoothed and sees z₂ itself, and so does q(z₁|x, z₂), whereas a smoothed p(z₁|·) would see "
    "another z₂"
)


@dataclass(frozen=True)
class TwoLevelOptions(SizeOptions):
    """Sizes of two layers and of their maps, each of two gated layers."""

    def top_inputs(self, features: int) -> int:
        """An image's."""
        return features

    @property
    def top_given_image(self) -> bool:
        """q(z₂|x) is."""
        return True

    def top_maps(self, rows: int, shape: ImageShape) -> list[Affine]:
        """The affine maps of one more pass of so many rows through q(z₂|x), with a gradient for them."""
        first, second = self.hidden_sizes[1]
        heads = [Affine(rows, second, self.latent_sizes[1])] * 2
        return [*_gated(rows, shape.features, first), *_gated(rows, first, second), *heads]

    def faults(self) -> dict[str, str]:
        """See `SizeOptions`."""
        found = super().faults()
        if not found and len(self.latent_sizes) != 2:
            found["latents"] = f"latents should have two layers with two_level, got {self.latents}"
        if not found and any(len(sizes) != 2 for sizes in self.hidden_sizes):
            found["hidden"] = f"hidden should have two sizes for each layer with two_level, got {self.hidden}"
        return found

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this network."""
        found = {}
        if cell.has("gradient_estimator") and cell.gradient_estimator != "plain":
            found["gradient_estimator"] = (
                f"gradient_estimator should be plain with network two_level, got {cell.gradient_estimator}: it does "
                "not evaluate q a second time with its parameters held"
            )
        return found


def _gated(rows: int, inputs: int, outputs: int, of_data: bool = False) -> list[Affine]:
    return [Affine(rows, inputs, outputs, of_data)] * 2  # the value and the gate


def two_level_maps(cell: Cell, shape: ImageShape) -> list[Affine]:
    """Every affine map of a training step."""
    (one, two), images, rows = cell.latent_sizes, cell.batch_size, cell.batch_size * cell.training_chains
    (a1, b1), (a2, b2) = cell.hidden_sizes
    features, outputs = shape.features, cell.output_maps(shape) * shape.positions
    return [
        *_gated(images, features, a2, of_data=True), *_gated(images, a2, b2), *[Affine(images, b2, two)] * 2,
        *_gated(images, features, a1, of_data=True), *_gated(rows, two, a1), *_gated(rows, 2 * a1, b1),
        *[Affine(rows, b1, one)] * 2,
        *_gated(rows, two, b2), *_gated(rows, b2, a2), *[Affine(rows, a2, one)] * 2,
        *_gated(rows, one, b1), *_gated(rows, two, b1), *_gated(rows, 2 * b1, a1), Affine(rows, a1, outputs),
    ]  # fmt: skip


def two_level_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory."""
    maps = two_level_maps(cell, shape)
    parameters = sum((each.inputs + 1) * each.outputs for each in maps)
    kept = 2 * sum(each.rows * each.outputs for each in maps)
    number_bytes = 8 if cell.precision == "float64" else 4
    numbers = 4 * parameters + max(kept, 3 * parameters)  # as of `mlp_size`
    return Size(parameters, sum(each.flops for each in maps), number_bytes * numbers)
