"""What a trained cell draws: what is left of an image after a way up the layers and down again, and samples.

The way through z₁ alone shows the decoder, which every trained cell has; the way through the top layer shows what that
layer knows of the image, which is nothing where it has collapsed. Nothing is smoothed. Images and noise follow from the
seed of the evaluation alone: all cells draw the same images, binarised as they were evaluated, with the same noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.draws.draws import Purpose, draws_on
from models.evaluation.inputs import binarised
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack

Pictures = dict[str, npt.NDArray[np.uint8]]


def draw_pictures(stack: Stack, settings: Evaluation, count: int) -> list[Pictures]:
    """Pictures of every cell of a stack as it stands, each by what it shows, uint8 of shape (count, height, width), or
    (count, channels, height, width) in colour.

    `images`: the first ones of the evaluated split, as the network sees them; `from z1`, `from zL` (L > 1): the mean of
    p(x|z₁) after a way up to that layer and down again; `samples`: the same from the prior. Real values are shown from
    0 (black) to 1 (white). `count` is cut to the images that the split has.
    """
    network, features = stack.network, stack.dataset.features
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    x = binarised(stack, getattr(stack.dataset, settings.split)[:count], source, 0)
    n, top = x.shape[2], len(network.latents)

    def noise(purpose: Purpose, layers: int) -> list[Tensor]:
        sizes = enumerate(network.latents[:layers], start=1)
        made = (source.normal(purpose, (1, n, units), layer=layer) for layer, units in sizes)
        return [each.expand(len(stack.cells), -1, -1, -1) for each in made]

    with torch.no_grad():
        up = network.terms(stack.params, x, noise(Purpose.PICTURE_UP, top)).layers
        drawn = {"images": x, "from z1": network.image(stack.params, [], up[0].z, [each.z for each in up[1:]])}
        if top > 1:
            drawn[f"from z{top}"] = network.image(stack.params, noise(Purpose.PICTURE_DOWN, top - 1), up[-1].z)
        drawn["samples"] = network.image(stack.params, noise(Purpose.PICTURE_SAMPLE, top))
    shape = (n, *stack.dataset.shape.array)
    grey = {
        name: (images.reshape(len(stack.cells), n, features).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        for name, images in drawn.items()
    }
    return [{name: images[cell].reshape(shape) for name, images in grey.items()} for cell in range(len(stack.cells))]
