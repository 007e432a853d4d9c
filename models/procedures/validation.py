"""What closed-loop schedules look at in training: validation images, binarised once, under noise of the cell's own.

Images, their pixels and the noise are the same at every validation of a cell, so that what differs between two of them
is the cell. They follow from its seed alone: neither other cells nor the evaluation that a study asks for have a say.
Validations belong to the end of a step, and come at absolute steps: a cell that is resumed is not validated twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.draws.draws import Purpose
from models.evaluation.mutual_information import information_of_top
from models.evaluation.refined import refined
from models.evaluation.settings import IMAGES
from models.stack.stack import Stack


def validations_every(stack: Stack) -> int:
    """Steps between validations: those asked for, or an epoch."""
    return int(stack.cells[0].validate_every) or len(stack.images) // stack.batch_size


def top_information(stack: Stack) -> Tensor:
    """Mutual information between validation image and top layer, of each cell, (cells,) float64, nats.

    At most the logarithm of the number of images, and from below (`models.evaluation.mutual_information`).
    """

    def observed(first: int, count: int) -> Tensor:
        return _observed(stack, first, count)

    return information_of_top(stack, _images(stack), observed, stack.draws, Purpose.VALIDATE_LATENT)


@torch.no_grad()
def validation_loss(stack: Stack) -> Tensor:
    """−ELBO of the validation images from one chain each, never smoothed and with β = 1, (cells,) float64, nats."""
    total = torch.zeros(len(stack.cells), dtype=torch.float64, device=stack.device)
    images = _images(stack)
    for first in range(0, images, IMAGES):
        x = _observed(stack, first, min(IMAGES, images - first))
        noise = [
            stack.draws.normal(Purpose.VALIDATE_LATENT, (1, x.shape[2], units), first, layer)
            for layer, units in enumerate(stack.network.latents, start=1)
        ]
        everything = slice(None), stack.network, stack.params, x, stack.draws, first
        given = refined(stack, *everything, purpose=Purpose.VALIDATE_REFINE)
        terms = stack.network.terms(stack.params, x, noise, given=given)
        for each in (-terms.log_px, *(layer.term() for layer in terms.layers)):
            total += each.double().expand(-1, 1, x.shape[2]).sum((1, 2))
    return total / images


def _images(stack: Stack) -> int:
    return min(int(stack.cells[0].validate_images), len(stack.dataset.validation))


def _observed(stack: Stack, first: int, count: int) -> Tensor:
    """Some of the validation images, (cells, 1, count, features)."""
    rows = torch.tensor(stack.dataset.validation[first : first + count]).to(stack.device)
    x = stack.dataset.observe(rows, lambda: stack.draws.uniform(Purpose.VALIDATE_BINARISE, rows.shape, first))
    seen: Tensor = x.to(stack.dtype)
    return seen.expand(len(stack.cells), *rows.shape).unsqueeze(1)
