"""The vanilla hierarchical VAE: bottom-up inference, top-down generation, two-hidden-layer MLPs between.

    q(z|x) = q(z₁|x) Π q(z_{i+1}|z_i)          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L),   p(z_L) = N(0, I)

All diagonal Gaussian (Sønderby et al. 2016, "vanilla"; Pervez & Gavves 2021, §5). Because z_{i+1} is drawn *from* z_i,
layer i < L contributes log q(z_i|z_{i−1}) − log p(z_i|z_{i+1}) at the same samples. The closed-form KL there treats
z_i and z_{i+1} as independent: another, looser objective that collapses the upper layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.cell import Cell
from models.kernels.layers import Parameter, bernoulli_log_prob, normal_kl, normal_log_prob, standard_normal_log_prob
from models.kernels.perceptron import Perceptron
from models.networks import Layer, Terms

if TYPE_CHECKING:
    from models.objectives.smoothing import Smoothing

_INFERENCE, _GENERATIVE = 0, 1 << 16  # places of parameters' draws: never renumbered


class HierarchicalMLP:
    """Maps of one cell shape.

    Args:
        cell: sizes, activation and likelihood.
        features: of x.
        mean_pixel: (features,), the mean of the training data: the output bias starts there (as its logit, clipped to
            [0.001, 0.999], for Bernoulli pixels). Without it training starts some 30 nats behind.
    """

    def __init__(self, cell: Cell, features: int, mean_pixel: np.ndarray):
        self.latents, self.likelihood, self.features = cell.latent_sizes, cell.likelihood, features
        below = (features, *cell.latent_sizes[:-1])
        act, depth = cell.activation, cell.depth
        hidden = cell.hidden_sizes
        if cell.likelihood == "bernoulli":
            pixel = np.clip(mean_pixel, 0.001, 0.999)
            output_bias = np.log(pixel) - np.log1p(-pixel)
        else:
            output_bias = mean_pixel
        # The maps of layer i: inference from z_{i−1} to z_i, generation from z_i to z_{i−1} (x for i = 1).
        self.inference = [
            Perceptron(f"inference.{i + 1}", (below[i], *hidden[i], self.latents[i]), act, i + 1, _INFERENCE)
            for i in range(depth)
        ]
        down = [(self.latents[i], *hidden[i][::-1], below[i]) for i in range(depth)]
        self.generative = [
            Perceptron("generative.1", down[0], act, 1, _GENERATIVE, deviation=False, bias=output_bias),
            *(Perceptron(f"generative.{i + 1}", down[i], act, i + 1, _GENERATIVE) for i in range(1, depth)),
        ]

    def parameters(self) -> list[Parameter]:
        """Hidden layers and heads of every map, from the data up."""
        maps = zip(self.inference, self.generative, strict=True)
        return [parameter for pair in maps for each in pair for parameter in each.parameters()]

    def terms(
        self,
        params: Mapping[str, Tensor],
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        decoder_variance: Tensor | None = None,
    ) -> Terms:
        """One ancestral pass up and the generative terms down. Arguments and shapes: see `models.networks.Network`."""
        below, q = x, []
        for i, eps in enumerate(noise):
            mean, deviation = self._posterior(params, i + 1, below)
            z = torch.addcmul(mean, deviation, eps)
            q.append((z, mean, deviation, eps))
            below = z

        layers = []
        for i, (z, mean, deviation, eps) in enumerate(q):
            # log q at its own sample, (z − μ)/σ = ε exactly
            log_q = standard_normal_log_prob(eps) - deviation.log().sum(-1)
            if i + 1 < len(q):
                p_mean, p_deviation = self._prior(params, i + 1, q[i + 1], smoothing)
                log_p, kl = normal_log_prob(z, p_mean, p_deviation), None
            else:
                log_p, kl = standard_normal_log_prob(z), normal_kl(mean, deviation)
            layers.append(Layer(z, mean, log_q, log_p, kl, deviation))
        return Terms(self._log_px(params, x, q[0][0], decoder_variance), tuple(layers))

    def _posterior(self, params: Mapping[str, Tensor], i: int, below: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of q(z_i|z_{i−1}), each (cells, samples, batch, units of layer i); `i` from 1."""
        return self.inference[i - 1].gaussian(params, below)

    def _prior(
        self, params: Mapping[str, Tensor], i: int, above: tuple[Tensor, ...], smoothing: Smoothing | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation of p(z_i|z_{i+1}), each (cells, samples, batch, units of layer i); `i` from 1."""
        z, mean, deviation, _ = above
        down = self.generative[i]
        if smoothing is None:
            return down.gaussian(params, z)
        samples = smoothing.samples(i + 1, z, mean, deviation)
        if not smoothing.ratio:
            return down.gaussian(params, samples, average=True)
        p_mean, p_deviation = down.gaussian(params, samples)
        smooth_deviation = p_deviation.mean(1, keepdim=True)
        return smooth_deviation * (p_mean / p_deviation).mean(1, keepdim=True), smooth_deviation

    def image(self, params: Mapping[str, Tensor], noise: Sequence[Tensor], z: Tensor | None = None) -> Tensor:
        """See `models.networks.Network`."""
        if z is None:
            *noise, z = noise
        for i in range(len(noise), 0, -1):
            mean, deviation = self.generative[i].gaussian(params, z)
            z = torch.addcmul(mean, deviation, noise[i - 1])
        out = self._output(params, z)
        return out.sigmoid() if self.likelihood == "bernoulli" else out

    def _output(self, params: Mapping[str, Tensor], z: Tensor) -> Tensor:
        """Logits or mean of p(x|z₁)."""
        return self.generative[0].mean(params, z)

    def _log_px(self, params: Mapping[str, Tensor], x: Tensor, z: Tensor, variance: Tensor | None) -> Tensor:
        """log p(x|z₁), (cells, samples, batch); never smoothed."""
        out = self._output(params, z)
        if self.likelihood == "bernoulli":
            return bernoulli_log_prob(x, out)
        deviation = out.new_ones(()) if variance is None else variance.sqrt()
        return normal_log_prob(x, out, deviation)
