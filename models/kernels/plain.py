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


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, around: bool = True, of_elu: bool = False
) -> Tensor:
    """`convolution.convolve`: x (R, C I, H, W), weight (C, O, I, K, L), bias (C, O) → (R, C O, H', W')."""
    x = F.elu(x) if of_elu else x
    each = zip(x.chunk(len(weight), 1), weight, bias, strict=True)
    zeros = [size // 2 * around for size in weight.shape[3:]]
    return torch.cat([F.conv2d(own, w, b, stride, padding=zeros) for own, w, b in each], 1)


def gated_maps(h: Tensor, cells: int, more: Tensor | None = None) -> Tensor:
    """`gated_maps.gated_maps`: tanh(a) σ(b) of a cell's maps, the first half a and the second b: (R, C 2M, H, W)."""
    h = h if more is None else h + more
    a, b = h.reshape(len(h), cells, 2, -1, *h.shape[2:]).unbind(2)
    gated: Tensor = a.tanh() * b.sigmoid()
    return gated.flatten(1, 2)


def level_log_prob(level: Tensor, location: Tensor, log_scale: Tensor, ends: tuple[float, float]) -> Tensor:
    """`levels.level_log_prob`: log P(0) = log σ(a), log P(255) = log σ(−b), else log σ(a) σ(−b) (1 − e^{b−a})."""
    precision = (-log_scale.clamp(*ends)).exp()
    apart = level * (2.0 / 255.0) - 1.0 - location
    below_top = F.logsigmoid((apart + 1.0 / 255.0) * precision)  # log σ(a): of all levels up to this one
    above_bottom = F.logsigmoid((1.0 / 255.0 - apart) * precision)  # log σ(−b): of this one and all above
    width = (-torch.expm1(precision * (-2.0 / 255.0))).log()
    zero = torch.zeros((), dtype=location.dtype, device=location.device)
    outer = torch.where(level < 255, below_top, zero) + torch.where(level > 0, above_bottom, zero)
    return outer + torch.where((level > 0) & (level < 255), width, zero)


def lstm_step(gates: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """h and c after a step, each (…, H), of what its gates are given, (…, 4 H), and c before it (None: 0).

    Gates lie in the order i, f, o, g. σ(a) is ½ + ½ tanh(a / 2), whose bits do not depend on its place in memory.
    """
    units = gates.shape[-1] // 4
    of_sigmoids, of_tanh = torch.split(gates, [3 * units, units], -1)
    i, f, o = (0.5 * (0.5 * of_sigmoids).tanh() + 0.5).chunk(3, -1)
    g = of_tanh.tanh()
    c = i * g if c is None else f * c + i * g
    return o * c.tanh(), c


def lstm(inputs: Tensor, recurrent: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    """`recurrent.lstm`: (C, R, T, 4 H), (C, H, 4 H), (C, R, H) twice → (C, R, T, H).

    The steps are unbound at once: the gradient of each `inputs[:, :, t]` would be a tensor of the size of all.
    """
    states = []
    for gates in inputs.unbind(2):
        h, c = lstm_step(gates if h is None else torch.baddbmm(gates, h, recurrent), c)
        states.append(h)
    return torch.stack(states, 2)
