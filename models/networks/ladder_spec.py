"""What is known of the Ladder VAE without torch: its options, its name in words, and what a cell of it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.size import Affine, Size
from models.networks.mlp_spec import MlpOptions

if TYPE_CHECKING:
    from models.cell.cell import Cell

UNSMOOTHABLE = (
    "z_i is drawn given z_{i+1} itself: smoothed samples of z_{i+1} in p(z_i|z_{i+1}) would not be the one that z_i "
    "depends on, and even with one sample, S = 1, the objective would not be that of the plain model"
)
ONLY = {  # of other fields of a cell: the value that a ladder goes with, and why no other
    "posterior": ("gaussian", "what q merges by their precisions are Gaussians"),
    "prior": ("normal", "a prior made of q(z_L|·) would take each of its inputs the whole way up, which is not built"),
    "gradient_estimator": ("plain", "the others detach q's parameters, among which are maps that it shares with p"),
}


@dataclass(frozen=True)
class TopDownOptions:
    """What q takes from above."""

    shared_top_down: str = option(
        "yes", "whether q's way down has the maps of p(z_i|z_{i+1}): `yes` (Sønderby et al. 2016), or `no`: its own",
        choices=("no", "yes"), shape=True, since=4,
    )  # fmt: skip


@dataclass(frozen=True)
class LadderOptions(TopDownOptions, MlpOptions):
    """Sizes as of the hierarchical MLP, and what q takes from above."""

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with a ladder."""
        return other_than(ONLY, cell)

    def words(self, network: str) -> str:
        """`ladder 40-40 (200-200)`, with `unshared` where q has top-down maps of its own."""
        return f"{super().words(network)}{'' if self.shared_top_down == 'yes' else ' unshared'}"


def other_than(only: Mapping[str, tuple[str, str]], cell: Cell) -> dict[str, str]:
    """A sentence for each field of the cell that has another value than the one its network goes with.

    only: by field, that value and why there is no other.
    """
    said = {name: getattr(cell, name) for name in only if hasattr(cell, name)}
    return {
        name: f"{name} should be {only[name][0]} with network {cell.network}, got {value}, because {only[name][1]}"
        for name, value in said.items()
        if value not in (None, only[name][0])
    }


def ladder_maps(cell: Cell, shape: ImageShape, chains: int = 0) -> list[Affine]:
    """Every affine map of a training step, once for each time it is applied; arguments as of `mlp_maps`.

    The way up is deterministic: it sees every image once, whatever the chains, and all but the top layer's way down
    sees every chain.
    """
    cell = cell.canonical()
    image_rows, rows = cell.batch_size, cell.batch_size * (chains or cell.training_chains)
    top_down = 1 if cell.shared_top_down == "yes" else 2
    maps, outputs = [], (cell.output_maps(shape) * shape.positions, *cell.latent_sizes[:-1])
    inputs = shape.features  # of the way up: an image, then the features of the layer below
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        up = [*pairwise((inputs, *hidden)), (hidden[-1], units), (hidden[-1], units)]
        maps += [Affine(image_rows, *sizes, of_data=not i and not place) for place, sizes in enumerate(up)]
        down = [*pairwise((units, *hidden[::-1])), *[(hidden[0], outputs[i])] * (2 if i else 1)]
        maps += [Affine(rows, *sizes) for sizes in down * (top_down if i else 1)]
        inputs = hidden[-1]
    return maps


def ladder_size(cell: Cell, shape: ImageShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory."""
    maps = ladder_maps(cell, shape)
    parameters = sum((each.inputs + 1) * each.outputs for each in maps)
    number_bytes = 8 if cell.precision == "float64" else 4
    numbers = 4 * parameters + max(_kept(cell, shape), 3 * parameters)  # as of `mlp_size`
    return Size(parameters, sum(each.flops for each in maps), number_bytes * numbers)


def _kept(cell: Cell, shape: ImageShape) -> int:
    """Numbers that live at once in a training step of a cell beside its state, as measured: `benchmarks memory`."""
    images, rows = cell.batch_size, cell.batch_size * cell.training_chains
    top_down = 1 if cell.shared_top_down == "yes" else 2
    kept, widest = 2 * rows * cell.output_maps(shape) * shape.positions, 0  # logits, and their slope
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        below = cell.latent_sizes[i - 1] if i else 0
        kept += images * (sum(hidden) + 5 * units) + rows * (sum(hidden) + 8 * units)
        kept += top_down * rows * ((sum(hidden) if i else 0) + 6 * below)
        widest = max(widest, rows * max(hidden))
    return int(kept + 3 * widest)  # gradients on their way
