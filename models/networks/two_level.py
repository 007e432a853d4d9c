"""The two-level VAE of the VampPrior's paper: z₂ from the image, z₁ from both, the image from both.

    q(z|x) = q(z₂|x) q(z₁|x, z₂)          p(x, z) = p(x|z₁, z₂) p(z₁|z₂) p(z₂)

(Tomczak & Welling 2018, §3 and figure 3; every map has two gated layers.) It is no bottom-up chain: q(z₁|x, z₂) and
p(z₁|z₂) have the same z₂, so at both layers the analytic KL is the expectation of log q − log p given what q is given;
that of the top layer where its prior has a closed form. q(z₂|x) has no noise in its condition: its KL is information
about x alone. The pseudo-inputs of a VampPrior are images.

Two inputs of a map have a first gated layer each, which a second one joins. In place of the published logarithm of the
variance, cut to [−6, 2], a deviation is a softplus, as in all networks here; hidden weights start as published (He),
those of heads Glorot-uniform, and the output's bias at the data.

Shapes: C cells, S samples, B batch, D features of an image, N_i units of layer i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.densities import normal_kl_between, normal_log_prob
from models.kernels.gated import Gated
from models.kernels.perceptron import Perceptron
from models.likelihoods.likelihood import Likelihood
from models.networks.network import Layer, Numbers, Params, Terms, refuse
from models.networks.two_level_spec import UNSMOOTHABLE, TwoLevelOptions
from models.parameters import Group, Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing

_PLACES: dict[Group, int] = {"inference": 0, "generative": 1 << 16}  # of parameters' draws: never renumbered


class TwoLevel:
    """See `models.networks.network.Network`."""

    def __init__(
        self,
        options: TwoLevelOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        self.latents, self.shape, features = options.latent_sizes, shape, shape.features
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        self.analytic_kl = frozenset({1, 2})
        (one, two), ((a1, b1), (a2, b2)) = self.latents, options.hidden_sizes
        to_x, bias = likelihood.maps * shape.positions, likelihood.first_bias(mean_pixel)
        self.q2 = [_gated("inference", 2, i, *sizes) for i, sizes in enumerate(((features, a2), (a2, b2)))]
        self.q2_heads = _heads("inference", 2, b2, two, flow=posterior.outputs(two))
        self.q1 = [
            _gated("inference", 1, i, *sizes) for i, sizes in enumerate(((features, a1), (two, a1), (2 * a1, b1)))
        ]
        self.q1_heads = _heads("inference", 1, b1, one)
        self.p1 = [_gated("generative", 2, i, *sizes) for i, sizes in enumerate(((two, b2), (b2, a2)))]
        self.p1_heads = _heads("generative", 2, a2, one)
        self.px = [_gated("generative", 1, i, *sizes) for i, sizes in enumerate(((one, b1), (two, b1), (2 * b1, a1)))]
        self.px_head = _heads("generative", 1, a1, to_x, deviation=False, bias=bias)

    def parameters(self) -> list[Parameter]:
        """Parameters of q(z₂|x), q(z₁|x, z₂), p(z₁|z₂), p(x|z₁, z₂), then the posterior's own and the prior's."""
        q: list[Gated | Perceptron] = [*self.q2, self.q2_heads, *self.q1, self.q1_heads]
        p: list[Gated | Perceptron] = [*self.p1, self.p1_heads, *self.px, self.px_head]
        found = [parameter for each in q + p for parameter in each.parameters()]
        found += self.posterior.parameters(self.latents[1])
        return found + self.prior.parameters(self.shape.features, images=True)

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
    ) -> Terms:
        """z₂ from x, z₁ from both. Raises ValueError where smoothing, or a gradient along `paths`, is asked for."""
        refuse("the two-level network", smoothing, paths, UNSMOOTHABLE)
        given1, given2 = (None, None) if given is None else given

        mean, deviation, flow = self.q2_heads.gaussian_and_flow(params, _through(self.q2, params, x))  # (C, 1, B, N_2)
        top = self.posterior.draw(*((mean, deviation) if given2 is None else given2), noise[1])  # (C, S, B, N_2)
        if not self.posterior.gaussian:
            top = self.posterior.transform(params, top, flow)
        q1 = self.q1_heads.gaussian(params, _joined(self.q1, params, x, top.z)) if given1 is None else given1
        first = self.posterior.draw(*q1, noise[0])  # (C, S, B, N_1)

        p1 = self.p1_heads.gaussian(params, _through(self.p1, params, top.z))  # (C, S, B, N_1)
        log_px = self.likelihood.log_prob(x, self._output(params, first.z, top.z))  # (C, S, B)
        log_p = normal_log_prob(first.z, *p1), self.prior.log_prob(params, top.z, self._top(params))  # (C, S, B)
        kl = (  # (C, S, B, N_1) and (C, 1, B, N_2)
            normal_kl_between(first.mean, first.deviation, *p1),
            self.prior.kl(top.mean, top.deviation) if self.posterior.gaussian else None,
        )
        layers = []
        for i, drawn in enumerate((first, top)):
            q_mean, q_deviation = drawn.moments()
            layers.append(Layer(drawn.z, q_mean, self.posterior.log_prob(drawn), log_p[i], kl[i], q_deviation))
        return Terms(log_px, tuple(layers))

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`. None for layer 1: p(x|z₁, z₂) sees both."""
        return self.p1_heads.gaussian(params, _through(self.p1, params, z)) if layer == 2 else None

    def _top(self, params: Params) -> Callable[[Tensor], Numbers]:
        """q(z₂|·), of images, as a prior that looks at it is given it."""
        return lambda images: self.q2_heads.gaussian(params, _through(self.q2, params, images))

    def image(
        self, params: Params, noise: Sequence[Tensor], z: Tensor | None = None, above: Sequence[Tensor] = ()
    ) -> Tensor:
        """See `models.networks.network.Network`. Raises ValueError for a z₁ without the z₂ above it."""
        if z is not None and not noise:
            if not above:
                raise ValueError(
                    "p(x|z₁, z₂) needs z₂ as well: an image follows from z of layer 2, not of layer 1 alone"
                )
            return self.likelihood.mean(self._output(params, z, above[0]))
        if z is None:
            z = self.prior.sample(params, noise[1], self._top(params))
        mean, deviation = self.p1_heads.gaussian(params, _through(self.p1, params, z))
        return self.likelihood.mean(self._output(params, torch.addcmul(mean, deviation, noise[0]), z))

    def _output(self, params: Params, z1: Tensor, z2: Tensor) -> Tensor:
        """What the likelihood is given, (C, S, B, outputs × D)."""
        return self.px_head.mean(params, _joined(self.px, params, z1, z2))


def _gated(group: Group, layer: int, place: int, inputs: int, outputs: int) -> Gated:
    return Gated(f"{group}.{layer}.{place}", inputs, outputs, layer, _PLACES[group] + 4 * place, group)


def _heads(group: Group, layer: int, hidden: int, outputs: int, **more: Any) -> Perceptron:
    """Heads upon a hidden layer: a perceptron that has none of its own."""
    return Perceptron(f"{group}.{layer}", (hidden, outputs), "identity", layer, _PLACES[group], group, **more)


def _through(layers: Sequence[Gated], params: Params, x: Tensor) -> Tensor:
    """One layer after the other, (C, S, B, I) → (C, S, B, H)."""
    for layer in layers:
        x = layer(params, x)
    return x


def _joined(layers: Sequence[Gated], params: Params, one: Tensor, other: Tensor) -> Tensor:
    """A layer of each of two inputs, whose samples broadcast, and one of both, (C, S, B, I) → (C, S, B, H)."""
    of_one, of_other, of_both = layers
    a, b = of_one(params, one), of_other(params, other)
    samples = max(a.shape[1], b.shape[1])
    return of_both(params, torch.cat([each.expand(-1, samples, -1, -1) for each in (a, b)], -1))
