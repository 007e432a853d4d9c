"""ELU: x where it is positive, else eˣ − 1, whose bits do not depend on a number's place, as those of `F.elu` do.

One pass in C where there is a compiler: in float32 by torch's function, to the same bits (`models.kernels.vectors`);
in bfloat16, where torch has no such pass, by its own. Else torch does it in several.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled, vectors
from models.kernels.twice import twice


def elu(x: Tensor) -> Tensor:
    """Of any shape."""
    if twice():
        return torch.where(x > 0, x, x.clamp_max(0.0).expm1())
    out: Tensor = _Elu.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Elu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = elu_of(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return elu_gradient(grad, y, torch.empty_like(y))


def elu_of(x: Tensor) -> Tensor:
    """`elu`, without a graph."""
    library, out = _library(x), None
    if library is None:
        below = x.clamp_max(0.0).expm1_()
        return torch.maximum(x, below, out=below)  # eˣ − 1 ≥ x
    out = torch.empty_like(x)
    if x.dtype is torch.bfloat16:
        library.elu_bfloat16(x.data_ptr(), out.data_ptr(), x.numel())
    else:
        library.elu(x.data_ptr(), out.data_ptr(), x.numel(), vectors.expm1())
    return out


def elu_gradient(grad: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """The gradient of x from that of y = elu(x) → `out`, of y's strides, by default over `grad`."""
    library = _library(y)
    if library is None:
        found: Tensor = torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, y)
        return found
    if grad.stride() != y.stride():
        grad = torch.empty_like(y).copy_(grad)
    out = grad if out is None else out
    compute = library.elu_bfloat16_gradient if y.dtype is torch.bfloat16 else library.elu_gradient
    compute(grad.data_ptr(), y.data_ptr(), out.data_ptr(), y.numel())
    return out


def _library(x: Tensor) -> ctypes.CDLL | None:
    """What has passes over x, (R, C I, H, W) or of any other shape, if it lies in one piece."""
    if x.device.type != "cpu" or x.dtype not in (torch.bfloat16, torch.float32):
        return None
    whole = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    if not whole or (x.dtype is torch.float32 and vectors.expm1() is None):
        return None
    return None if torch._C._len_torch_dispatch_stack() else compiled.library()
