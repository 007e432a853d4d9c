"""The operations of this folder where gradients are differentiated again: in torch's own, by autograd.

What is written by hand has a first derivative only. While `twice_differentiable()` holds, perceptrons, gates, densities
and merged Gaussians are computed by the lines below instead: the same numbers to rounding, at full precision, more
slowly. As everywhere here, the last bit of a number does not depend on where in a tensor it stands, which torch's
`softplus` and `sigmoid` do not promise.

Shapes: C cells, S samples, B batch, I, H and O features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from models.kernels.plain import ACTIVATIONS

_asked = False
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """All of this process, until the end of the block."""
    global _asked
    before, _asked = _asked, True
    try:
        yield
    finally:
        _asked = before


def twice() -> bool:
    """Whether gradients are to be differentiated again."""
    return _asked


class _Softplus(torch.autograd.Function):
    """log(1 + exp x), whose slope ½ + ½ tanh(x / 2) autograd can follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp_min(0.0) + x.abs().neg().exp().log1p()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = 0.5 + 0.5 * (0.5 * x).tanh()
        return grad * slope


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp x), of any shape."""
    found: Tensor = _Softplus.apply(x)  # type: ignore[no-untyped-call]
    return found


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b: x (C, R, I), weight (C, I, O), bias (C, O) → (C, R, O)."""
    return torch.bmm(x, weight) + bias.unsqueeze(1)


def hidden(x: Tensor, tensors: Sequence[Tensor], activation: str) -> Tensor:
    """x (C, S, B, I) → the last of the hidden layers whose weights and biases follow each other, (C, S B, H)."""
    rows = x.reshape(len(x), -1, x.shape[-1])
    for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
        rows = ACTIVATIONS[activation](affine(rows, weight, bias))
    return rows


def perceptron(x: Tensor, activation: str, heads: int, average: bool, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`perceptron._Map`."""
    cells, samples, batch, _ = x.shape
    inner = tensors[: len(tensors) - 2 * heads]
    last = hidden(x, inner, activation)
    rows, outputs = [last] * heads, tensors[len(inner) :]
    if average and samples > 1:
        rows[-1] = last.view(cells, samples, batch, -1).mean(1)
    found = map(affine, rows, outputs[::2], outputs[1::2])
    return tuple(out.view(cells, -1, batch, out.shape[-1]) for out in found)


def gated(x: Tensor, weight: Tensor, bias: Tensor, gate_weight: Tensor, gate_bias: Tensor) -> Tensor:
    """`gated.Gated`: x (C, S, B, I) → (C, S, B, O)."""
    rows = x.reshape(len(x), -1, x.shape[-1])
    gate = 0.5 + 0.5 * (0.5 * affine(rows, gate_weight, gate_bias)).tanh()
    return (affine(rows, weight, bias) * gate).view(*x.shape[:-1], -1)


def deviation(raw: Tensor, average: bool, shift: float, floor: float) -> Tensor:
    """`densities.sigma`."""
    found = softplus(raw + shift) + floor
    return found.mean(1, keepdim=True) if average else found


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """`densities.bernoulli_log_prob`: (C, 1, B, O), (C, S, B, O) → (C, S, B)."""
    return (x * logits - softplus(logits)).sum(-1)


def normal_log_prob(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """`densities.normal_log_prob`: summed over the last axis."""
    scaled = (x - mean) / deviation
    return (-0.5 * scaled * scaled - deviation.log()).sum(-1) - _HALF_LOG_2PI * scaled.shape[-1]


def merged(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> tuple[Tensor, Tensor]:
    """`merge.merged`."""
    odds = (deviation / p_deviation).square()
    own = 1.0 / (1.0 + odds)
    return p_mean + own * (mean - p_mean), own.sqrt() * deviation


def normal_kl_between(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> Tensor:
    """`merge.normal_kl_between`: of each unit."""
    ratio, apart = deviation / p_deviation, (mean - p_mean) / p_deviation
    return 0.5 * (apart * apart + ratio * ratio - 1.0) - ratio.log()
