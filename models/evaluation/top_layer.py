"""The training objective as a function of the top layer's own maps, at trained weights and at any ρ.

The top layer is alive or dead by its two maps alone, z_{L−1} → z_L and back. Both predictions that look at their
gradient (`noise_balance`, `stability`) take minibatches, draws and the gradient from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.draws.draws import Draws, Purpose, generator
from models.objectives.smoothing import Smoothing
from models.stack.stack import Stack


class Minibatch:
    """Training images with their noise: the same numbers whatever ρ and weights they are used with.

    Args:
        stack: of one cell.
        source: draws of one seed; `number`: which minibatch.
        size: images, drawn with replacement beyond as many as there are.
        smoothing_samples: S.
    """

    def __init__(self, stack: Stack, source: Draws, number: int, size: int, smoothing_samples: int):
        data, latents = stack.dataset, stack.network.latents
        chosen = generator(source.distinct[0], Purpose.NOISE_IMAGES, step=number)
        places = torch.from_numpy(chosen.choice(len(data.train), size, replace=size > len(data.train)))
        rows = stack.images[places.to(stack.device)]
        x = data.observe(rows, lambda: source.uniform(Purpose.NOISE_BINARISE, rows.shape, number)[0])
        self.x = x.to(stack.dtype)[None, None]  # (1, 1, size, features)
        self.noise = [
            source.normal(Purpose.NOISE_LATENT, (1, size, units), number, layer)
            for layer, units in enumerate(latents, start=1)
        ]
        self.smooth = [
            source.normal(Purpose.NOISE_SMOOTH, (smoothing_samples, size, units), number, layer)
            for layer, units in enumerate(latents[1:], start=2)
        ]


def top_parameters(stack: Stack) -> list[str]:
    """Names of the parameters of the maps between z_{L−1} and z_L."""
    depth = len(stack.network.latents)
    return [parameter.name for parameter in stack.network.parameters() if parameter.layer == depth]


def gradient(
    stack: Stack, batch: Minibatch, rho: float, names: Sequence[str], values: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Gradient of the smoothed objective of a minibatch, nats per image, with respect to some parameters.

    The objective is what training maximises at this ρ, with the KL weight that its warm-up ends at and without free
    bits. Returns one flat tensor, in the order of `names`. `values`: of these parameters, in place of the stack's own.
    """
    own = {name: (values or stack.params)[name].detach().requires_grad_() for name in names}
    params = {name: tensor.detach() for name, tensor in stack.params.items()} | own
    smoothing = Smoothing(batch.x.new_full((1, 1, 1, 1), rho), batch.smooth) if rho < 1.0 else None
    terms = stack.network.terms(params, batch.x, batch.noise, smoothing)
    beta = stack.objective.kl_weight.end.view(-1, 1, 1)
    value = (terms.log_px - beta * sum(layer.term() for layer in terms.layers)).mean()
    found = torch.autograd.grad(value, list(own.values()))
    return torch.cat([each.reshape(-1) for each in found])
