"""Gates upon the maps of a convolution (van den Oord et al. 2016, eq. 2), over a stack.

    y = tanh(a) ⊙ σ(b)

Shapes: C cells, R rows, M maps of y, H × W positions; a cell's 2 M maps that go in are a, then b. σ(b) is written as
½ + ½ tanh(b / 2): one pass of tanh over all maps, whose bits do not depend on a number's place in memory. In float32 it
is one pass in C where there are a compiler and the tanh that torch itself calls, to the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from models.kernels import compiled, twice, vectors
from models.kernels.buffers import address


def gated_maps(h: Tensor, cells: int, more: Tensor | None = None) -> Tensor:
    """(R, C 2M, H, W) → (R, C M, H, W); with `more`, of h + more."""
    if twice.twice():
        return twice.gated_maps(h if more is None else h + more, cells)
    y: Tensor = _GatedMaps.apply(h, more, cells)  # type: ignore[no-untyped-call]
    return y


class _GatedMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, more: Tensor | None, cells: int) -> Tensor:
        given = [each.permute(0, 2, 3, 1) for each in (h, more) if each is not None]  # (R, H, W, C 2M)
        shape = *given[0].shape[:3], cells, 2, h.shape[1] // (2 * cells)
        if all(map(_in_c, given)):
            both, y = h.new_empty(shape), h.new_empty(*shape[:4], shape[-1])
            sizes, functions = (y.numel() // shape[-1], shape[-1]), (vectors.tanh(), vectors.TANH_ACCURACY)
            compiled.required().gated_maps(*map(address, (h, more, both, y)), *sizes, *functions)
        else:
            both = (h if more is None else h + more).permute(0, 2, 3, 1).reshape(shape)
            both = both.clone(memory_format=torch.contiguous_format)
            value, gate = both.unbind(-2)  # (R, H, W, C, M)
            gate.mul_(0.5)
            both.tanh_()
            gate.mul_(0.5).add_(0.5)
            y = value * gate
        ctx.save_for_backward(both)
        ctx.twice = more is not None
        return y.flatten(-2).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (both,) = ctx.saved_tensors
        value, gate = both.unbind(-2)
        of_y, of_h = grad.permute(0, 2, 3, 1).reshape(value.shape), torch.empty_like(both)
        if _in_c(both) and of_y.is_contiguous():
            sizes = value.numel() // value.shape[-1], value.shape[-1]
            compiled.required().gated_maps_gradient(*map(address, (of_y, both, of_h)), *sizes)
        else:
            of_a, of_b = of_h.unbind(-2)
            torch.mul(of_y, gate, out=of_a)
            torch.mul(of_a, value, out=of_b).mul_(1.0 - gate)
            of_a.mul_(1.0 - value.square())
        found = of_h.flatten(-3).permute(0, 3, 1, 2)
        return found, found if ctx.twice else None, None


def one_row_down(a: Tensor) -> Tensor:
    """Maps (·, ·, H, W) one row further down, so that what a row is given lies above it; the first row is 0."""
    if twice.twice():
        return F.pad(a, (0, 0, 1, -1))
    down: Tensor = _Down.apply(a)  # type: ignore[no-untyped-call]
    return down


class _Down(torch.autograd.Function):
    """Two copies: padding fills all maps with zeros first, which takes about as long again."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        down = torch.empty_like(a)
        down[:, :, 0] = 0.0
        down[:, :, 1:] = a[:, :, :-1]
        return down

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        up = torch.empty_like(grad)
        up[:, :, -1] = 0.0
        up[:, :, :-1] = grad[:, :, 1:]
        return up


def _in_c(h: Tensor) -> bool:
    """Whether one pass in C has the bits of torch's, of numbers that lie in one piece."""
    if h.device.type != "cpu" or h.dtype is not torch.float32 or not h.is_contiguous():
        return False
    return vectors.tanh() is not None and not torch._C._len_torch_dispatch_stack()
