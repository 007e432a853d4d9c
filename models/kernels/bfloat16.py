"""Perceptrons in bfloat16 by the processor's own products, where it has them (AMX): one call each, forward and back.

The products are in `bfloat16.c`, perceptrons made of them in `bfloat16_perceptron.c`.

What is computed is what `models.kernels.perceptron` computes under `precision: bfloat16`: operands rounded to even,
sums in float32. Two roundings are more: hidden values are kept in bfloat16, and the slope of the activation and the
mean over samples are taken from those. Weights are rounded once for each direction; values and gradients are written in
bfloat16 by the pass that makes them, so no pass is there for rounding alone. Heads, gradients of parameters and all
densities are float32.

Shapes: C cells, S samples, B batch, R = S B rows, I, H and O features. Each cell is computed by itself, in one order:
its numbers are bitwise those of the cell alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled
from models.kernels.buffers import address, gradient_buffer, row_by_row, stride
from models.kernels.maps import maps_of

_KINDS = {None: -1, "identity": 0, "tanh": 1, "relu": 2, "leaky_relu": 3, "elu": 4}


def available() -> bool:
    """Whether this machine has such products."""
    return compiled.bfloat16_library() is not None


def up(size: int) -> int:
    """The next multiple of 32."""
    return -(-size // 32) * 32


def scratch_memory(numbers: int) -> Tensor:
    """Room for so many numbers of bfloat16."""
    return torch.empty(numbers, dtype=torch.bfloat16)


class Rounded:
    """A matrix of each cell, (C, R, N), in bfloat16.

    Attributes:
        numbers: (C, up(R), up(N)): rows and columns are filled up with zeros to whole tiles.
        cells, rows, columns: C, R and N.
    """

    def __init__(self, cells: int, rows: int, columns: int):
        self.cells, self.rows, self.columns = cells, rows, columns
        self.numbers = torch.empty(cells, up(rows), up(columns), dtype=torch.bfloat16)

    def wide(self) -> Tensor:
        """(C, R, N), float32."""
        return self.numbers[:, : self.rows, : self.columns].float()

    @classmethod
    def of(cls, x: Tensor, sums: Tensor | None = None) -> Rounded:
        """x (C, R, N) of float32, rounded; its sums over rows, unrounded → `sums` (C, N), if given."""
        made, x = cls(*x.shape), x.contiguous()
        _library().bfloat16_rows(address(x), address(made.numbers), address(sums), *x.shape, stride(sums))
        return made


def of_weight(x: Rounded, grad: Rounded, out: Tensor) -> Tensor:
    """xᵀ g: x (C, R, I), grad (C, R, O) → out (C, I, O), float32."""
    scratch = scratch_memory(up(x.rows) * (up(grad.columns) + 32))
    sizes = x.cells, x.rows, x.columns, grad.columns, out.stride(0)
    _library().bfloat16_of_weight(address(x.numbers), address(grad.numbers), address(out), address(scratch), *sizes)
    return out


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a b of float32 operands, (C, I, J), (C, J, K) → (C, I, K): rounded first, sums in float32."""
    if _transposed(a):
        made = out if out is not None and out[0].is_contiguous() else a.new_empty(len(a), a.shape[1], b.shape[2])
        of_weight(Rounded.of(a.mT), Rounded.of(b), made)
    else:
        made = out if out is not None and out.is_contiguous() else a.new_empty(len(a), a.shape[1], b.shape[2])
        if _transposed(b):
            _back(Rounded.of(a), b.mT, made)
        else:
            _affine(Rounded.of(a), b, made)
    return made if out is None or made is out else out.copy_(made)


def hidden_layers(x: Tensor, activation: str, tensors: list[Tensor]) -> Tensor:
    """See `models.kernels.features.FeaturePerceptron.features`: the last hidden layer."""
    found: Tensor = _Hidden.apply(x, activation, *tensors)  # type: ignore[no-untyped-call]
    return found


def perceptron(x: Tensor, activation: str, heads: int, average: bool, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """See `models.kernels.perceptron.Perceptron._apply`: the value of each head."""
    outputs: tuple[Tensor, ...] = _Map.apply(x, activation, heads, average, *tensors)  # type: ignore[no-untyped-call]
    return outputs


class _Map(torch.autograd.Function):
    """x (C, S, B, I) → the value of each head; the last sees the samples' mean if `average`.

    `tensors` are weight (C, I, O) and bias (C, O) of the hidden layers, then of the heads: all are trained, or none.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, activation: str, heads: int, average: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        cells, samples, batch, _ = x.shape
        hidden = len(tensors) // 2 - heads
        outs = [x.new_empty(cells, samples, batch, weight.shape[2]) for weight in tensors[2 * hidden :: 2]]
        mean = None
        if average and samples > 1:
            mean = Rounded(cells, batch, tensors[-2].shape[1])
            outs[-1] = x.new_empty(cells, 1, batch, tensors[-2].shape[2])
        ctx.given = _forward(x, activation, heads, mean, outs, tensors)
        ctx.save_for_backward(*tensors)
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        tensors, trained = ctx.saved_tensors, ctx.needs_input_grad[4]
        found = [gradient_buffer(each) if trained or i % 2 else None for i, each in enumerate(tensors)]
        heads = [grad.contiguous() for grad in grads]
        of_x = _backward(ctx.given, heads, None, found, tensors, ctx.needs_input_grad[0])
        return of_x, None, None, None, *(found if trained else [None] * len(tensors))


class _Hidden(torch.autograd.Function):
    """x (C, S, B, I) → the last hidden layer, float32; `tensors` are weight (C, I, O) and bias (C, O) of each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *tensors: Tensor) -> Tensor:
        ctx.given = _forward(x, activation, 0, None, [], tensors)
        ctx.save_for_backward(*tensors)
        last: Tensor = ctx.given.values[-1].wide()
        return last.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_last: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        found = [*map(gradient_buffer, tensors)]
        of_x = _backward(ctx.given, [], of_last.contiguous(), found, tensors, ctx.needs_input_grad[0])
        return of_x, None, *found


@dataclass(frozen=True)
class _Kept:
    """What the gradient of a perceptron needs beside its parameters.

    Attributes:
        shape: (C, S, B, I), of the input.
        seen: it, rounded.
        values: of each hidden layer.
        mean: of the last of them over samples, if the last head sees that.
        kind: of the activation.
    """

    shape: torch.Size
    seen: Rounded
    values: list[Rounded]
    mean: Rounded | None
    kind: int


def _forward(
    x: Tensor, activation: str, heads: int, mean: Rounded | None, outs: list[Tensor], tensors: Sequence[Tensor]
) -> _Kept:
    """Fill `outs`, one per head, and `mean`."""
    cells, samples, batch, inputs = x.shape
    rows, x, tensors = samples * batch, x.contiguous(), [*map(_inner, tensors)]
    weights = tensors[::2]
    hidden = len(weights) - heads
    values = [Rounded(cells, rows, weight.shape[2]) for weight in weights[:hidden]]
    kept = _Kept(x.shape, Rounded(cells, rows, inputs), values, mean, _KINDS[activation])
    maps = maps_of(tensors, [*(each.numbers for each in values), *outs])
    scratch = scratch_memory(max(up(weight.shape[1]) * up(weight.shape[2]) for weight in weights))
    numbers = x, kept.seen.numbers, None if mean is None else mean.numbers, scratch
    sizes = cells, rows, samples, hidden, heads, kept.kind
    _library().bfloat16_perceptron(maps, *map(address, numbers), *sizes)
    return kept


def _backward(
    kept: _Kept,
    heads: list[Tensor],
    of_last: Tensor | None,
    found: Sequence[Tensor | None],
    tensors: Sequence[Tensor],
    of_input: bool,
) -> Tensor | None:
    """Fill `found`, a gradient per tensor or None, from those of the heads or of the last hidden layer; → that of x."""
    cells, samples, batch, _ = kept.shape
    tensors = [*map(_inner, tensors)]
    rows, weights, hidden = samples * batch, tensors[::2], len(kept.values)
    of_x = torch.empty(kept.shape) if of_input else None
    widest = max(weight.shape[2] for weight in weights)
    units = weights[hidden].shape[1] if heads else weights[-1].shape[2]
    largest = up(rows) * up(widest)
    sizes = [up(weight.shape[1]) * up(weight.shape[2]) for weight in weights] + [up(rows) * (up(widest) + 32)]
    work, sums, scratch = scratch_memory(3 * largest), torch.empty(2, rows, units), scratch_memory(max(sizes))
    maps = maps_of(tensors, [*(each.numbers for each in kept.values), *heads], found)
    mean = None if kept.mean is None else kept.mean.numbers
    numbers = kept.seen.numbers, mean, of_last, of_x, work, sums, scratch
    given = cells, rows, samples, hidden, len(heads), kept.kind, largest
    _library().bfloat16_perceptron_gradient(maps, *map(address, numbers), *given)
    return of_x


def _affine(x: Rounded, weight: Tensor, out: Tensor) -> None:
    """out (C, R, O) of float32 ← x W: x (C, R, I), weight (C, I, O)."""
    weight = _inner(weight)
    inputs, outputs = weight.shape[1:]
    scratch = scratch_memory(up(inputs) * up(outputs))
    addresses = address(x.numbers), address(weight), None, address(out), address(scratch)
    _library().bfloat16_affine(*addresses, x.cells, x.rows, inputs, outputs, weight.stride(0), 0, _KINDS[None])


def _back(grad: Rounded, weight: Tensor, out: Tensor) -> None:
    """out (C, R, I) of float32 ← g Wᵀ: grad (C, R, O), weight (C, I, O)."""
    weight = _inner(weight)
    inputs, outputs = weight.shape[1:]
    scratch = scratch_memory(up(inputs) * up(outputs))
    addresses = address(grad.numbers), address(weight), None, None, address(out), None, address(scratch)
    sizes = grad.cells, grad.rows, outputs, inputs, weight.stride(0), 0, 1
    _library().bfloat16_back(*addresses, *sizes, 1.0, _KINDS[None])


def _transposed(x: Tensor) -> bool:
    """Whether x, (C, R, N), is the transposed view of a matrix that lies row by row, and does not do so itself."""
    return x.stride(1) == 1 and x.stride(2) == x.shape[1] and x.stride(2) != 1


def _inner(x: Tensor) -> Tensor:
    """x, (C, R, N), each cell's numbers row by row."""
    return x if row_by_row(x) else x.contiguous()


def _library() -> ctypes.CDLL:
    library = compiled.bfloat16_library()
    if library is None:
        raise RuntimeError("this machine has no products of bfloat16")
    return library
