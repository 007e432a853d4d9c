"""Convolutions of a stack: one grouped convolution, a group for each cell.

Shapes: C cells, R rows (samples × batch), I and O maps, H × W positions, kernels K × K with K odd, or of any height and
width where the caller has put the zeros around the maps. Inside a network the maps of all cells lie side by side,
(R, C I, H, W); `stacked` and `unstacked` are the ways in and out, one copy each.

- On a CPU a cell has the same bits in every stack. With one group libraries take other kernels than with several, which
  differ in the last bit, so a cell alone is computed as two groups, itself twice, and the second is dropped
  (`_groups`). Memory is laid out map by map within a position (`channels_last`): about as fast as the other way or
  faster, several times as fast in bfloat16; in the other layout some stacks of two differed from larger ones.
- `precision: bfloat16` is carried out by processors that multiply bfloat16 (`multiplies_bfloat16`; GPUs do): weight,
  bias and input are cast, sums are in float32, and each result is rounded once more, to bfloat16. Maps that are given
  in float32 go on in it; from one convolution to the next (`models.networks.residual.through`) they stay in bfloat16,
  and so do their gradients (`narrowed`): half of the memory, and no casts. Elsewhere operands are rounded and
  multiplied in float32 (`models.kernels.products`), and results are not.
- In the other precisions operands are read as matrix products read them.

`models.kernels.plain.convolve` is what is computed, cell after cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import addressof, c_int64
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled
from models.kernels.activations import elu, elu_gradient, elu_of
from models.kernels.buffers import address
from models.kernels.products import cut, in_bfloat16
from models.kernels.twice import twice

_aten = torch.ops.aten
_WIDE = 16  # of fewer maps that go in, a CPU's library is slow at a weight's gradient in bfloat16
_PLACES = 64  # of images whose gradient is added up at a time, all in the fastest cache
torch.backends.cudnn.allow_tf32 = False  # which by default is on, for evaluations too: `products.precision` asks for it


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are computed as such there, and not as float32 with rounded operands."""
    return device.type != "cpu" or compiled.bfloat16_unit() is not None


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, around: bool = True, of_elu: bool = False
) -> Tensor:
    """Each cell's own convolution of its own maps, with zeros around them.

    x (R, C I, H, W), weight (C, O, I, K, K), bias (C, O) → (R, C O, H / stride, W / stride), rounded up.

    around: false for no zeros around: weight (C, O, I, K, L) → (R, C O, H − K + 1, W − L + 1) at stride 1.
    of_elu: the convolution of elu(x), to the same bits as of `activations.elu`: its gradient is then written over that
    of the convolution while this is still in the cache.
    """
    if twice():
        return _by_autograd(elu(x) if of_elu else x, weight, bias, stride, around)
    out: Tensor = _Convolution.apply(x, weight, bias, stride, around, of_elu)  # type: ignore[no-untyped-call]
    return out


def narrowed(h: Tensor) -> Tensor:
    """h in bfloat16 where convolutions are asked for in it and computed as such; else h."""
    return h.bfloat16() if in_bfloat16() and multiplies_bfloat16(h.device) and not twice() else h


def stacked(z: Tensor, height: int, width: int) -> Tensor:
    """(C, S, B, I H W), each row map by map → (S B, C I, H, W)."""
    cells, samples, batch, units = z.shape
    maps = units // (height * width)
    each = z.reshape(cells, samples * batch, maps, height, width).permute(1, 3, 4, 0, 2)
    return each.reshape(samples * batch, height, width, cells * maps).permute(0, 3, 1, 2)


def unstacked(
    h: Tensor, cells: int, samples: int, parts: int = 1, kind: torch.dtype | None = None
) -> tuple[Tensor, ...]:
    """(S B, C O, H, W) → the maps of a cell in so many equal parts, each (C, S, B, O / parts · H W), of h's type or
    another."""
    kind = h.dtype if kind is None else kind
    if twice():
        return tuple(part.to(kind).contiguous().flatten(3) for part in _parts(h, cells, samples, parts))
    found: tuple[Tensor, ...] = _Unstacked.apply(h, cells, samples, parts, kind)  # type: ignore[no-untyped-call]
    return found


def _parts(h: Tensor, cells: int, samples: int, parts: int) -> list[Tensor]:
    """The parts, of which no number is moved where the maps of a position lie side by side: (C, S, B, O, H, W) each."""
    rows, maps, height, width = h.shape
    each = h.permute(0, 2, 3, 1).reshape(samples, rows // samples, height, width, cells, parts, maps // (cells * parts))
    return [*each.permute(5, 4, 0, 1, 6, 2, 3)]


class _Unstacked(torch.autograd.Function):
    """One copy each way: autograd puts the parts together first."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, cells: int, samples: int, parts: int, kind: torch.dtype) -> tuple[Tensor, ...]:
        ctx.shape, ctx.kind, ctx.how = h.shape, h.dtype, (cells, samples, parts)
        each = _parts(h, cells, samples, parts)
        return tuple(torch.empty(part.shape, dtype=kind, device=h.device).copy_(part).flatten(3) for part in each)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = torch.empty(ctx.shape, dtype=ctx.kind, device=grads[0].device, memory_format=torch.channels_last)
        for part, grad in zip(_parts(found, *ctx.how), grads, strict=True):
            part.copy_(grad.reshape(part.shape))
        return found, None, None, None, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, around: bool, of_elu: bool) -> Tensor:
        cells, maps, inputs, *_ = weight.shape
        x = elu_of(x) if of_elu else x
        ctx.types = [each.dtype for each in (x, weight, bias)]
        ctx.shape, ctx.groups = weight.shape, _groups(cells, inputs, x.device)
        ctx.numbers = [stride] * 2, _zeros(weight, around), [1, 1], False, [0, 0]
        more = ctx.groups - cells
        operands = _operand(_with_more(x, more * inputs, 1)), _operand(_with_more(weight, more).flatten(0, 1))
        ctx.save_for_backward(*operands, x if of_elu else None)
        of_bias = _with_more(bias, more).flatten().to(operands[0].dtype)
        out = _aten.convolution(*operands, of_bias, *ctx.numbers, ctx.groups)
        return _first(out.to(x.dtype), cells * maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        cells, maps, inputs, *_ = ctx.shape
        of_out = _operand(_with_more(grad, (ctx.groups - cells) * maps, 1))
        asked = ctx.needs_input_grad[:3]
        if x.dtype is torch.bfloat16 and x.device.type == "cpu" and inputs < _WIDE:
            found = _backward(ctx, of_out, x, weight, [asked[0], False, False])
            found[1:] = _of_weight(ctx, of_out, x, weight) if any(asked[1:]) else found[1:]
        else:
            found = _backward(ctx, of_out, x, weight, asked)
        of_x, of_weight, of_bias = (
            None if each is None else each.to(kind) for each, kind in zip(found, ctx.types, strict=True)
        )
        of_x = None if of_x is None else _first(of_x, cells * inputs)
        return (
            of_x if y is None or of_x is None else elu_gradient(of_x, y),
            None if of_weight is None else of_weight[: cells * maps].reshape(ctx.shape),
            None if of_bias is None else of_bias[: cells * maps].reshape(cells, maps),
            None,
            None,
            None,
        )


def _backward(ctx: Any, of_out: Tensor, x: Tensor, weight: Tensor, asked: Sequence[bool]) -> list[Tensor | None]:
    """Gradients of x, weight and bias, those that are asked for."""
    if not any(asked):
        return [None] * 3
    return [*_aten.convolution_backward(of_out, x, weight, [len(weight)], *ctx.numbers, ctx.groups, [*asked])]


def _of_weight(ctx: Any, of_out: Tensor, x: Tensor, weight: Tensor) -> list[Tensor | None]:
    """Gradients of weight and bias from operands in bfloat16, of few maps that go in, in float32: in C where there is a
    compiler, else by torch from operands that are cast."""
    library = compiled.library()
    if library is None or torch._C._len_torch_dispatch_stack():
        asked = [False, *ctx.needs_input_grad[1:3]]
        return _backward(ctx, of_out.float(), x.float(), weight.float(), asked)[1:]
    cells, maps, inputs, *kernel = ctx.shape
    (stride, _), zeros = ctx.numbers[:2]
    grids, places = [*x.shape[2:], *of_out.shape[2:]], math.prod(of_out.shape[2:])
    of_weight, of_bias = (weight.new_empty(shape, dtype=torch.float32) for shape in (ctx.shape, ctx.shape[:2]))
    padded = math.prod(side + 2 * more for side, more in zip(x.shape[2:], zeros, strict=True)) * inputs
    up, some = -(-maps // 8) * 8, min(len(x), max(1, _PLACES // places))
    scratch = of_weight.new_empty(some * (padded + places * up) + 8 + cells * math.prod(kernel) * inputs * up)
    sizes = (c_int64 * 15)(cells, ctx.groups, len(x), inputs, maps, *grids, *kernel, stride, *zeros, some)
    library.convolution_of_weight(*map(address, (x, of_out, of_weight, of_bias, scratch)), addressof(sizes))
    return [of_weight.flatten(0, 1), of_bias.flatten()]


def _by_autograd(x: Tensor, weight: Tensor, bias: Tensor, stride: int, around: bool) -> Tensor:
    """`convolve` in torch's own operations, at full precision, where gradients are differentiated again."""
    cells, maps, inputs, *_ = weight.shape
    groups = _groups(cells, inputs, x.device)
    more = groups - cells
    rows, filters = _with_more(x, more * inputs, 1), _with_more(weight, more).flatten(0, 1)
    if x.device.type == "cpu":
        rows, filters = laid(rows), laid(filters)
    zeros = _zeros(weight, around)
    out = torch.conv2d(rows, filters, _with_more(bias, more).flatten(), stride, zeros, groups=groups)
    if x.device.type == "cpu":
        out = laid(out)
    return _first(out, cells * maps)


class _Laid(torch.autograd.Function):
    """Itself, in the layout of all maps here, and so its gradient, and the gradient of that: libraries add up numbers
    of other layouts in another order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return laid(grad)


def laid(x: Tensor) -> Tensor:
    """x, (·, ·, H, W), in the order of its numbers that all maps have, whatever becomes of it."""
    found: Tensor = _Laid.apply(x)  # type: ignore[no-untyped-call]
    return found


def _zeros(weight: Tensor, around: bool) -> list[int]:
    """Above and below a map, left and right of it."""
    return [size // 2 if around else 0 for size in weight.shape[3:]]


def _groups(cells: int, inputs: int, device: torch.device) -> int:
    """How many groups the cells are computed as, each with so many maps that go in.

    More than cells, repeating the first, where a CPU's library would take other kernels than for other stacks: for one
    group, and for three maps in all, which it takes for the colours of an image.
    """
    return cells + (device.type == "cpu" and (cells == 1 or (cells, inputs) == (3, 1)))


def _operand(each: Tensor) -> Tensor:
    """What a convolution reads of an operand, (·, ·, H, W), in the layout that the device is given it in."""
    if in_bfloat16() and multiplies_bfloat16(each.device):
        if each.device.type == "cpu" and each.dtype is not torch.bfloat16:
            return each.to(torch.bfloat16, memory_format=torch.channels_last)
        read = each.bfloat16()
    else:
        read = cut(each)
    return read.contiguous(memory_format=torch.channels_last) if each.device.type == "cpu" else read


def _with_more(each: Tensor, more: int, axis: int = 0) -> Tensor:
    """With the first so many along an axis once more at its end."""
    return torch.cat([each, each.narrow(axis, 0, more)], axis) if more else each


def _first(each: Tensor, maps: int) -> Tensor:
    """So many maps of (R, ·, H, W)."""
    return each if each.shape[1] == maps else each[:, :maps].contiguous(memory_format=torch.channels_last)
