"""A perceptron of tanh as one call for all cells of a stack, forward and back (`perceptron.c`).

What is computed is what `models.kernels.perceptron` computes operation by operation, to the last bit: the same
products, by the library that torch itself takes, and the same passes between them. Cell by cell, a pass finds in the
cache what the one before has written, and a step of small networks is not made of calls. It is taken in float32 on a
CPU where there are a compiler and a torch that multiplies with MKL; everywhere else, and for other activations and
precisions, operations are called one by one.

Shapes: C cells, S samples, B batch, R = S B rows, I, H and O features.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled
from models.kernels.buffers import address, gradient_buffer
from models.kernels.maps import MapOfCells, maps_of

_TRIED = [(64, 64, 64), (9, 10, 64), (33, 70, 20), (128, 200, 40), (320, 64, 10), (64, 784, 200), (5, 13, 31)]
BY_TORCH = 400  # multiplications of a product, below which torch adds up in a loop of its own, in another order


@cache
def multiplier() -> int | None:
    """Address of the SGEMM that torch's own products call; None where torch has another or does not show it."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        found = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).sgemm_
    except (OSError, AttributeError):
        return None
    found.restype = None
    return ctypes.cast(found, c_void_p).value if _gives_what_torch_gives(found) else None


def _gives_what_torch_gives(sgemm: Any) -> bool:
    """Whether it takes its arguments as expected, and its last bits are those of torch's products of several cells."""
    one, zero, threads = ctypes.byref(c_float(1.0)), ctypes.byref(c_float(0.0)), torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    try:
        for rows, inner, columns in _TRIED:
            a, b = (torch.randn(2, *size, generator=generator) for size in ((rows, inner), (inner, columns)))
            out = torch.zeros(2, rows, columns)
            m, k, n = (ctypes.byref(c_int(size)) for size in (rows, inner, columns))
            for x, y, into in zip(a, b, out, strict=True):
                addresses = [c_void_p(each.data_ptr()) for each in (y, x, into)]
                sgemm(b"N", b"N", n, m, k, one, addresses[0], n, addresses[1], k, zero, addresses[2], n)
            if not torch.equal(out, torch.bmm(a, b)):
                return False
    finally:
        torch.set_num_threads(threads)
    return True


def usable(x: Tensor, activation: str, tensors: Sequence[Tensor]) -> bool:
    """Whether a perceptron of these parameters is one call for x (C, S, B, I). In no precision but float32."""
    if activation != "tanh" or x.dtype is not torch.float32 or x.device.type != "cpu":
        return False
    if compiled.library() is None or multiplier() is None:
        return False
    if torch._C._len_torch_dispatch_stack():  # whoever counts torch's operations is to see them all
        return False
    batch = x.shape[2]
    for weight in tensors[::2]:
        inputs, outputs = weight.shape[1:]
        if 1 in (batch, inputs, outputs) or batch * inputs * outputs < BY_TORCH:
            return False
    return all(each[0].is_contiguous() for each in tensors)


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
        _library().perceptron(multiplier(), maps, address(x), address(mean), *sizes)
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
        _library().perceptron(multiplier(), maps_of(tensors, values), address(x), None, *ctx.sizes)
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
    maps: ctypes.Array[MapOfCells],
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
    _library().perceptron_gradient(multiplier(), maps, *addresses, *sizes, largest)


def _library() -> ctypes.CDLL:
    library = compiled.library()
    if library is None:
        raise RuntimeError("there is no C compiler here")
    return library
