"""Gates upon the maps of a convolution (van den Oord et al. 2016, eq. 2), over a stack.

    y = tanh(a) ⊙ σ(b)

Shapes: C cells, R rows, M maps of y, H × W positions; a cell's 2 M maps that go in are a, then b. σ(b) is written as
½ + ½ tanh(b / 2): one pass of tanh over all maps, whose bits do not depend on a number's place in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import twice


def gated_maps(h: Tensor, cells: int) -> Tensor:
    """(R, C 2M, H, W) → (R, C M, H, W)."""
    if twice.twice():
        return twice.gated_maps(h, cells)
    y: Tensor = _GatedMaps.apply(h, cells)  # type: ignore[no-untyped-call]
    return y


class _GatedMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, cells: int) -> Tensor:
        each = h.permute(0, 2, 3, 1)  # (R, H, W, C 2M)
        both = each.reshape(*each.shape[:3], cells, 2, -1).clone(memory_format=torch.contiguous_format)
        value, gate = both.unbind(-2)  # (R, H, W, C, M)
        gate.mul_(0.5)
        both.tanh_()
        gate.mul_(0.5).add_(0.5)
        ctx.save_for_backward(both)
        y: Tensor = value * gate
        return y.flatten(-2).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (both,) = ctx.saved_tensors
        value, gate = both.unbind(-2)
        of_y = grad.permute(0, 2, 3, 1).reshape(value.shape)
        found = torch.empty_like(both)
        of_a, of_b = found.unbind(-2)
        torch.mul(of_y, gate, out=of_a)
        torch.mul(of_a, value, out=of_b).mul_(1.0 - gate)
        of_a.mul_(1.0 - value.square())
        return found.flatten(-3).permute(0, 3, 1, 2), None
