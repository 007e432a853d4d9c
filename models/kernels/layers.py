"""Layers over a stack of cells: every parameter and activation has a leading axis of cells.

Shapes: C cells, S samples, B batch, O features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels.elementwise import bernoulli, mean_softplus

SIGMA_FLOOR = 1e-6
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_SIGMA_SHIFT = math.log(math.e - 1.0)  # softplus(shift) = 1


@dataclass(frozen=True)
class Parameter:
    """A parameter of a network: its name, its shape without the cells, and where its first value comes from.

    Weights are (inputs, outputs) and start Glorot-uniform; biases start at `value` (0, or one number a unit).
    `layer` and `place` address its draws, so that no other layer's depend on them.
    """

    name: str
    shape: tuple[int, ...]
    layer: int
    place: int
    value: np.ndarray | None = None

    def first(self, uniform: Callable[..., Tensor]) -> Tensor:
        """First value, (cells, *shape); `uniform(shape, layer=, inner=)` gives numbers on [0, 1), (cells, *shape)."""
        draws = uniform(self.shape, layer=self.layer, inner=self.place)
        if len(self.shape) == 1:
            first = torch.zeros_like(draws)
            return first if self.value is None else first + torch.tensor(self.value).to(first)
        bound = math.sqrt(6.0 / (self.shape[0] + self.shape[1]))
        return (draws * 2.0 - 1.0) * bound


def affine_parameters(
    name: str, inputs: int, outputs: int, layer: int, place: int, bias: Any = None
) -> list[Parameter]:
    """The two parameters of an affine map."""
    weight = Parameter(f"{name}.weight", (inputs, outputs), layer, place)
    return [weight, Parameter(f"{name}.bias", (outputs,), layer, place + 1, bias)]


class _Sigma(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, average: bool) -> Tensor:
        deviation, slope = mean_softplus(raw, average, _SIGMA_SHIFT, SIGMA_FLOOR)
        ctx.save_for_backward(slope)
        return deviation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0] * grad, None


class _BernoulliLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        log_p, slope = bernoulli(x, logits)
        ctx.save_for_backward(slope)
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0] * grad.unsqueeze(-1), None


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
    deviation: Tensor = _Sigma.apply(raw, average)  # type: ignore[no-untyped-call]
    return deviation


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """log p(x) of independent pixels: logits (C, S, B, O) and x (C, 1, B, O) in [0, 1] → (C, S, B)."""
    return _BernoulliLogits.apply(logits, x)  # type: ignore[no-any-return, no-untyped-call]


def normal_log_prob(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log N(x; mean, deviation²) of independent units summed over the last axis."""
    return _NormalLogProb.apply(x, mean, deviation)  # type: ignore[no-any-return, no-untyped-call]


def standard_normal_log_prob(x: Tensor) -> Tensor:
    """log N(x; 0, 1) of independent units summed over the last axis."""
    return x.square().sum(-1) * -0.5 - _HALF_LOG_2PI * x.shape[-1]


def normal_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) ‖ N(0, 1)) of each unit, nats; not summed."""
    return 0.5 * (mean.square() + deviation.square() - 1.0) - deviation.log()


def column(values: Sequence[float], like: Tensor, axes: int) -> Tensor:
    """One number a cell as (C, 1, …, 1) with `axes` axes in all, of the dtype and device of `like`."""
    return torch.tensor(values, dtype=torch.float64).to(like).view(-1, *(1,) * (axes - 1))
