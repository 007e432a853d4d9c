"""What is known of the MLP decoder without torch: its options, its name in words, and what a cell of it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.cell.image_shape import ImageShape
from models.cell.size import Affine, Size
from models.networks.mlp_spec import MlpOptions, Smoothed
from models.networks.pixelcnn_spec import decoder_layers_option
from models.networks.skip_spec import skip_option

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class MlpDecoderOptions(MlpOptions):
    """One layer of latent variables, an encoder of `hidden` units, and a decoder as deep as wanted."""

    decoder_layers: int = decoder_layers_option()
    skip: str = skip_option()

    @property
    def width(self) -> int:
        """Units of every layer of the decoder: those of the encoder's first one."""
        return self.hidden_sizes[0][0]

    @property
    def seen(self) -> int:
        """What each hidden layer of the decoder is given."""
        return self.width + (self.latent_sizes[0] if self.skip == "all" else 0)

    def faults(self) -> dict[str, str]:
        """A sentence for each option that does not go with the others, by its name."""
        found = super().faults()
        if not found and len(self.latent_sizes) != 1:
            found["latents"] = f"latents should have one layer with mlp_decoder, got {self.latents}"
        return found

    def words(self, network: str) -> str:
        """`mlp_decoder 50 (512-512) 3 layers skips`."""
        layers = f" {self.decoder_layers} layer{'s' * (self.decoder_layers > 1)}"
        return super().words(network) + layers + " skips" * (self.skip == "all")


def mlp_decoder_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory."""
    cell = cell.canonical()
    own: MlpDecoderOptions = cell.options("network")
    left = cell.batch_size * cell.training_chains
    rows, outputs = left * Smoothed.of(cell).output, cell.output_maps(shape) * shape.positions
    first, *others = own.top_maps(cell.batch_size, shape)
    decoder = [Affine(rows, own.latent_sizes[0], own.width), *[Affine(rows, own.seen, own.width)] * own.decoder_layers]
    encoder = [Affine(first.rows, first.inputs, first.outputs, of_data=True), *others]
    maps = [*encoder, *decoder, Affine(left, own.width, outputs)]
    parameters = sum((each.inputs + 1) * each.outputs for each in maps)
    kept = sum(each.rows * (each.inputs + each.outputs) for each in maps) + 2 * left * outputs
    number_bytes = 8 if cell.precision == "float64" else 4
    memory = number_bytes * (4 * parameters + max(kept, 3 * parameters))
    return Size(parameters, sum(each.flops for each in maps), memory)
