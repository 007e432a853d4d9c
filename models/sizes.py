"""What one cell needs, from its sizes alone: for planning, so without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.cell import Cell


@dataclass(frozen=True)
class Size:
    """Of one cell.

    - `parameters`: trained numbers.
    - `flops`: floating-point operations of a training step's matrix products, forward and backward.
    - `memory_bytes`: weights, moments and gradients, and what one step keeps for its gradient.
    """

    parameters: int
    flops: int
    memory_bytes: int


def mlp(cell: Cell, features: int, samples: int = 1) -> Size:
    """The hierarchical MLP of `models.networks.mlp`, trained with `samples` ancestral chains an image."""
    cell = cell.canonical()
    rows_above_x = cell.batch_size * samples  # every map but the first, which sees the image once for all chains
    below = (features, *cell.latent_sizes[:-1])
    rows_of_prior = rows_above_x * (cell.smoothing_samples if cell.smoothed else 1)
    parameters = products = activations = 0
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        up = [*_affine((below[i], *hidden)), (hidden[-1], units), (hidden[-1], units)]
        heads = 1 if i == 0 else 2
        down = [*_affine((units, *hidden[::-1])), *[(hidden[0], below[i])] * heads]
        parameters += sum((inputs + 1) * outputs for inputs, outputs in up + down)
        up_rows = cell.batch_size if i == 0 else rows_above_x
        down_rows = rows_above_x if i == 0 else rows_of_prior
        for rows, maps in ((up_rows, up), (down_rows, down)):
            products += rows * sum(inputs * outputs for inputs, outputs in maps)
            # about four tensors of each activation's size live at once: before and after, noise or temporary, gradient
            activations += 4 * rows * sum(outputs for _, outputs in maps)
    number_bytes = 8 if cell.precision == "float64" else 4
    return Size(parameters, 6 * products, number_bytes * (4 * parameters + activations))


def _affine(sizes: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(sizes))
