"""What one cell needs, from its sizes alone: for planning, so without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from models.cell import Cell

EVALUATION_ROWS = 1000  # of a cell at a time: `models.evaluation.IMAGES` × `CHAINS`, whose module loads torch


@dataclass(frozen=True)
class Size:
    """Of one cell.

    - `parameters`: trained numbers.
    - `flops`: floating-point operations of a training step's matrix products, forward and backward.
    - `memory_bytes`: weights, moments and gradients, and what one step keeps for its gradient; or what its evaluation
      takes, where that is more.
    """

    parameters: int
    flops: int
    memory_bytes: int


def mlp(cell: Cell, features: int, samples: int = 1) -> Size:
    """The hierarchical MLP of `models.networks.mlp`, trained with `samples` ancestral chains an image."""
    cell = cell.canonical()
    image_rows = cell.batch_size  # the first map sees the image once for all chains
    rows = image_rows * samples
    prior_rows = rows * (cell.smoothing_samples if cell.smoothed else 1)
    # Averaging over samples commutes with the head of the mean, which then runs once.
    mean_rows = prior_rows if cell.smoothing == "ratio" else rows
    below = (features, *cell.latent_sizes[:-1])
    parameters = forward = activations = 0
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        up = [*pairwise((below[i], *hidden)), (hidden[-1], units), (hidden[-1], units)]
        hidden_down, head = [*pairwise((units, *hidden[::-1]))], (hidden[0], below[i])
        maps = [(image_rows if i == 0 else rows, up)]
        if i == 0:
            maps += [(rows, [*hidden_down, head])]
        else:
            maps += [(prior_rows, [*hidden_down, head]), (mean_rows, [head])]
        parameters += sum((inputs + 1) * outputs for _, affine in maps for inputs, outputs in affine)
        forward += sum(2 * count * inputs * outputs for count, affine in maps for inputs, outputs in affine)
        # about four tensors of each activation's size live at once: before and after, noise or temporary, gradient
        activations += sum(4 * count * outputs for count, affine in maps for _, outputs in affine)
    # Backward is two products for each forward, but for the image, which needs no gradient.
    flops = 3 * forward - 2 * image_rows * features * cell.hidden_sizes[0][0]
    number_bytes = 8 if cell.precision == "float64" else 4
    numbers = max(4 * parameters + activations, 3 * parameters + EVALUATION_ROWS * _evaluated_numbers(cell, features))
    return Size(parameters, flops, number_bytes * numbers)


def _evaluated_numbers(cell: Cell, features: int) -> int:
    """Numbers alive at once for a row of an evaluation.

    Those of the image's likelihood, of all layers' terms, partly in float64, and of a hidden layer before and after its
    activation. Measured, as peaks of stacks of 12 less weights and moments: 6,800 for 40-40-40-40 (200-200) on 784
    pixels, where this says 7,000, and 7,400 for 64-32-16-8 (512-512), where it says 7,200.
    """
    widest = max(max(hidden) for hidden in cell.hidden_sizes)
    return 6 * features + 12 * sum(cell.latent_sizes) + 2 * widest
