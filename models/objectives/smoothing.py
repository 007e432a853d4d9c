"""Ornstein–Uhlenbeck smoothing of a map (Pervez & Gavves, ICML 2021; O'Donnell 2014, chapter 11).

The semigroup U_ρ f(z) = E f(z') averages a function over

    z'_s = ρ z + (1 − ρ) μ + σ √(1 − ρ²) ε_s,   s = 1 … S,

samples that, given (μ, σ), have the distribution N(μ, σ²) of z itself and correlation ρ with it. Degree k of f's
Hermite expansion is damped to variance ρ^{2k} + (1 − ρ^{2k})/S. It is used in training only, and never in evaluation;
S = 1 is the plain VAE in law, ρ = 1 the plain VAE. Smoothed are the generative maps above p(x|z₁). Two variants of the
paper smooth more: the inference maps from layer 1 upward (`smooth_posterior`), and what p(x|z₁) is given
(`smooth_output`), whose likelihood then is that of averaged logits, not an average of likelihoods.

Where a map sees all layers above, as with skip connections, z' of the nearest one alone is smoothed about its own mean;
those above it are drawn anew along the chain, each from q given the smoothed sample below it, with the noise
ρ e + √(1 − ρ²) ε for the e that z itself was drawn with: the operator on the space of (e_{i+1}, …, e_L), of which
(z_{i+1}, …, z_L) is a function. Smoothing every layer about the mean that it had, or
the nearest alone, is not the plain model at S = 1.

Several chains per image have their samples side by side: the axis of samples is that of S, so the chains lie one after
the other along the batch, K batch rows in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cell import Cell
from models.draws.draws import Draws, Purpose
from models.parameters import column

_UPWARD = 1  # `inner` of the draws for inference maps
_CHAIN = 2  # … for a layer further above a map, plus the layer from which the map begins


@dataclass(frozen=True)
class Smoothing:
    """What a network needs to smooth its maps.

    Args:
        rho: (cells, 1, 1, 1), in [0, 1].
        noise: for layers 2 … L the ε of the generative map *from* that layer, (cells, S, chains × batch, features).
        ratio: average μ/σ and σ instead of μ and σ (the paper's alternative parameterisation).
        output: the same of the map from layer 1 to the image; None: that is not smoothed.
        upward: for layers 1 … L − 1 the ε of the inference map from that layer; None: these are not smoothed.
        above: of maps that see all layers above, for layers 2 … L the ε of the layers above that one, in order.
    """

    rho: Tensor
    noise: Sequence[Tensor]
    ratio: bool = False
    output: Tensor | None = None
    upward: Sequence[Tensor] | None = None
    above: Sequence[Sequence[Tensor]] | None = None

    def samples(self, layer: int, z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """z' for the generative map from `layer`, (cells, S, chains × batch, features).

        z: (cells, chains, batch, features); mean, deviation: of q, of that shape, or with one chain for all. Gradients
        flow through all three; z itself is not among the samples.
        """
        noise = self.output if layer == 1 else self.noise[layer - 2]
        if noise is None:
            raise ValueError("the map from layer 1 is not smoothed: there is no noise for it")
        return self._perturbed(z, mean, deviation, noise)

    def chain(
        self, layer: int, first: Tensor, noise: Sequence[Tensor], q: Sequence[Callable[[Tensor], tuple[Tensor, Tensor]]]
    ) -> list[Tensor]:
        """Samples z' of `layer` … L for a map that sees them all, each (cells, S, chains × batch, features).

        first: those of `layer`, as of `samples`; noise: behind the layers above it, (cells, chains, batch, features);
        q: mean and deviation of these given the sample below. Raises ValueError where there is no noise for them.
        """
        if self.above is None:
            raise ValueError("there is no noise to smooth several layers above a map with")
        found, rest = [first], (1.0 - self.rho.square()).sqrt()
        for e, fresh, numbers in zip(noise, self.above[layer - 2], q, strict=True):
            mean, deviation = numbers(found[-1])
            found.append(torch.addcmul(mean, deviation, self.rho * e.flatten(1, 2).unsqueeze(1) + rest * fresh))
        return found

    def samples_upward(self, layer: int, z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """z' for the inference map from `layer`, by the noise of `upward`; arguments and shape as of `samples`."""
        if self.upward is None:
            raise ValueError("inference maps are not smoothed: there is no noise for them")
        return self._perturbed(z, mean, deviation, self.upward[layer - 1])

    def _perturbed(self, z: Tensor, mean: Tensor, deviation: Tensor, noise: Tensor) -> Tensor:
        z, mean, deviation = _folded(z, z), _folded(mean, z), _folded(deviation, z)
        return perturb(z, mean, deviation, self.rho, noise)

    def average(
        self, gaussian: Callable[[Tensor, bool], tuple[Tensor, Tensor]], samples: Tensor, chains: int
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation of a map, averaged over samples, each (cells, chains, batch, features).

        gaussian: the map, of samples, and whether its outputs are averaged over them.
        """
        if self.ratio:
            means, deviations = gaussian(samples, False)
            deviation = deviations.mean(1, keepdim=True)
            mean = deviation * (means / deviations).mean(1, keepdim=True)
        else:
            mean, deviation = gaussian(samples, True)
        return _unfolded(mean, chains), _unfolded(deviation, chains)

    def average_output(self, mean: Callable[[Tensor, bool], Tensor], samples: Tensor, chains: int) -> Tensor:
        """Logits of a map with one head, averaged over samples, (cells, chains, batch, features).

        mean: the map, of samples, and whether its output is averaged over them.
        """
        return _unfolded(mean(samples, True), chains)


def perturb(z: Tensor, mean: Tensor, deviation: Tensor, rho: Tensor, noise: Tensor) -> Tensor:
    """ρ z + (1 − ρ) μ + σ √(1 − ρ²) ε, broadcast over the samples of `noise`."""
    centre = torch.lerp(mean, z, rho)
    spread = deviation * (1.0 - rho.square()).sqrt()
    return torch.addcmul(centre, spread, noise)


def _folded(each: Tensor, z: Tensor) -> Tensor:
    """Numbers of z's chains, (cells, chains or 1, batch, features), one chain after the other along the batch."""
    return each if z.shape[1] == 1 else each.expand_as(z).flatten(1, 2).unsqueeze(1)


def _unfolded(each: Tensor, chains: int) -> Tensor:
    """(cells, 1, chains × batch, features) → (cells, chains, batch, features)."""
    return each if chains == 1 else each.view(len(each), chains, -1, each.shape[-1])


class Smoother:
    """The smoothing of the cells of a stack: their ρ, and fresh noise at every step, from streams of its own.

    Args:
        cells: of one shape.
        like: a tensor of their precision and device.
    """

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        first = cells[0]
        self.rho = column([c.rho for c in cells], like, 4)
        self.samples, self.chains, self.ratio = (
            first.smoothing_samples,
            first.training_chains,
            first.smoothing == "ratio",
        )
        self.output, self.posterior = first.smooth_output == "yes", first.smooth_posterior == "yes"
        self.chain = first.skip == "all"

    def at(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing:
        """Of one step. The map from a layer has the same noise whatever else is smoothed."""

        def noise(layer: int, inner: int = 0) -> Tensor:
            shape = self.samples, self.chains * batch, latents[layer - 1]
            return draws.normal(Purpose.SMOOTH, shape, step, layer, inner)

        depth = len(latents)
        return Smoothing(
            self.rho,
            [noise(layer) for layer in range(2, depth + 1)],
            self.ratio,
            noise(1) if self.output else None,
            [noise(layer, _UPWARD) for layer in range(1, depth)] if self.posterior else None,
            [[noise(above, _CHAIN + layer) for above in range(layer + 1, depth + 1)] for layer in range(2, depth + 1)]
            if self.chain
            else None,
        )
