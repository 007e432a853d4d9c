"""Ornstein–Uhlenbeck smoothing of a generative map (Pervez & Gavves, ICML 2021; O'Donnell 2014, chapter 11).

The semigroup U_ρ f(z) = E f(z') averages a function over

    z'_s = ρ z + (1 − ρ) μ + σ √(1 − ρ²) ε_s,   s = 1 … S,

samples that, given (μ, σ), have the distribution N(μ, σ²) of z itself and correlation ρ with it. Degree k of f's
Hermite expansion is damped to variance ρ^{2k} + (1 − ρ^{2k})/S. It is used in training only, never in p(x|z₁), never in
q and never in evaluation; S = 1 is the plain VAE in law, ρ = 1 the plain VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Smoothing:
    """What a network needs to smooth its generative maps.

    Args:
        rho: (cells, 1, 1, 1), in [0, 1].
        noise: for layers 2 … L the ε of the map *from* that layer, each (cells, S, batch, features).
        ratio: average μ/σ and σ instead of μ and σ (the paper's alternative parameterisation).
    """

    rho: Tensor
    noise: Sequence[Tensor]
    ratio: bool = False

    def samples(self, layer: int, z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """z' for the map from `layer`: z, mean, deviation (cells, 1, batch, features) → (cells, S, batch, features).

        Gradients flow through all three; z itself is not among the samples. Raises ValueError for several chains an
        image, whose axis is the one that the samples take.
        """
        if z.shape[1] != 1:
            raise ValueError(f"smoothing takes one ancestral chain per image, got {z.shape[1]}")
        return perturb(z, mean, deviation, self.rho, self.noise[layer - 2])


def perturb(z: Tensor, mean: Tensor, deviation: Tensor, rho: Tensor, noise: Tensor) -> Tensor:
    """ρ z + (1 − ρ) μ + σ √(1 − ρ²) ε, broadcast over the samples of `noise`."""
    centre = torch.lerp(mean, z, rho)
    spread = deviation * (1.0 - rho.square()).sqrt()
    return torch.addcmul(centre, spread, noise)
