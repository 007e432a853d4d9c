"""What is known of the PixelCNN without torch: its options, its convolutions, its name in words, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from models.cell.fields import option, parse_sizes
from models.cell.image_shape import ImageShape
from models.cell.latents import MapShape
from models.cell.size import Affine, Size
from models.networks.convolution_spec import ENTRY, BlockOptions, Conv, Convolution, MapOptions, applied, map_convs
from models.networks.mlp_spec import MlpOptions
from models.networks.skip_spec import skip_option
from models.networks.without_latents_spec import conflicts_of_none, idle_of_none

if TYPE_CHECKING:
    from models.cell.cell import Cell

KINDS = ("binary", "probability")  # of a data set's values
UNSMOOTHABLE = (
    "it has no generative map above p(x|z₁), and in p(x|z₁) every pixel has a map of its own, from z₁ and the pixels "
    "before it: logits averaged over samples of z₁ would give each pixel of an image another z₁"
)
_SMALLEST = 4  # height or width from which the encoder does not halve any more


def _odd_sizes(text: str) -> None:
    for size in parse_sizes(text):
        if size % 2 == 0 or size < 3:
            raise ValueError("should be odd sizes from 3 on, one for all layers or one for each, as in 7-5-3")


def decoder_layers_option() -> Any:
    """A field `decoder_layers` of a network's options."""
    return option(
        4, "layers of the map from z₁ to the image before its last one: gated ones of `pixelcnn`, hidden ones of "
        "`mlp_decoder`", unit="layers", low=1, high=100, shape=True, since=6, symbol="decoder layers",
        label="layers of the decoder", collapses="high",
    )  # fmt: skip


@dataclass(frozen=True)
class PixelOptions(MapOptions):
    """The layers of gated convolutions, of a decoder or alone."""

    decoder_layers: int = decoder_layers_option()
    kernel: str = option(
        "3", "size of the kernels of gated layers, of which what comes later is left out; or one for each layer, from "
        "the image on, `7-5-3`", check=_odd_sizes, shape=True, since=6,
        pattern=r"^[1-9][0-9]{0,6}(-[1-9][0-9]{0,6})*$",
    )  # fmt: skip

    @property
    def kernels(self) -> tuple[int, ...]:
        """Of each layer."""
        sizes = parse_sizes(self.kernel)
        return sizes * self.decoder_layers if len(sizes) == 1 else sizes

    def faults(self) -> dict[str, str]:
        """A sentence for each option that does not go with the others, by its name."""
        if len(self.kernels) == self.decoder_layers:
            return {}
        return {"kernel": f"kernel has {len(self.kernels)} sizes for {self.decoder_layers} layers, got {self.kernel}"}

    def misfits(self, image: ImageShape) -> dict[str, str]:
        """A sentence where there is no order of an image's values, by `network`."""
        if image.channels == 1:
            return {}
        why = "its pixels are drawn one after the other, each of one value"
        return {"network": f"a PixelCNN is for images of one channel, got {image.channels}: {why}"}

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this network."""
        if cell.likelihood != "bernoulli":
            why = "each pixel is drawn given those before it, as 0 or 1"
            return {"likelihood": f"likelihood should be bernoulli with {cell.network}, got {cell.likelihood}: {why}"}
        return {} if cell.image_shape is None else self.misfits(cell.image_shape)

    def canonical(self) -> PixelOptions:
        """Kernels that are alike said once."""
        sizes = parse_sizes(self.kernel)
        return replace(self, kernel=str(sizes[0])) if len(set(sizes)) == 1 else self

    def layers_in_words(self) -> str:
        """`4 layers of 16 maps, 3×3`."""
        kernel = f"{self.kernel}×{self.kernel}" if self.kernel.isdigit() else self.kernel
        counts = (f"{n} {what}{'s' * (n > 1)}" for n, what in ((self.decoder_layers, "layer"), (self.maps, "map")))
        return f"{' of '.join(counts)}, {kernel}"


@dataclass(frozen=True)
class PixelcnnOptions(PixelOptions, BlockOptions, MlpOptions):
    """One layer of latent variables under such a decoder, and an encoder that ends in a perceptron of `hidden`."""

    latent_maps: int = option(
        1, "maps of the size of an image that z₁ is laid out in for the decoder, for each layer that sees it",
        unit="maps", low=1, high=4096, shape=True, since=6,
    )  # fmt: skip
    skip: str = skip_option()
    encoder: str = option(
        "resnet", "what q(z₁|x) begins with, before the perceptron of `hidden` units: `resnet`, residual convolutions, "
        "at half the height and width as long as these are even and more than 4; or `mlp`, nothing",
        choices=("resnet", "mlp"), shape=True, since=6,
    )  # fmt: skip

    def faults(self) -> dict[str, str]:
        """See `PixelOptions`."""
        found = MlpOptions.faults(self) | PixelOptions.faults(self)
        if "latents" not in found and len(self.latent_sizes) != 1:
            found["latents"] = f"latents should have one layer with pixelcnn, got {self.latents}"
        return found

    def canonical(self) -> PixelcnnOptions:
        """Without convolutions there are no blocks of them."""
        kernel, hidden = PixelOptions.canonical(self).kernel, MlpOptions.canonical(self).hidden
        return replace(self, kernel=kernel, hidden=hidden, blocks=1 if self.encoder == "mlp" else self.blocks)

    def encoder_convs(self, image: ImageShape) -> list[Conv]:
        """The convolutions that it begins with."""
        if self.encoder == "mlp":
            return []
        return map_convs(MapShape(*image), self.encoded(image), 0, self.maps, self.blocks, ENTRY)[:-1]

    def encoded(self, image: ImageShape) -> MapShape:
        """What the perceptron is given."""
        if self.encoder == "mlp":
            return MapShape(*image)
        height, width = image[1:]
        while height % 2 == width % 2 == 0 and min(height, width) > _SMALLEST:
            height, width = height // 2, width // 2
        return MapShape(self.maps, height, width)

    def top_maps(self, rows: int, shape: ImageShape) -> list[Any]:
        """The convolutions and affine maps of one more pass of so many rows through q(z₁|x)."""
        return [*encoder_maps(self, rows, shape, of_data=False)]

    def words(self, network: str) -> str:
        """`pixelcnn 8 (4 layers of 16 maps, 3×3; resnet 200-200)`, with `skips` where there are."""
        encoder = f"{self.encoder} {self.hidden}{'' if self.activation == 'tanh' else f' {self.activation}'}"
        maps = f", z in {self.latent_maps} maps" * (self.latent_maps > 1)
        return f"{network} {self.latents} ({self.layers_in_words()}{maps}; {encoder}){' skips' * (self.skip == 'all')}"


@dataclass(frozen=True)
class PixelcnnAloneOptions(PixelOptions):
    """The decoder alone, without latent variables: L = 0."""

    latent_sizes: ClassVar[tuple[int, ...]] = ()
    latent_maps: ClassVar[int] = 0
    skip: ClassVar[str] = "none"

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """See `PixelOptions`."""
        return super().conflicts(cell) | conflicts_of_none(cell)

    def idle(self, cell: Cell) -> dict[str, Any]:
        """Options of the objective that weigh layers and chains, of which there are none."""
        return idle_of_none(cell)

    def words(self, network: str) -> str:
        """`pixelcnn_alone (4 layers of 16 maps, 3×3)`."""
        return f"{network} ({self.layers_in_words()})"


class Kernel(NamedTuple):
    """A convolution of a gated layer, from so many maps to so many: `vertical`, `link`, `horizontal` or `residual`; or
    the `last` one, to logits."""

    kind: str
    inputs: int
    outputs: int
    height: int = 1
    width: int = 1

    @property
    def weights(self) -> int:
        """Numbers in its kernels."""
        return self.inputs * self.outputs * self.height * self.width

    @property
    def biased(self) -> bool:
        """Whether a bias is added for each map; the link's is the horizontal one's, the last one's of each pixel."""
        return self.kind in ("vertical", "horizontal", "residual")


Decoder = PixelcnnOptions | PixelcnnAloneOptions


def gated_layers(options: Decoder) -> list[list[Kernel]]:
    """The convolutions of each layer, in order, then a list of the last one alone."""
    maps, found = options.maps, []
    for place, size in enumerate(options.kernels):
        inputs = (maps if place else 1) + seen_maps(options, place)
        found.append([
            Kernel("vertical", inputs, 2 * maps, size // 2 + 1, size), Kernel("link", 2 * maps, 2 * maps),
            Kernel("horizontal", inputs, 2 * maps, 1, size // 2 + 1), Kernel("residual", maps, maps),
        ])  # fmt: skip
    return [*found, [Kernel("last", maps + seen_maps(options, options.decoder_layers), 1)]]


def seen_maps(options: Decoder, place: int) -> int:
    """Maps of z that a layer sees, of places from 0, the last one's for the convolution to logits."""
    return options.latent_maps if place == 0 or options.skip == "all" else 0


def encoder_maps(
    options: PixelcnnOptions, rows: int, image: ImageShape, of_data: bool = True
) -> list[Convolution | Affine]:
    """Every convolution and affine map of q(z₁|x)."""
    convs = options.encoder_convs(image)
    hidden, units = options.hidden_sizes[0], options.latent_sizes[0]
    sizes = [*pairwise((options.encoded(image).units, *hidden)), (hidden[-1], units), (hidden[-1], units)]
    return [
        *applied(convs, rows, of_data),
        *(Affine(rows, *each, of_data=of_data and not (convs or place)) for place, each in enumerate(sizes)),
    ]


def pixelcnn_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory."""
    own: PixelcnnOptions = cell.options("network")
    rows, (latents,) = cell.batch_size * cell.training_chains, cell.latent_sizes
    encoder = encoder_maps(own, cell.batch_size, shape)
    laid = [Affine(rows, latents, n * shape.positions) for n in _laid_out(own)]
    parameters = sum(_numbers(each) for each in [*encoder, *laid])
    kept = sum(each.rows * each.outputs for each in [*encoder, *laid])
    found = _decoder_size(cell, own, rows, shape)
    return found + _with_state(cell, parameters, sum(each.flops for each in [*encoder, *laid]), kept)


def pixelcnn_alone_size(cell: Cell, shape: ImageShape) -> Size:
    """What a cell of the decoder alone needs."""
    return _decoder_size(cell, cell.options("network"), cell.batch_size, shape)


def _decoder_size(cell: Cell, own: Decoder, rows: int, shape: ImageShape) -> Size:
    layers = gated_layers(own)
    kernels = [each for layer in layers for each in layer]
    parameters = sum(each.weights + each.outputs * each.biased for each in kernels) + shape.positions
    flops = 6 * rows * shape.positions * sum(each.weights for each in kernels)
    if not own.latent_maps:  # pixels alone are given to the first layer, and need no gradient
        flops -= 2 * rows * shape.positions * sum(each.weights for each in layers[0] if each.inputs == 1)
    kept = sum(_kept(each, shape) for each in kernels) + 3 * 2 * own.maps * shape.positions
    return _with_state(cell, parameters, flops, rows * kept)


def _kept(kernel: Kernel, shape: ImageShape) -> int:
    """Numbers of an image that go into a convolution, with the zeros around them, and into the gates behind it."""
    high, wide = shape.height + kernel.height - 1, shape.width + kernel.width - 1
    if kernel.kind == "vertical":
        wide += kernel.width // 2
    gated = kernel.kind in ("vertical", "horizontal")
    return kernel.inputs * high * wide + gated * kernel.outputs * shape.positions


def _laid_out(own: PixelcnnOptions) -> Sequence[int]:
    """How many maps z is laid out in, for each layer that sees it."""
    places = (seen_maps(own, place) for place in range(own.decoder_layers + 1))
    return [count for count in places if count]


def _numbers(each: Convolution | Affine) -> int:
    if isinstance(each, Convolution):
        return each.conv.weights + each.conv.outputs
    return (each.inputs + 1) * each.outputs


def _with_state(cell: Cell, parameters: int, flops: int, kept: int) -> Size:
    """Weights, gradient and two moments, and what a step keeps or a checkpoint copies, as of `mlp_size`."""
    number_bytes = 8 if cell.precision == "float64" else 4
    return Size(parameters, flops, number_bytes * (4 * parameters + max(kept, 3 * parameters)))
