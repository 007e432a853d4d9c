"""What is known of the ResNet VAE without torch: its options, its convolutions, and what a cell of it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.latents import LatentOptions, MapShape, parse_grids
from models.cell.size import Size
from models.networks.convolution_spec import ENTRY, BlockOptions, Conv, Convolution, applied, halvings, map_convs
from models.networks.mlp_spec import Smoothed, passes_again
from models.networks.skip_spec import skip_option

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class ResnetOptions(BlockOptions, LatentOptions):
    """Latent maps, and the convolutions between them."""

    skip: str = skip_option()

    normalization: str = option(
        "none", "`none`, or `weight`: of each convolution the length of a map's weights is a parameter of its own, and "
        "it starts where the maps of the first minibatch have mean 0 and a given deviation", since=5,
        choices=("none", "weight"), shape=True,
    )  # fmt: skip

    @cached_property
    def latent_grids(self) -> tuple[MapShape, ...]:
        """Maps of layers 1 … L."""
        return parse_grids(self.latents)

    @cached_property
    def latent_sizes(self) -> tuple[int, ...]:
        """Units of layers 1 … L."""
        return tuple(each.units for each in self.latent_grids)

    def faults(self) -> dict[str, str]:
        """A sentence for each option that does not go with the others, by its name."""
        try:
            grids = self.latent_grids
        except ValueError as fault:
            return {"latents": str(fault)}
        misfits = (_misfit(above, below[1:], "layer below") for below, above in pairwise(grids))
        return next(filter(None, misfits), {})

    def misfits(self, image: ImageShape) -> dict[str, str]:
        """A sentence where the first layer does not fit an image, by `latents`."""
        return _misfit(self.latent_grids[0], image[1:], "image")

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this network."""
        found: dict[str, str] = {}
        if cell.image_shape is not None:
            found |= self.misfits(cell.image_shape)
        if cell.posterior != "gaussian":
            found["posterior"] = (
                f"posterior should be gaussian with network {cell.network}, got {cell.posterior}: its inference maps "
                "have no outputs for a flow"
            )
        if self.skip == "all":
            found |= _conflicts_of_skips(cell)
        return found

    def canonical(self) -> ResnetOptions:
        """A single layer has none above it to skip."""
        return replace(self, skip="none") if len(self.latent_sizes) == 1 else self

    def seen_from(self, place: int) -> MapShape:
        """What the generative map from layer `place` + 1 sees."""
        grids = self.latent_grids[place:] if self.skip == "all" else self.latent_grids[place : place + 1]
        return MapShape(sum(each.maps for each in grids), *grids[0][1:])

    def top_inputs(self, features: int) -> int:
        """Numbers that the inference map of the top layer is given."""
        return (features, *self.latent_sizes)[-2]

    @property
    def top_given_image(self) -> bool:
        """Whether these are the image, which is the same for all chains."""
        return len(self.latent_sizes) == 1

    def top_maps(self, rows: int, shape: ImageShape) -> list[Convolution]:
        """The convolutions of one more pass of so many rows through the top layer's inference map."""
        return applied(inference_convs(self, shape)[-1], rows)

    def words(self, network: str) -> str:
        """`resnet 8x7x7-8x7x7 (16 maps, 1 block)`, with `skips` and `weight norm` where there are such."""
        counts = f"{self.maps} map{'s' * (self.maps > 1)}, {self.blocks} block{'s' * (self.blocks > 1)}"
        more = " skips" * (self.skip == "all") + " weight norm" * (self.normalization == "weight")
        return f"{network} {self.latents} ({counts}){more}"


def _conflicts_of_skips(cell: Cell) -> dict[str, str]:
    """A sentence for each option of smoothing that does not go with skip connections."""
    found = {
        name: f"{name} should be no with skip all, got yes: {why}"
        for name, why in (
            (
                "smooth_posterior",
                "the samples that its maps see are drawn by the inference maps, which have to be those of q",
            ),
            ("smooth_output", "p(x|·) sees all layers, and to smooth it is defined for z₁ alone"),
        )
        if cell.has(name) and getattr(cell, name) == "yes"
    }
    if cell.smoothed and cell.has("gradient_estimator") and cell.gradient_estimator != "plain":
        found["gradient_estimator"] = (
            f"gradient_estimator should be plain with skip all and objective {cell.objective}, got "
            f"{cell.gradient_estimator}: the inference maps draw the smoothed samples too, which no weight is known for"
        )
    return found


def _misfit(latents: MapShape, below: Sequence[int], what: str) -> dict[str, str]:
    """A sentence where a layer's grid is not (height, width) of what is below it, halved any number of times."""
    if halvings(below, latents[1:]) is not None:
        return {}
    fitting, here = [], tuple(below)
    while True:
        fitting.append("x".join(map(str, here)))
        if any(side % 2 for side in here):
            break
        here = tuple(side // 2 for side in here)
    said, of = "x".join(map(str, latents)), "x".join(map(str, below))
    return {
        "latents": f"latents: {said} does not fit over the {what} of {of}: its height and width should be those, "
        f"halved any number of times, which leaves {' or '.join(fitting)}"
    }


def inference_convs(options: ResnetOptions, image: ImageShape) -> list[list[Conv]]:
    """The convolutions of the maps from below to layers 1 … L."""
    below = (MapShape(*image), *options.latent_grids[:-1])
    return [
        map_convs(given, wanted, 2, options.maps, options.blocks, 3 if place else ENTRY)
        for place, (given, wanted) in enumerate(zip(below, options.latent_grids, strict=True))
    ]


def generative_convs(options: ResnetOptions, image: ImageShape, outputs: int) -> list[list[Conv]]:
    """The convolutions of the maps from layers 1 … L to what is below; `outputs`: numbers per position of an image."""
    below = (MapShape(outputs, image.height, image.width), *options.latent_grids[:-1])
    return [
        map_convs(given, wanted, 2 if place else 1, options.maps, options.blocks)
        for place, wanted in enumerate(below)
        for given in [options.seen_from(place)]
    ]


def resnet_convolutions(cell: Cell, image: ImageShape) -> list[Convolution]:
    """Every convolution of a training step, once for each time it is applied.

    In a stack of two cells or more: on a CPU one alone is computed twice.
    """
    cell = cell.canonical()
    options: ResnetOptions = cell.options("network")
    samples, rows = Smoothed.of(cell), cell.batch_size * cell.training_chains
    found: list[Convolution] = []
    up, down = inference_convs(options, image), generative_convs(options, image, cell.output_maps(image))
    for place, (upward, downward) in enumerate(zip(up, down, strict=True)):
        up_rows = rows * samples.up if place else cell.batch_size
        found += applied(upward, up_rows, of_data=not place)
        found += applied(downward, rows * (samples.down if place else samples.output))
        for fixed in passes_again(cell) if place else ():
            found += applied(upward, up_rows, again=True, fixed=fixed)
        if cell.smoothed and options.skip == "all" and place > 1:  # for each map that sees z_{i+1} and lower layers
            for _ in range(place - 1):
                found += applied(upward, rows * samples.down, again=True)
    return found


def resnet_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory."""
    convolutions = resnet_convolutions(cell, shape)
    parameters = sum(each.conv.weights + each.conv.outputs for each in convolutions if not each.again)
    if cell.normalization == "weight":
        parameters += sum(each.conv.outputs for each in convolutions if not each.again)
    parameters += cell.output_maps(shape) * shape.positions  # the bias of every number that the likelihood is given
    number_bytes = 8 if cell.precision == "float64" else 4
    numbers = 4 * parameters + max(_kept(cell, shape, convolutions), 3 * parameters)  # as of `mlp_size`
    return Size(parameters, sum(each.flops for each in convolutions), number_bytes * numbers)


def saved_numbers(cell: Cell, shape: ImageShape) -> int:
    """Numbers that the graph of a step holds for its gradient, to a few percent.

    With one more sample of smoothing they grow by exactly those of one more copy of the smoothed maps.
    """
    cell = cell.canonical()
    samples, sizes = Smoothed.of(cell), cell.latent_sizes
    rows: int = cell.batch_size * cell.training_chains
    convolutions = resnet_convolutions(cell, shape)
    found = sum(each.kept + each.conv.weights for each in convolutions)
    found += sum(each.kept // 4 for each in convolutions if each.conv.kind == "up")  # before it is made finer
    found += sum(each.rows * each.outputs // 2 for each in convolutions if each.conv.kind == "head")  # slopes of σ
    if cell.smoothed:  # noise
        found += rows * (samples.down * sum(sizes[1:]) + (samples.up > 1) * samples.up * sum(sizes[:-1]))
    return found + rows * (2 * shape.features + 4 * sum(sizes))


def _kept(cell: Cell, shape: ImageShape, convolutions: Sequence[Convolution]) -> int:
    """Numbers that live at once in a training step of a cell beside its state, with those of gradients on their way."""
    return saved_numbers(cell, shape) + 3 * max(each.kept for each in convolutions)
