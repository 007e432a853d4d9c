"""What a trained cell is worth: bounds, KL terms and active units, on images it never saw and never smoothed.

One sweep over whole ancestral chains serves all of it. `models.evaluation.which` says of which images and how many
chains; every metric has an accumulator of its own (`accumulators_of`), which sees the network's terms of block after
block and in the end gives its columns. After the chains of a block of images comes one more, on a second binarisation
of them, for what the one binarisation adds to the error of the ELBO.

What costs extra is measured on request by functions beside the accumulators (`DIAGNOSES`), with draws of their own.

A few cells are taken at a time, so that memory is bounded for any stack, and a cell's numbers do not depend on the
cells evaluated beside it. Noise and binarisation follow from the settings' seed alone and are the same for all cells.
The compiled passes of `models.kernels.elementwise` are used as in training, where this process has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.cell import find
from models.data.sequences import scored
from models.draws.draws import Draws, Purpose, draws_on
from models.evaluation.accumulators import Accumulator, ChainBlock, Sizes
from models.evaluation.activities import Activities
from models.evaluation.bits import BitsPerDim
from models.evaluation.bound import Bound
from models.evaluation.classification import classification
from models.evaluation.elbo import BinarisationError, Elbo, LayerTerms, Means, Reconstruction, TopUnits
from models.evaluation.gradient_variance import gradient_variance
from models.evaluation.hermite_spectrum import hermite_spectrum
from models.evaluation.inputs import binarised, noise_of
from models.evaluation.mutual_information import mutual_information
from models.evaluation.perplexity import Perplexity
from models.evaluation.posterior_mean import posterior_mean
from models.evaluation.refined import AGAIN, BOUNDS, refined
from models.evaluation.settings import IMAGES, Evaluation
from models.evaluation.which import CHAINS, ImageBlock, evaluated_images, image_blocks
from models.networks.network import Network, Numbers
from models.stack.stack import Stack

NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 27}  # of the widest activation of a block, over the cells taken at a time

# What is measured where a setting of that name is not 0: a function of (stack, images, settings, which cells at a time,
# `between`) to the columns of each cell.
DIAGNOSES: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "mutual_information": mutual_information,
    "gradient_variance": gradient_variance,
    "hermite_spectrum": hermite_spectrum,
    "posterior_mean": posterior_mean,
    "classification": classification,
}


def evaluate(
    stack: Stack, settings: Evaluation, quick: bool = False, between: Callable[[], object] = lambda: None
) -> list[dict[str, Any]]:
    """Evaluate every cell of a stack as it stands.

    Args:
        stack: trained cells; nothing in it is changed.
        settings: split, images, K and the images that have so many chains, seed, threshold.
        quick: take K chains only, too few to tell active from noisy units (then `active_units` is None), and no second
            binarisation.
        between: called before every block, about 1,000 rows per cell; what it raises ends the evaluation.

    Returns:
        One dict per cell, keyed by the columns of a results row, of `DIAGNOSES` those that the settings ask for; nats
        per image, Python numbers and lists.
    """
    images = evaluated_images(stack.dataset, settings)
    blocks = image_blocks(len(images), settings, quick)
    again = not quick and stack.dataset.kind == "probability"
    places = _places(stack)
    tokens = scored(images) if stack.dataset.kind == "tokens" else 0
    parts = _parts(stack, places, blocks, settings, again, tokens)
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    with torch.no_grad():
        for block in blocks:
            x = binarised(stack, images[block.here], source, block.first)
            given = [part.given(stack, x, source, block.first, BOUNDS) for part in parts]
            for number, chains in enumerate(block.chain_blocks()):
                between()
                noise = noise_of(stack, source, Purpose.EVALUATE_LATENT, block, chains, number)
                for part, own in zip(parts, given, strict=True):
                    part.add(x, noise, block, chains, own)
            if again:
                between()
                x = binarised(stack, images[block.here], source, block.first, Purpose.EVALUATE_BINARISE_AGAIN)
                noise = noise_of(stack, source, Purpose.EVALUATE_LATENT_AGAIN, block, range(1))
                for part in parts:
                    own = part.given(stack, x, source, block.first, AGAIN)
                    part.add(x, noise, block, range(1), own, again=True)
            for part in parts:
                part.end_of_images(block)
    some = len(images) < len(getattr(stack.dataset, settings.split))
    common = {"split": settings.split, "images": len(images)}
    which = {"image_choice": settings.image_choice if some else "all"}
    rows = [common | part.row(cell) | which for part in parts for cell in range(part.cells)]
    for name, diagnose in DIAGNOSES.items():
        if getattr(settings, name):
            found = diagnose(stack, images, settings, places, between)
            rows = [row | more for row, more in zip(rows, found, strict=True)]
    return rows


def accumulators_of(
    sizes: Sizes, settings: Evaluation, again: bool, levels: int = 0, tokens: int = 0
) -> list[Accumulator]:
    """One per metric, in the order of the columns.

    again: the images are binarised a second time; levels: values of an image that are levels and have a probability;
    tokens: of sequences, the symbols that are scored.
    """
    means, k = Means(sizes), settings.importance_samples
    elbo, bound = Elbo(means), Bound(sizes, means, k)
    return [
        means,
        elbo,
        BinarisationError(sizes, means, known=again and k > 1),
        Reconstruction(means),
        LayerTerms(means),
        TopUnits(sizes),
        Activities(sizes, settings.active_threshold),
        bound,
        *([BitsPerDim(elbo, bound, levels)] if levels else []),
        *([Perplexity(bound, tokens)] if tokens else []),
    ]


@dataclass(frozen=True)
class _Part:
    """Cells that are evaluated at a time, and what is gathered of them."""

    here: slice
    network: Network
    params: dict[str, Tensor]
    cells: int
    accumulators: list[Accumulator]

    def given(self, stack: Stack, x: Tensor, source: Draws, first: int, use: int) -> list[Numbers] | None:
        """Numbers of q for the images of a block where they are refined: see `models.evaluation.refined`."""
        return refined(stack, self.here, self.network, self.params, x[: self.cells], source, first, use)

    def add(
        self,
        x: Tensor,
        noise: Sequence[Tensor],
        images: ImageBlock,
        chains: range,
        given: list[Numbers] | None,
        again: bool = False,
    ) -> None:
        """Some chains of the images of a block, for every metric."""
        refined_numbers: dict[str, Any] = {} if given is None else {"given": given}
        terms = self.network.terms(self.params, x[: self.cells], noise, **refined_numbers)
        block = ChainBlock(terms, images, chains, again)
        for each in self.accumulators:
            each.add(block)

    def end_of_images(self, images: ImageBlock) -> None:
        for each in self.accumulators:
            each.end_of_images(images)

    def row(self, cell: int) -> dict[str, Any]:
        """The columns of all metrics of one of the cells."""
        found: dict[str, Any] = {}
        for each in self.accumulators:
            found |= each.row(cell)
        return found


def _places(stack: Stack) -> list[slice]:
    """The stack's cells in order, as many at a time as `NUMBERS` allows, two where they take no longer than one."""
    widest = getattr(stack.network, "widest", 0) or max(param.shape[-1] for param in stack.params.values())
    least = 2 if getattr(stack.network, "twofold", False) and stack.device.type == "cpu" else 1
    few = max(least, NUMBERS[stack.device.type] // (IMAGES * CHAINS * widest))
    return [slice(first, first + few) for first in range(0, len(stack.cells), few)]


def _parts(
    stack: Stack,
    places: Sequence[slice],
    blocks: Sequence[ImageBlock],
    settings: Evaluation,
    again: bool,
    tokens: int,
) -> list[_Part]:
    parts, levels = [], 0
    if stack.dataset.kind == "levels" and not find("likelihood", stack.cells[0].likelihood).density:
        levels = stack.dataset.features
    for here in places:
        sizes = Sizes(len(stack.cells[here]), stack.network.latents, tuple(blocks), stack.device)
        accumulators = accumulators_of(sizes, settings, again, levels, tokens)
        parts.append(_Part(here, *stack.part(here), sizes.cells, accumulators))
    return parts
