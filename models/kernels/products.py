"""Matrix products of training, in the precision that its cells ask for.

- `float32`, `float64`: of numbers as they are.
- `tf32`: of each operand the first 10 bits of the mantissa are read (TensorFloat-32); sums in float32.
- `bfloat16`: operands are rounded to its 7 bits, to even; sums in float32.

A GPU's tensor cores do so by themselves, and a processor's tiles of bfloat16 where it has them (AMX; `bfloat16.py`).
Elsewhere operands are cut first and multiplied in float32, where the product of two such numbers is exact: the same
products, added in another order, and slower than float32 itself. Only operands are cut: weights, moments, densities and
all of evaluation keep the precision of their tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import bfloat16
from models.kernels.buffers import gradient_buffer
from models.kernels.twice import twice

_precision = "float32"
_TF32 = -1 << 13  # mask of the bits of a float32 that TF32 reads


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Products as `name` says (`models.cell.Cell.precision`), in all of this process, until the end of the block."""
    global _precision
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = _precision, products.allow_tf32, convolutions.allow_tf32
    _precision, products.allow_tf32, convolutions.allow_tf32 = name, name == "tf32", name == "tf32"
    try:
        yield
    finally:
        _precision, products.allow_tf32, convolutions.allow_tf32 = before


def in_float32() -> bool:
    """Whether operands are read as they are."""
    return _precision in ("float32", "float64")


def in_bfloat16() -> bool:
    """Whether operands are asked for in bfloat16."""
    return _precision == "bfloat16"


def natively(x: Tensor) -> bool:
    """Whether products of a tensor such as x are of bfloat16 and computed as such by this machine's processor."""
    on_processor = _precision == "bfloat16" and x.device.type == "cpu" and x.dtype is torch.float32
    return on_processor and bfloat16.available()


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a b for each cell: a (C, I, J), b (C, J, K) → (C, I, K), written to `out` if given."""
    if _precision == "bfloat16" and a.device.type != "cpu":
        return torch.bmm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32, out=out)
    if natively(a):
        return bfloat16.product(a, b, out)
    if 1 in (a.shape[1], b.shape[2]):
        return _of_vector(cut(a), cut(b), out)
    return torch.bmm(cut(a), cut(b), out=out)


def _of_vector(a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
    """`product` of one row or one column, whose last bits libraries make others in a batch than alone."""
    if b.shape[2] == 1:
        return torch.sum(a * b.mT, -1, keepdim=True, out=out)
    return torch.sum(a.mT * b, 1, keepdim=True, out=out)


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b to `out`; shapes as in `product`."""
    apart = 1 in (
        *a.shape[1:],
        b.shape[2],
    )  # as in `product`; libraries also fuse sum and product for one and not another
    if apart or (_precision == "bfloat16" and (a.device.type != "cpu" or natively(a))):
        out.add_(product(a, b))
    else:
        torch.baddbmm(out, cut(a), cut(b), out=out)


def multiplied(x: Tensor, weight: Tensor, base: Tensor | None = None) -> Tensor:
    """x W + base, with a gradient: x (C, R, I), weight (C, I, O), base (C, 1 or R, O), None for 0 → (C, R, O)."""
    if in_float32() or twice():
        return torch.bmm(x, weight) if base is None else torch.baddbmm(base, x, weight)
    found: Tensor = _Multiplied.apply(x, weight)  # type: ignore[no-untyped-call]
    return found if base is None else found + base


class _Multiplied(torch.autograd.Function):
    """x W in the precision that is asked for, and its gradient in the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        return product(grad, weight.mT), product(x.mT, grad, out=gradient_buffer(weight))


def cut(operand: Tensor) -> Tensor:
    """What a product reads of an operand; itself where the device does the cutting, or none is asked for."""
    if operand.device.type == "cpu" and _precision == "tf32":
        return operand.view(torch.int32).bitwise_and(_TF32).view(torch.float32)
    if operand.device.type == "cpu" and _precision == "bfloat16":
        return operand.bfloat16().float()
    return operand
