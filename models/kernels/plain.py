"""What the operations of this folder compute, as torch and autograd would write it. Tests hold the two equal.

Shapes: C cells, S samples, B batch, I, H and O features. New networks begin with such lines; a kernel takes their place
where a measurement asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "relu": torch.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "identity": lambda h: h,
}  # fmt: skip


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b: x (C, S, B, I), weight (C, I, O), bias (C, O) → (C, S, B, O)."""
    return x @ weight[:, None] + bias[:, None, None]


def hidden_layers(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    """The hidden layers of `perceptron.Perceptron`: (C, S, B, I) → (C, S, B, H)."""
    for weight, bias in zip(weights, biases, strict=True):
        x = ACTIVATIONS[activation](affine(x, weight, bias))
    return x


def sigma(raw: Tensor, average: bool = False) -> Tensor:
    """`densities.sigma`: softplus(raw + log(e − 1)) + 10⁻⁶; its mean over samples, (C, 1, B, O), if `average`."""
    shifted = raw + math.log(math.e - 1.0)
    deviation = torch.logaddexp(shifted, torch.zeros_like(shifted)) + 1e-6  # F.softplus is cut off at 20
    return deviation.mean(1, keepdim=True) if average else deviation


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """`densities.bernoulli_log_prob`: (C, 1, B, O), (C, S, B, O) → (C, S, B)."""
    density: Tensor = Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)  # type: ignore[no-untyped-call]
    return density


def normal_log_prob(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """`densities.normal_log_prob`: summed over the last axis."""
    density: Tensor = Normal(mean, deviation, validate_args=False).log_prob(x).sum(-1)  # type: ignore[no-untyped-call]
    return density


def merged(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> tuple[Tensor, Tensor]:
    """`merge.merged`: log σ² = −logaddexp(−log σ̂², −log σ_p²), μ = σ² (μ̂/σ̂² + μ_p/σ_p²)."""
    log_precision, p_log_precision = -2.0 * deviation.log(), -2.0 * p_deviation.log()
    log_variance = -torch.logaddexp(log_precision, p_log_precision)
    share, p_share = (log_variance + log_precision).exp(), (log_variance + p_log_precision).exp()
    return share * mean + p_share * p_mean, (0.5 * log_variance).exp()


def normal_kl_between(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> Tensor:
    """`merge.normal_kl_between`: of each unit."""
    of = Normal(mean, deviation, validate_args=False), Normal(p_mean, p_deviation, validate_args=False)
    divergence: Tensor = kl_divergence(*of)
    return divergence


def lstm_step(gates: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """h and c after a step, each (…, H), of what its gates are given, (…, 4 H), and c before it (None: 0).

    Gates lie in the order i, f, o, g. σ(a) is ½ + ½ tanh(a / 2), whose bits do not depend on its place in memory.
    """
    units = gates.shape[-1] // 4
    i, f, o = (0.5 * (0.5 * gates[..., : 3 * units]).tanh() + 0.5).chunk(3, -1)
    g = gates[..., 3 * units :].tanh()
    c = i * g if c is None else f * c + i * g
    return o * c.tanh(), c


def lstm(inputs: Tensor, recurrent: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    """`recurrent.lstm`: (C, R, T, 4 H), (C, H, 4 H), (C, R, H) twice → (C, R, T, H)."""
    states = []
    for t in range(inputs.shape[2]):
        gates = inputs[:, :, t]
        h, c = lstm_step(gates if h is None else torch.baddbmm(gates, h, recurrent), c)
        states.append(h)
    return torch.stack(states, 2)
