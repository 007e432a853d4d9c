"""Densities over a stack, with their gradients written by hand.

Shapes: C cells, S samples, B batch, O features. What each one computes stands in its docstring, and in `plain.py` as
torch would write it; tests hold the two equal.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import twice
from models.kernels.buffers import used_up
from models.kernels.elementwise import bernoulli, mean_softplus

SIGMA_FLOOR = 1e-6
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_SIGMA_SHIFT = math.log(math.e - 1.0)  # softplus(shift) = 1


class _Sigma(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, average: bool) -> Tensor:
        deviation, slope = mean_softplus(raw, average, _SIGMA_SHIFT, SIGMA_FLOOR)
        ctx.save_for_backward(slope)
        return deviation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return used_up(ctx.saved_tensors[0], grad), None


class _BernoulliLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        log_p, slope = bernoulli(x, logits)
        ctx.save_for_backward(slope)
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return used_up(ctx.saved_tensors[0], grad.unsqueeze(-1)), None


class _NormalLogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        scaled = torch.sub(x, mean).div_(deviation)
        ctx.save_for_backward(scaled, deviation)
        ctx.shapes = x.shape, mean.shape, deviation.shape
        cost = torch.addcmul(deviation.log(), scaled, scaled, value=0.5)
        return cost.sum(-1).add_(_HALF_LOG_2PI * scaled.shape[-1]).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled, deviation = ctx.saved_tensors
        each = grad.unsqueeze(-1)
        of_mean = (scaled / deviation).mul_(each)
        of_deviation = torch.mul(scaled, of_mean).sub_(each / deviation) if ctx.needs_input_grad[2] else None
        found = (of_mean.neg() if ctx.needs_input_grad[0] else None, of_mean, of_deviation)
        return tuple(None if g is None else g.sum_to_size(shape) for g, shape in zip(found, ctx.shapes, strict=True))


def sigma(raw: Tensor, average: bool = False) -> Tensor:
    """Standard deviation from a network's output, (C, S, B, O): softplus, σ(0) = 1, at least 1e-6.

    `average`: its mean over samples, (C, 1, B, O).
    """
    if twice.twice():
        return twice.deviation(raw, average, _SIGMA_SHIFT, SIGMA_FLOOR)
    deviation: Tensor = _Sigma.apply(raw, average)  # type: ignore[no-untyped-call]
    return deviation


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """log p(x) of independent pixels: logits (C, S, B, O) and x (C, 1, B, O) in [0, 1] → (C, S, B)."""
    if twice.twice():
        return twice.bernoulli_log_prob(x, logits)
    if not torch.is_grad_enabled():
        return bernoulli(x, logits, with_slope=False)[0]
    return _BernoulliLogits.apply(logits, x)  # type: ignore[no-any-return, no-untyped-call]


def normal_log_prob(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log N(x; mean, deviation²) of independent units summed over the last axis."""
    if twice.twice():
        return twice.normal_log_prob(x, mean, deviation)
    return _NormalLogProb.apply(x, mean, deviation)  # type: ignore[no-any-return, no-untyped-call]


def standard_normal_log_prob(x: Tensor) -> Tensor:
    """log N(x; 0, 1) of independent units summed over the last axis."""
    return x.square().sum(-1) * -0.5 - _HALF_LOG_2PI * x.shape[-1]


def normal_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) ‖ N(0, 1)) of each unit, nats; not summed."""
    return 0.5 * (mean.square() + deviation.square() - 1.0) - deviation.log()


def normal_kl_between(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) ‖ N(p_mean, p_deviation²)) of each unit, nats; not summed."""
    return normal_kl((mean - p_mean) / p_deviation, deviation / p_deviation)
