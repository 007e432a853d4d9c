"""What one cell needs, from its sizes alone: for planning, so without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from models.cell.cell import Cell


@dataclass(frozen=True)
class Size:
    """Of one cell.

    - `parameters`: trained numbers.
    - `flops`: floating-point operations of a training step's matrix products, forward and backward.
    - `memory_bytes`: at its peak, in training or while a checkpoint is written.
    """

    parameters: int
    flops: int
    memory_bytes: int


@dataclass(frozen=True)
class Affine:
    """An affine map in a training step: `rows` of so many inputs to so many outputs; `of_data`: none flows back."""

    rows: int
    inputs: int
    outputs: int
    of_data: bool = False

    @property
    def flops(self) -> int:
        """Of its matrix products: one forward, one for the weight's gradient and one for the input's."""
        return (4 if self.of_data else 6) * self.rows * self.inputs * self.outputs


def mlp_maps(cell: Cell, features: int, samples: int = 1, lowest: int = 1) -> list[Affine]:
    """Every affine map of a training step of the hierarchical MLP, once for each time it is applied.

    lowest: the first layer that has maps.
    """
    cell = cell.canonical()
    image_rows = cell.batch_size  # the first map sees the image once for all chains
    rows = image_rows * samples
    prior_rows = rows * (cell.smoothing_samples if cell.smoothed else 1)
    # Averaging over samples commutes with the head of the mean, which then runs once.
    mean_rows = prior_rows if cell.smoothing == "ratio" else rows
    below = (features, *cell.latent_sizes[:-1])
    maps = []
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        up_rows = rows if i else image_rows
        up = [*pairwise((below[i], *hidden)), (hidden[-1], units), (hidden[-1], units)]
        down_rows = prior_rows if i else rows
        down = [*pairwise((units, *hidden[::-1]))]
        heads = [prior_rows, mean_rows] if i else [rows]
        if i + 1 < lowest:
            continue
        maps += [Affine(up_rows, *sizes, of_data=i + 1 == lowest and not place) for place, sizes in enumerate(up)]
        maps += [Affine(down_rows, *sizes) for sizes in down]
        maps += [Affine(count, hidden[0], below[i]) for count in heads]
    return maps


def mlp(cell: Cell, features: int, samples: int = 1, lowest: int = 1) -> Size:
    """The hierarchical MLP of `models.networks.mlp`, trained with `samples` ancestral chains per image."""
    maps = mlp_maps(cell, features, samples, lowest)
    parameters = sum((each.inputs + 1) * each.outputs for each in maps)
    number_bytes = 8 if cell.precision == "float64" else 4
    # Weights, gradient and two moments. On top, during a step, what it keeps for its gradient; during a checkpoint,
    # a copy of weights and moments. (An evaluation takes a few cells at a time, whatever the stack.)
    numbers = 4 * parameters + max(_kept(cell, features, samples), 3 * parameters)
    return Size(parameters, sum(each.flops for each in maps), number_bytes * numbers)


def null_mlp(cell: Cell, features: int, samples: int = 1) -> Size:
    """The same without the maps between x and z₁. Its memory counts what these would keep: more than enough."""
    return mlp(cell, features, samples, lowest=2)


def _kept(cell: Cell, features: int, samples: int) -> int:
    """Numbers that live at once in a training step of a cell beside its state, as measured: `benchmarks memory`."""
    rows, prior_rows = cell.batch_size * samples, cell.batch_size * samples
    if cell.smoothed:
        prior_rows *= cell.smoothing_samples
    kept, widest = 2 * rows * features, 0  # logits, and their slope
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        below, down = cell.latent_sizes[i - 1], prior_rows if i else rows
        kept += rows * (sum(hidden) + 5 * units)  # z, its noise, mean, deviation and its slope
        kept += down * sum(hidden)
        if i:
            kept += down * (2 * units + 2 * below) + rows * (hidden[0] + 3 * below)
        widest = max(widest, down * max(hidden))
    return kept + 3 * widest  # gradients on their way
