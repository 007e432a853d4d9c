"""A perceptron of tanh as one call for all cells of a stack, forward and back (`perceptron.c`).

What is computed is what `models.kernels.perceptron` computes operation by operation, to the last bit: the same
products, by the library that torch itself takes, and the same passes between them. Cell by cell, a pass finds in the
cache what the one before has written, and a step of small networks is not made of calls. It is taken in float32 on a
CPU where there are a compiler and a torch that multiplies with MKL; everywhere else, and for other activations and
precisions, operations are called one by one.

Shapes: C cells, S samples, B batch, R = S B rows, I, H and O features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled
from models.kernels.buffers import address, gradient_buffer, row_by_row
from models.kernels.maps import maps_of
from models.kernels.sgemm import as_torch, multiplier


def usable(x: Tensor, activation: str, tensors: Sequence[Tensor]) -> bool:
    """Whether a perceptron of these parameters is one call for x (C, S, B, I). In no precision but float32."""
    if activation != "tanh":
        return False
    products = [(x.shape[2], *weight.shape[1:]) for weight in tensors[::2]]
    return as_torch(x, products) and all(map(row_by_row, tensors))


def perceptron(x: Tensor, heads: int, average: bool, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """See `models.kernels.perceptron.Perceptron._apply`: the value of each head."""
    outputs: tuple[Tensor, ...] = _Map.apply(x, heads, average, *tensors)  # type: ignore[no-untyped-call]
    return outputs


def hidden_layers(x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """See `models.kernels.features.FeaturePerceptron.features`: the last hidden layer."""
    found: Tensor = _Hidden.apply(x, *tensors)  # type: ignore[no-untyped-call]
    return found


class _Map(torch.autograd.Function):
    """x (C, S, B, I) → the value of each head; the last sees the samples' mean if `average`.

    `tensors` are weight (C, I, O) and bias (C, O) of the hidden layers, then of the heads: all are trained, or none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, heads: int, average: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        cells, samples, batch, _ = x.shape
        x = x.contiguous()
        hidden = len(tensors) // 2 - heads
        averaged = average and samples > 1
        outs = [x.new_empty(cells, samples, batch, weight.shape[2]) for weight in tensors[::2]]
        mean = None
        if averaged:
            mean = x.new_empty(cells, batch, tensors[2 * hidden].shape[1])
            outs[-1] = x.new_empty(cells, 1, batch, tensors[-2].shape[2])
        maps = maps_of(tensors, outs)
        sizes = cells, samples * batch, samples, hidden, heads
        compiled.required().perceptron(multiplier(), maps, address(x), address(mean), *sizes)
        ctx.sizes = sizes
        ctx.save_for_backward(x, mean, *outs[:hidden], *tensors)
        return tuple(outs[hidden:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (x, mean, *saved), hidden = ctx.saved_tensors, ctx.sizes[3]
        values, tensors, trained = saved[:hidden], saved[hidden:], ctx.needs_input_grad[3]
        found = [gradient_buffer(each) if trained or i % 2 else None for i, each in enumerate(tensors)]
        heads = [grad.contiguous() for grad in grads]
        maps = maps_of(tensors, [*values, *heads], found)
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        widest = max(weight.shape[1] for weight in tensors[::2][min(hidden, 1) :])
        _gradient(maps, x, mean, None, of_x, ctx.sizes, widest)
        return of_x, None, None, *(found if trained else [None] * len(tensors))


class _Hidden(torch.autograd.Function):
    """x (C, S, B, I) → the last hidden layer; `tensors` are weight (C, I, O) and bias (C, O) of each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *tensors: Tensor) -> Tensor:
        cells, samples, batch, _ = x.shape
        x = x.contiguous()
        values = [x.new_empty(cells, samples, batch, weight.shape[2]) for weight in tensors[::2]]
        ctx.sizes = cells, samples * batch, samples, len(values), 0
        compiled.required().perceptron(multiplier(), maps_of(tensors, values), address(x), None, *ctx.sizes)
        ctx.save_for_backward(x, *values, *tensors)
        return values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
        (x, *saved), hidden = ctx.saved_tensors, ctx.sizes[3]
        values, tensors = saved[:hidden], saved[hidden:]
        found = [*map(gradient_buffer, tensors)]
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        widest = max(weight.shape[2] for weight in tensors[::2])
        _gradient(maps_of(tensors, values, found), x, None, given.contiguous(), of_x, ctx.sizes, widest)
        return of_x, *found


def _gradient(
    maps: bytes,
    x: Tensor,
    mean: Tensor | None,
    of_last: Tensor | None,
    of_x: Tensor | None,
    sizes: tuple[int, ...],
    widest: int,
) -> None:
    """`perceptron_gradient` of maps of which the widest that is gone back through has so many units."""
    largest = sizes[1] * widest
    work = x.new_empty(2, largest)
    addresses = map(address, (x, mean, of_last, of_x, work))
    compiled.required().perceptron_gradient(multiplier(), maps, *addresses, *sizes, largest)
