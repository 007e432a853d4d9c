"""The hierarchy that is inferred from the bottom up, whatever its maps are: perceptrons, convolutions, ….

    q(z|x) = q(z₁|x) Π q(z_{i+1}|z_i)          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)

All diagonal Gaussian (Sønderby et al. 2016, "vanilla"; Pervez & Gavves 2021, §5). Because z_{i+1} is drawn *from* z_i,
layer i < L contributes log q(z_i|z_{i−1}) − log p(z_i|z_{i+1}) at the same samples. The closed-form KL there treats
z_i and z_{i+1} as independent: another, looser objective that collapses the upper layers.

Shapes: C cells, S samples, B batch, D features of an image, N_i units of layer i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.densities import normal_log_prob
from models.likelihoods.likelihood import Likelihood
from models.networks.network import Layer, Numbers, Params, Terms
from models.parameters import Parameter
from models.posteriors.posterior import Drawn, Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing


class Map(Protocol):
    """From one layer, or an image, to another: x (C, S, B, I) → each (C, S, B, O); their averages over samples,
    (C, 1, B, O), if `average`."""

    def parameters(self) -> Iterator[Parameter]:
        """The map's trained tensors, in a fixed order."""
        ...

    def mean(self, params: Params, x: Tensor, average: bool = False) -> Tensor:
        """The outputs of a map without a deviation."""
        ...

    def gaussian(self, params: Params, x: Tensor, average: bool = False) -> Numbers:
        """Mean and deviation."""
        ...

    def gaussian_and_flow(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean, deviation and the outputs for a flow, (C, S, B, outputs of it); None without any."""
        ...


class BottomUp:
    """All of `models.networks.network.Network` but its constructor, which says what the maps are.

    Attributes beside the network's:
        inference: the maps from z_{i−1} to z_i, of layers 1 … L; the first one sees x.
        generative: the maps from z_i to z_{i−1}; the first one puts out what the likelihood is given, (…, maps ×
            positions).
        top_inputs: numbers that the last inference map is given.
        positions: of each layer's maps; none where units lie on no grid.
    """

    inference: Sequence[Map]
    generative: Sequence[Map]
    top_inputs: int
    positions: tuple[int, ...] = ()
    latents: tuple[int, ...]
    shape: ImageShape
    analytic_kl: frozenset[int]
    likelihood: Likelihood
    prior: Prior
    posterior: Posterior

    def parameters(self) -> list[Parameter]:
        """Parameters of every map, from the data up, then the posterior's own and the prior's."""
        maps = zip(self.inference, self.generative, strict=True)
        found = [parameter for pair in maps for each in pair for parameter in each.parameters()]
        found += self.posterior.parameters(self.latents[-1])
        return found + self.prior.parameters(self.top_inputs, images=len(self.latents) == 1)

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
    ) -> Terms:
        """One ancestral pass up and the generative terms down."""
        q: list[Drawn] = []
        for i, eps in enumerate(noise):
            numbers = given[i] if given is not None else None
            if i + 1 == len(noise) and not self.posterior.gaussian:
                q.append(self._transformed(params, q[-1].z if q else x, numbers, eps))
                break
            if numbers is None:
                numbers = self._from_below(params, i + 1, q[-1] if q else None, x, smoothing)  # (C, S, B, N_i)
            q.append(self.posterior.draw(*numbers, eps))  # z: (C, S, B, N_i)
        if paths is not None:
            q, log_q_fixed = self._along(params, x, q, smoothing, given, paths)

        layers = []
        for i, drawn in enumerate(q):
            log_q = self.posterior.log_prob(drawn) if paths is None else log_q_fixed[i]  # (C, S, B)
            kl = p_mean = p_deviation = None
            if i + 1 < len(q):
                p_mean, p_deviation = self._prior(params, i + 1, q[i + 1 :], smoothing)  # (C, S, B, N_i)
                log_p = normal_log_prob(drawn.z, p_mean, p_deviation)  # (C, S, B)
            else:
                log_p = self.prior.log_prob(params, drawn.z, self._top(params))  # (C, S, B)
                if self.posterior.gaussian and paths is None:
                    kl = self.prior.kl(drawn.mean, drawn.deviation)  # (C, S, B, N_L)
            q_mean, q_deviation = drawn.moments()
            density = None if q_deviation is not None else self.posterior.density(drawn)
            positions = self.positions[i] if self.positions else 0
            layers.append(
                Layer(drawn.z, q_mean, log_q, log_p, kl, q_deviation, p_mean, p_deviation, density, positions)
            )
        if smoothing is None or smoothing.output is None:
            log_px = self._log_px(params, x, self._seen([drawn.z for drawn in q]))  # (C, S, B)
        else:
            log_px = self._smoothed_log_px(params, x, q[0], smoothing)
        return Terms(log_px, tuple(layers), paths)

    def _from_below(
        self, params: Params, i: int, below: Drawn | None, x: Tensor, smoothing: Smoothing | None
    ) -> Numbers:
        """Mean and deviation of q(z_i|z_{i−1}), each (C, S, B, N_i), given the sample below, or x where there is none.

        Smoothed where `smoothing` has noise for it; `i` from 1.
        """
        if below is None or smoothing is None or smoothing.upward is None:
            return self._posterior(params, i, x if below is None else below.z)
        samples = smoothing.samples_upward(i - 1, below.z, below.mean, below.deviation)
        return smoothing.average(partial(self.inference[i - 1].gaussian, params), samples, below.z.shape[1])

    def _along(
        self,
        params: Params,
        x: Tensor,
        q: Sequence[Drawn],
        smoothing: Smoothing | None,
        given: Sequence[Numbers | None] | None,
        paths: Paths,
    ) -> tuple[list[Drawn], list[Tensor]]:
        """q at samples along `paths`, and log q there with its parameters detached, (C, S, B), layer by layer.

        A map whose input has no gradient, as that of the image, is not run again: its outputs, detached, are those of
        detached parameters.
        """
        fixed = {name: param.detach() for name, param in params.items()}
        along: list[Drawn] = []  # with parameters: what smoothing reads
        still: list[Drawn] = []  # without
        for i, drawn in enumerate(q):
            z, numbers = paths.along(drawn.z), (drawn.mean, drawn.deviation)
            numbers_fixed = numbers[0].detach(), numbers[1].detach()
            if i and along[-1].z.requires_grad and (given is None or given[i] is None):
                numbers_fixed = self._from_below(fixed, i + 1, still[-1], x, smoothing)
                if smoothing is not None and paths.weighted:  # the path through its mean and deviation has its weight
                    numbers = self._from_below(params, i + 1, along[-1], x, smoothing)
            along.append(Drawn(z, *numbers, drawn.noise))
            still.append(Drawn(z, *numbers_fixed, drawn.noise))
        return along, [normal_log_prob(each.z, each.mean, each.deviation) for each in still]

    def _posterior(self, params: Params, i: int, below: Tensor) -> Numbers:
        """Mean and deviation of q(z_i|z_{i−1}), each (C, S, B, N_i); `i` from 1."""
        return self.inference[i - 1].gaussian(params, below)

    def _transformed(self, params: Params, below: Tensor, given: Numbers | None, noise: Tensor) -> Drawn:
        """z_L from a posterior that is no Gaussian, but begins with one, of the numbers given or the map's own."""
        mean, deviation, outputs = self.inference[-1].gaussian_and_flow(params, below)
        drawn = self.posterior.draw(*((mean, deviation) if given is None else given), noise)
        return self.posterior.transform(params, drawn, outputs)

    def _top(self, params: Params) -> Callable[[Tensor], Numbers]:
        """q(z_L|·), as a prior that looks at it is given it."""
        return lambda below: self._posterior(params, len(self.latents), below)

    def _prior(self, params: Params, i: int, above: Sequence[Drawn], smoothing: Smoothing | None) -> Numbers:
        """Mean and deviation of p(z_i|z_{i+1}), each (C, S, B, N_i), given layers i + 1 … L; `i` from 1."""
        down = self.generative[i]
        if smoothing is None:
            return down.gaussian(params, self._seen([each.z for each in above]))
        samples = self._smoothed(params, i + 1, above, smoothing)  # (C, samples of it, S B, N_{i+1})
        return smoothing.average(partial(down.gaussian, params), samples, above[0].z.shape[1])

    def _seen(self, z: Sequence[Tensor]) -> Tensor:
        """What the generative map from a layer is given, of samples of this layer and all above."""
        return z[0]

    def _smoothed(self, params: Params, i: int, q: Sequence[Drawn], smoothing: Smoothing) -> Tensor:
        """What the generative map from layer i is given where it is smoothed, (C, samples of it, S B, ·).

        q: of layers i … L.
        """
        return smoothing.samples(i, q[0].z, q[0].mean, q[0].deviation)

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`."""
        return self.generative[layer - 1].gaussian(params, z) if layer > 1 else (self._output(params, z), None)

    def image(
        self, params: Params, noise: Sequence[Tensor], z: Tensor | None = None, above: Sequence[Tensor] = ()
    ) -> Tensor:
        """See `models.networks.network.Network`."""
        if z is None:
            *noise, top = noise
            z = self.prior.sample(params, top, self._top(params))
        known = [z, *above]  # of this layer and those above it
        for i in range(len(noise), 0, -1):
            mean, deviation = self.generative[i].gaussian(params, self._seen(known))
            known.insert(0, torch.addcmul(mean, deviation, noise[i - 1]))
        return self.likelihood.mean(self._output(params, self._seen(known)))

    def _output(self, params: Params, z: Tensor) -> Tensor:
        """What the likelihood is given, (C, S, B, maps × positions)."""
        return self.generative[0].mean(params, z)

    def _log_px(self, params: Params, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z₁), (C, S, B)."""
        return self.likelihood.log_prob(x, self._output(params, z))

    def _smoothed_log_px(self, params: Params, x: Tensor, first: Drawn, smoothing: Smoothing) -> Tensor:
        """log p(x|·), (C, S, B), given what the map from layer 1 puts out on average over its smoothed samples."""
        samples = smoothing.samples(1, first.z, first.mean, first.deviation)  # (C, samples of it, S B, N_1)
        out = smoothing.average_output(partial(self.generative[0].mean, params), samples, first.z.shape[1])
        return self.likelihood.log_prob(x, out)
