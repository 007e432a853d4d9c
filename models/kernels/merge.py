"""Two Gaussians merged by their precisions, and the KL between two, with their gradients written by hand.

Shapes: C cells, S samples, B batch, O features; the four numbers broadcast. Written with operations whose
last bit is the same wherever in a tensor a number stands, which autograd's of the plain lines (`plain.py`) are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import twice


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor
    ) -> tuple[Tensor, Tensor]:
        odds = torch.div(deviation, p_deviation).square_()  # p's precision over the other's
        own = odds.add(1.0).reciprocal_()  # share of the first in the mean
        share = odds.mul_(own)  # of p
        apart = mean - p_mean
        merged_mean, merged_deviation = torch.addcmul(p_mean, own, apart), own.sqrt().mul_(deviation)
        ctx.save_for_backward(deviation, p_deviation, own, share, apart, merged_deviation)
        ctx.shapes = mean.shape, deviation.shape, p_mean.shape, p_deviation.shape
        return merged_mean, merged_deviation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_deviation: Tensor) -> tuple[Tensor, ...]:
        deviation, p_deviation, own, share, apart, merged_deviation = ctx.saved_tensors
        shift = (of_mean * apart).mul_(own).mul_(share).mul_(2.0)  # by the shares, of log p's deviation
        scale = of_deviation * merged_deviation  # of log σ
        of_own = (scale * own).sub_(shift).div_(deviation)
        of_p = (scale.mul_(share)).add_(shift).div_(p_deviation)
        return _summed((of_mean * own, of_own, of_mean * share, of_p), ctx.shapes)


class _NormalKl(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> Tensor:
        ratio, apart = deviation / p_deviation, (mean - p_mean).div_(p_deviation)
        squares = apart.square().add_(ratio.square()).sub_(1.0)
        ctx.save_for_backward(deviation, p_deviation, ratio, apart, squares)
        ctx.shapes = mean.shape, deviation.shape, p_mean.shape, p_deviation.shape
        return squares.mul(0.5).sub_(ratio.log())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        deviation, p_deviation, ratio, apart, squares = ctx.saved_tensors
        of_mean = (apart / p_deviation).mul_(grad)
        of_deviation = ratio.square().sub_(1.0).div_(deviation).mul_(grad)
        of_p = (squares / p_deviation).mul_(grad).neg_()
        return _summed((of_mean, of_deviation, of_mean.neg(), of_p), ctx.shapes)


def _summed(grads: Sequence[Tensor], shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
    """Gradients over the axes that were broadcast."""
    return tuple(grad.sum_to_size(shape) for grad, shape in zip(grads, shapes, strict=True))


def merged(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the product of two Gaussian densities, normalised.

    1/σ² = 1/deviation² + 1/p_deviation², and the mean weighed so, by the ratio of the two deviations: it may be up to
    1e19 in float32, of which no single precision needs to be finite.
    """
    if twice.twice():
        return twice.merged(mean, deviation, p_mean, p_deviation)
    return _Merged.apply(mean, deviation, p_mean, p_deviation)  # type: ignore[no-any-return, no-untyped-call]


def normal_kl_between(mean: Tensor, deviation: Tensor, p_mean: Tensor, p_deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) ‖ N(p_mean, p_deviation²)) of each unit, nats; not summed."""
    if twice.twice():
        return twice.normal_kl_between(mean, deviation, p_mean, p_deviation)
    return _NormalKl.apply(mean, deviation, p_mean, p_deviation)  # type: ignore[no-any-return, no-untyped-call]
