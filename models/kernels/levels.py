"""The log probability of a level under a discretised logistic, with its gradient written by hand.

Autograd keeps six numbers for each that a network puts out, and passes over them again on the way back; here the two
slopes are kept alone, and nothing where no gradient is asked for. What it computes stands in `plain.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import plain
from models.kernels.twice import twice

_aten = torch.ops.aten
_HALF_BIN = 1.0 / 255.0


class _LevelLogProb(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, level: Tensor, location: Tensor, log_scale: Tensor, ends: tuple[float, float], slopes: bool
    ) -> Tensor:
        clamped = log_scale.clamp(*ends)
        precision = clamped.neg().exp_()
        apart = torch.sub(level * (2.0 * _HALF_BIN) - 1.0, location)
        not_first, not_last = (level > 0).to(location.dtype), (level < 255).to(location.dtype)
        upper = (apart + _HALF_BIN) * precision  # a
        lower = (_HALF_BIN - apart) * precision  # −b
        below, beyond_upper = _log_sigmoid(upper, slopes)  # log σ(a), σ(−a)
        above, beyond_lower = _log_sigmoid(lower, slopes)  # log σ(−b), σ(b)
        bin_width = precision * (2.0 * _HALF_BIN)
        inner = not_first * not_last
        log_p = torch.addcmul(below * not_last, above, not_first).addcmul_(torch.expm1(-bin_width).neg_().log_(), inner)
        if slopes:
            beyond_upper, beyond_lower = beyond_upper.mul_(not_last), beyond_lower.mul_(not_first)
            of_location = torch.sub(beyond_lower, beyond_upper).mul_(precision)
            of_scale = torch.addcmul(upper * beyond_upper, lower, beyond_lower)
            of_scale.addcmul_(bin_width.div_(torch.expm1(bin_width)), inner).neg_()
            of_scale.mul_(clamped == log_scale)
            ctx.save_for_backward(of_location, of_scale)
            ctx.shapes = location.shape, log_scale.shape
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = ((slope * grad).sum_to_size(shape) for slope, shape in zip(ctx.saved_tensors, ctx.shapes, strict=True))
        return None, *found, None, None


def _log_sigmoid(x: Tensor, slope: bool) -> tuple[Tensor, Tensor]:
    """log σ(x), and where it is asked for its slope, σ(−x)."""
    log, kept = _aten.log_sigmoid_forward(x)
    return log, _aten.log_sigmoid_backward(torch.ones_like(x), x, kept) if slope else log


def level_log_prob(level: Tensor, location: Tensor, log_scale: Tensor, ends: tuple[float, float]) -> Tensor:
    """log P(level) of each value, nats: level whole numbers 0 … 255, location on [−1, 1]; the shapes broadcast.

    ends: of the log scales; others count as the nearest, and have no gradient.
    """
    if twice():
        return plain.level_log_prob(level, location, log_scale, ends)
    slopes = torch.is_grad_enabled() and (location.requires_grad or log_scale.requires_grad)
    return _LevelLogProb.apply(level, location, log_scale, ends, slopes)  # type: ignore[no-any-return, no-untyped-call]
