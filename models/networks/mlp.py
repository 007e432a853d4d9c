"""The vanilla hierarchical VAE: bottom-up inference, top-down generation, two-hidden-layer MLPs between.

    q(z|x) = q(z₁|x) Π q(z_{i+1}|z_i)          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L),   p(z_L) = N(0, I)

All diagonal Gaussian (Sønderby et al. 2016, "vanilla"; Pervez & Gavves 2021, §5). Because z_{i+1} is drawn *from* z_i,
layer i < L contributes log q(z_i|z_{i−1}) − log p(z_i|z_{i+1}) at the same samples. The closed-form KL there treats
z_i and z_{i+1} as independent: another, looser objective that collapses the upper layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from models.cell import Cell
from models.layers import (
    MLP,
    Parameter,
    affine,
    bernoulli_log_prob,
    linear,
    normal_kl,
    normal_log_prob,
    sigma,
)
from models.networks import Layer, Terms
from models.smoothing import Smoothing

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
        above = (*cell.latent_sizes[1:], 0)
        act, depth = cell.activation, cell.depth
        hidden = cell.hidden_sizes
        # The maps of layer i: inference from z_{i−1} to z_i, generation from z_i to z_{i−1} (x for i = 1).
        self.inference = [
            MLP(f"inference.{i + 1}", (below[i], *hidden[i]), act, i + 1, _INFERENCE) for i in range(depth)
        ]
        self.generative = [
            MLP(f"generative.{i + 1}", (cell.latent_sizes[i], *hidden[i][::-1]), act, i + 1, _GENERATIVE)
            for i in range(depth)
        ]
        self._above, self._below = above, below
        if cell.likelihood == "bernoulli":
            pixel = np.clip(mean_pixel, 0.001, 0.999)
            self.output_bias = np.log(pixel) - np.log1p(-pixel)
        else:
            self.output_bias = mean_pixel

    def parameters(self) -> list[Parameter]:
        """Hidden layers and heads of every map, from the data up."""
        found: list[Parameter] = []
        for i, units in enumerate(self.latents):
            up, down = self.inference[i], self.generative[i]
            found += [*up.parameters()]
            for place, head in enumerate(("mean", "deviation")):
                found += affine(f"{up.name}.{head}", up.sizes[-1], units, i + 1, up.place + 1000 + 2 * place)
            found += [*down.parameters()]
            if i == 0:
                bias = self.output_bias
                found += affine(f"{down.name}.mean", down.sizes[-1], self.features, 1, down.place + 1000, bias)
            else:
                for place, head in enumerate(("mean", "deviation")):
                    found += affine(
                        f"{down.name}.{head}", down.sizes[-1], self._below[i], i + 1, down.place + 1000 + 2 * place
                    )
        return found

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
        for up, eps in zip(self.inference, noise, strict=True):
            h = up(params, below)
            mean = linear(params, f"{up.name}.mean", h)
            deviation = sigma(linear(params, f"{up.name}.deviation", h))
            z = mean + deviation * eps
            q.append((z, mean, deviation, eps))
            below = z

        layers = []
        for i, (z, mean, deviation, eps) in enumerate(q):
            # log q at its own sample, (z − μ)/σ = ε exactly
            log_q = normal_log_prob(eps, eps.new_zeros(()), eps.new_ones(())) - deviation.log().sum(-1)
            if i + 1 < len(q):
                p_mean, p_deviation = self._prior(params, i + 1, q[i + 1], smoothing)
                layers.append(Layer(z, mean, log_q, normal_log_prob(z, p_mean, p_deviation)))
            else:
                log_p = normal_log_prob(z, z.new_zeros(()), z.new_ones(()))
                layers.append(Layer(z, mean, log_q, log_p, normal_kl(mean, deviation)))
        return Terms(self._log_px(params, x, q[0][0], decoder_variance), tuple(layers))

    def _prior(
        self, params: Mapping[str, Tensor], i: int, above: tuple[Tensor, ...], smoothing: Smoothing | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation of p(z_i|z_{i+1}), each (cells, samples, batch, units of layer i); `i` from 1."""
        z, mean, deviation, _ = above
        if smoothing is None:
            return self._plain_prior(params, i, z)
        down = self.generative[i]
        mean_head, deviation_head = f"{down.name}.mean", f"{down.name}.deviation"
        h = down(params, smoothing.samples(i + 1, z, mean, deviation))
        p_deviation = sigma(linear(params, deviation_head, h))
        smooth_deviation = p_deviation.mean(1, keepdim=True)
        if smoothing.ratio:
            ratio = (linear(params, mean_head, h) / p_deviation).mean(1, keepdim=True)
            return smooth_deviation * ratio, smooth_deviation
        # The mean over samples commutes with the linear head of the mean, so that head runs once.
        return linear(params, mean_head, h.mean(1, keepdim=True)), smooth_deviation

    def _plain_prior(self, params: Mapping[str, Tensor], i: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """The same without smoothing, from the sample of z_{i+1} alone."""
        down = self.generative[i]
        h = down(params, z)
        return linear(params, f"{down.name}.mean", h), sigma(linear(params, f"{down.name}.deviation", h))

    def image(self, params: Mapping[str, Tensor], noise: Sequence[Tensor], z: Tensor | None = None) -> Tensor:
        """See `models.networks.Network`."""
        if z is None:
            *noise, z = noise
        for i in range(len(noise), 0, -1):
            mean, deviation = self._plain_prior(params, i, z)
            z = mean + deviation * noise[i - 1]
        out = self._output(params, z)
        return out.sigmoid() if self.likelihood == "bernoulli" else out

    def _output(self, params: Mapping[str, Tensor], z: Tensor) -> Tensor:
        """Logits or mean of p(x|z₁)."""
        down = self.generative[0]
        return linear(params, f"{down.name}.mean", down(params, z))

    def _log_px(self, params: Mapping[str, Tensor], x: Tensor, z: Tensor, variance: Tensor | None) -> Tensor:
        """log p(x|z₁), (cells, samples, batch); never smoothed."""
        out = self._output(params, z)
        if self.likelihood == "bernoulli":
            return bernoulli_log_prob(x, out)
        deviation = out.new_ones(()) if variance is None else variance.sqrt()
        return normal_log_prob(x, out, deviation)
