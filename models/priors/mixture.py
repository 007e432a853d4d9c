"""Mixtures of diagonal Gaussians with equal weights.

Shapes: C cells, S samples, B batch, K components, D units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMALLEST = 2.0**-25  # half of what a float32 on [0, 1) is counted in


def mixture_log_prob(z: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log (1/K) Σ_k N(z; m_k, s_k²): z (C, S, B, D), m and s (C, K, D) → (C, S, B).

    Σ_d (z − m)²/s² is multiplied out, so that all pairs of samples and components are one matrix product: no tensor has
    (samples, components, units). What cancels in it then is computed in float64.
    """
    cells, samples, batch, units = z.shape
    wide, m, precision = z.reshape(cells, -1, units).double(), mean.double(), deviation.double().pow(-2)
    squares_and_z = torch.cat((wide.square(), wide), -1)  # (C, S B, 2 D)
    weights = torch.cat((-0.5 * precision, m * precision), -1)  # (C, K, 2 D)
    constant = (0.5 * precision.log() - 0.5 * m.square() * precision).sum(-1) - 0.5 * units * math.log(2 * math.pi)
    log_components = torch.bmm(squares_and_z, weights.mT) + constant.unsqueeze(1)  # (C, S B, K)
    log_prob = torch.logsumexp(log_components, -1) - math.log(mean.shape[1])
    return log_prob.to(z.dtype).view(cells, samples, batch)


def split_noise(noise: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """A component, uniform on 0 … K − 1, and standard normal noise independent of it, from standard normal noise.

    noise: (C, S, B, D) → components (C, S, B), int64, and noise of the shape given. The first unit's noise is uniform
    once it went through the normal distribution function: of K times that the whole part is the component, and what is
    left is uniform again.
    """
    uniform = torch.special.ndtr(noise[..., 0].double()) * components
    place = uniform.floor().clamp(max=components - 1)
    rest = (uniform - place).clamp(_SMALLEST, 1.0 - _SMALLEST)
    first = torch.special.ndtri(rest).to(noise.dtype)
    return place.long(), torch.cat((first.unsqueeze(-1), noise[..., 1:]), -1)
