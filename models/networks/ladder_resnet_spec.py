"""What is known of the convolutional Ladder VAE without torch: its options, its convolutions, what a cell needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.latents import MapShape
from models.cell.size import Size
from models.networks.convolution_spec import ENTRY, Conv, Convolution, applied, halvings, map_convs
from models.networks.ladder_spec import ONLY, TopDownOptions, other_than
from models.networks.resnet_spec import ResnetOptions, generative_convs

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class LadderResnetOptions(TopDownOptions, ResnetOptions):
    """Latent maps, the convolutions between them, and how the ways up and down meet."""

    merge: str = option(
        "precision", "how q takes what comes from above: `precision`, a Gaussian, and both weighed by their precisions "
        "(Sønderby et al. 2016); `features`, beside the image's features into a residual block",
        choices=("precision", "features"), shape=True, since=5,
    )  # fmt: skip

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with a ladder."""
        return super().conflicts(cell) | other_than(ONLY, cell)

    def canonical(self) -> LadderResnetOptions:
        """Of a single layer nothing is merged."""
        made: LadderResnetOptions = super().canonical()  # type: ignore[assignment]
        return replace(made, merge="precision", shared_top_down="yes") if len(self.latent_sizes) == 1 else made

    def words(self, network: str) -> str:
        """The network in words, with what is not as in the paper."""
        more = " merging features" * (self.merge == "features") + " unshared" * (self.shared_top_down == "no")
        return super().words(network) + more


def path_up(options: ResnetOptions, image: ImageShape) -> list[list[Conv]]:
    """The convolutions that lead to the image's features at layers 1 … L, from those of the layer below."""
    first, *coarser = options.latent_grids
    found = [map_convs(MapShape(*image), first, 0, options.maps, options.blocks, ENTRY)[:-1]]
    below = first
    for grid in coarser:
        times = halvings(below[1:], grid[1:]) or 0
        down = [Conv("down", options.maps, options.maps, below.positions >> 2 * n, 3, 2) for n in range(1, times + 1)]
        found.append(down + _blocks(options.maps, options.blocks, grid))
        below = grid
    return found


def _blocks(maps: int, blocks: int, grid: MapShape) -> list[Conv]:
    return [Conv(kind, maps, maps, grid.positions) for _ in range(blocks) for kind in ("inner", "last")]


def head(maps: int, outputs: int, grid: MapShape) -> Conv:
    """A head for mean and deviation of so many maps on a grid."""
    return Conv("head", maps, 2 * outputs, grid.positions)


def merge_convs(maps: int, grid: MapShape) -> list[Conv]:
    """The convolutions of `models.networks.residual_path.Merge` for a layer of that grid."""
    return [Conv("joined", 2 * maps, maps, grid.positions), *_blocks(maps, 1, grid), head(maps, grid.maps, grid)]


def merging(convs: Sequence[Conv], images: int, rows: int) -> list[Convolution]:
    """What a merge applies: half of its first convolution sees as many `images` as rows, everything else `rows`."""
    joined, *others = convs
    half = joined._replace(inputs=joined.inputs // 2)
    return [Convolution(images, half), Convolution(rows, half), *applied(others, rows)]


def _inference(options: LadderResnetOptions, image: ImageShape) -> tuple[list[list[Conv]], list[list[Conv]]]:
    """What q adds to the path up, layer by layer: heads or merges, and its own maps down, or none."""
    grids, by_precision = options.latent_grids, options.merge == "precision"
    heads = [
        [head(options.maps, grid.maps, grid)]
        if by_precision or place + 1 == len(grids)
        else merge_convs(options.maps, grid)
        for place, grid in enumerate(grids)
    ]
    own = generative_convs(options, image, 1)[1:] if options.shared_top_down == "no" else []
    return heads, own if by_precision else [each[:-1] for each in own]


def ladder_resnet_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory.

    The way up sees every image once, whatever the chains; the way down, and what merges, every chain.
    """
    cell = cell.canonical()
    options: LadderResnetOptions = cell.options("network")
    images, rows = cell.batch_size, cell.batch_size * cell.training_chains
    heads, own = _inference(options, shape)
    up, down = path_up(options, shape), generative_convs(options, shape, cell.output_maps(shape))
    found: list[Convolution] = []
    for place, path in enumerate(up):
        found += applied(path, images, of_data=not place)
    for each in heads:
        found += applied(each, images) if len(each) == 1 else merging(each, images, rows)
    for each in [*down, *own]:
        found += applied(each, rows)
    return needed(cell, shape, [*up, *heads, *down, *own], found)


def needed(cell: Cell, shape: ImageShape, maps: Sequence[Sequence[Conv]], found: Sequence[Convolution]) -> Size:
    """The size of a cell with these maps, whose convolutions are applied as `found` has them in a training step."""
    outputs = cell.output_maps(shape) * shape.positions  # each with a bias of its own
    more = 2 if cell.normalization == "weight" else 1  # a bias, and a length
    parameters = sum(each.weights + more * each.outputs for convs in maps for each in convs) + outputs
    rows = cell.batch_size * cell.training_chains
    kept = sum(each.kept + each.rows * each.outputs * (each.conv.kind == "head") for each in found)
    kept += rows * (2 * outputs + 8 * sum(cell.latent_sizes))
    kept += 4 * max(each.kept for each in found)  # gradients on their way
    number_bytes = 8 if cell.precision == "float64" else 4
    numbers = 4 * parameters + max(kept, 3 * parameters)  # as of `mlp_size`
    return Size(parameters, sum(each.flops for each in found), number_bytes * numbers)
