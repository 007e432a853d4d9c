"""What a network is given in an evaluation: binarised images and noise.

Both follow from the settings' seed and the place of images and chains alone, and are the same for all cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.draws.draws import Draws, Purpose
from models.evaluation.which import ImageBlock
from models.stack.stack import Stack


def binarised(
    stack: Stack, images: Any, source: Draws, first: int, purpose: Purpose = Purpose.EVALUATE_BINARISE
) -> Tensor:
    """Images as the network sees them, binarised once and for all cells alike: (cells, 1, images, features)."""
    rows = torch.tensor(images).to(stack.device)
    x: Tensor = stack.dataset.observe(rows, lambda: source.uniform(purpose, rows.shape, first)[0])
    return x.to(stack.dtype).expand(len(stack.cells), 1, *x.shape)


def noise_of(
    stack: Stack, source: Draws, purpose: Purpose, images: ImageBlock, chains: range, number: int = 0
) -> list[Tensor]:
    """Of every layer, (1, chains, images, units); `number` counts the images' blocks of chains."""
    layers = enumerate(stack.network.latents, start=1)
    shape = len(chains), images.count
    return [source.normal(purpose, (*shape, units), images.first, layer, number) for layer, units in layers]
