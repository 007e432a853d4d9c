"""An LSTM over all its steps as one call for all cells of a stack, forward and back (`lstm.c`).

In float32 it computes what `models.kernels.recurrent` computes step by step, to the last bit: the same products, by the
library that torch itself takes, and the same passes between them. Cell by cell, a step finds in the cache what
the one before has written, and a small LSTM is not made of calls. See `models.kernels.compiled_perceptron` for where.
In bfloat16, where the processor multiplies it, U is rounded once for each direction, the other operand of every product
as it comes; sums, states and gates are float32.

Shapes: C cells, R rows (samples × batch), T steps, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.kernels import compiled
from models.kernels.bfloat16 import scratch_memory, up
from models.kernels.buffers import address, stride
from models.kernels.sgemm import as_torch, multiplier


class Kept(NamedTuple):
    """What the gradient needs: the gates' values, (C, T, R, 4 H); h, c and tanh c after each step, (C, T, R, H)."""

    gates: Tensor
    states: Tensor
    memory: Tensor
    squashed: Tensor


def usable(inputs: Tensor, recurrent: Tensor, rounded: bool) -> bool:
    """Whether it is one call for these inputs, (C, R, T, 4 H), and U, (C, H, 4 H): in float32, or, where the processor
    multiplies it, `rounded` to bfloat16."""
    (rows, steps), (units, gates) = inputs.shape[1:3], recurrent.shape[1:]
    products = [] if rounded else [(rows, units, gates), (units, rows * (steps - 1), gates)]
    return steps > 1 and recurrent[0].is_contiguous() and as_torch(inputs, products)


def forward(
    inputs: Tensor, recurrent: Tensor, h: Tensor | None, c: Tensor | None, rounded: bool = False
) -> tuple[Tensor, Kept]:
    """See `models.kernels.recurrent.lstm`."""
    cells, rows, steps, units = *inputs.shape[:3], recurrent.shape[1]
    inputs, h, c = inputs.contiguous(), _dense(h), _dense(c)
    kept = Kept(*(inputs.new_empty(cells, steps, rows, size) for size in (4 * units, units, units, units)))
    out = inputs.new_empty(cells, rows, steps, units)
    scratch = None if not rounded else scratch_memory(_of_weights(units) + up(rows) * up(units))
    given = inputs, recurrent, h, c, *kept, out, scratch
    compiled.required().lstm(_gemm(rounded), *map(address, given), cells, rows, steps, units, recurrent.stride(0))
    return out, kept


def backward(
    grad: Tensor,
    recurrent: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    kept: Kept,
    of_recurrent: Tensor | None,
    rounded: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of inputs, h and c from that of h after each step, (C, R, T, H); that of U → `of_recurrent`, if
    given."""
    cells, rows, steps, units = grad.shape
    grad, h, c = grad.contiguous(), _dense(h), _dense(c)
    of_inputs = grad.new_empty(cells, rows, steps, 4 * units)
    of_h, of_c = (None if each is None else torch.empty_like(each) for each in (h, c))
    work = grad.new_empty(rows * units * (10 * steps + 1))
    scratch = None
    if rounded:
        operands = up(rows * steps) * (up(units) + 2 * up(4 * units) + 32)
        scratch = scratch_memory(max(_of_weights(units) + up(rows) * up(4 * units), operands))
    given = grad, recurrent, h, c, *kept, of_inputs, of_recurrent, of_h, of_c, work, scratch
    strides = recurrent.stride(0), stride(of_recurrent)
    compiled.required().lstm_gradient(_gemm(rounded), *map(address, given), cells, rows, steps, units, *strides)
    return of_inputs, of_h, of_c


def backward_again(
    grad: Tensor,
    recurrent: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    kept: Kept,
    along: Sequence[Tensor | None],
    of_recurrent: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The gradient of `backward`: from those of what it gives for inputs, U, h and c, in `along` (None: 0), those of
    grad, inputs, h and c; that of U → `of_recurrent`, if given."""
    cells, rows, steps, units = grad.shape
    grad, h, c, *along = (_dense(each) for each in (grad, h, c, *along))  # type: ignore[assignment]
    of_grad, of_inputs = torch.empty_like(grad), grad.new_empty(cells, rows, steps, 4 * units)
    of_h, of_c = (None if each is None else torch.empty_like(each) for each in (h, c))
    work = grad.new_empty(rows * units * (15 * steps + 4))
    given = grad, recurrent, h, c, *kept, *along, of_grad, of_inputs, of_recurrent, of_h, of_c, work
    strides = recurrent.stride(0), stride(along[1]), stride(of_recurrent)
    compiled.required().lstm_second_gradient(multiplier(), *map(address, given), cells, rows, steps, units, *strides)
    return of_grad, of_inputs, of_h, of_c


def _gemm(rounded: bool) -> int | None:
    """What multiplies: torch's own library, or in bfloat16 the processor's tiles, which need no name."""
    return None if rounded else multiplier()


def _of_weights(units: int) -> int:
    """Numbers that U takes as tiles."""
    return up(units) * up(4 * units)


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()
