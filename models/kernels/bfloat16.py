"""Perceptrons in bfloat16 by the processor's own products, where it has them (`bfloat16.c`; AMX).

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
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled
from models.kernels.buffers import address, gradient_buffer

_KINDS = {None: -1, "identity": 0, "tanh": 1, "relu": 2, "leaky_relu": 3, "elu": 4}


def available() -> bool:
    """Whether this machine has such products."""
    return compiled.bfloat16_library() is not None


def up(size: int) -> int:
    """The next multiple of 32."""
    return -(-size // 32) * 32


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
        stride = 0 if sums is None else sums.stride(0)
        _library().bfloat16_rows(address(x), address(made.numbers), address(sums), *x.shape, stride)
        return made

    def mean(self, samples: int) -> Rounded:
        """(C, S B, N) → the mean over samples, (C, B, N)."""
        made = Rounded(self.cells, self.rows // samples, self.columns)
        sizes = self.cells, samples, made.rows, self.columns
        _library().bfloat16_mean(address(self.numbers), address(made.numbers), *sizes)
        return made


def affine(x: Rounded, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """x W + b: x (C, R, I), weight (C, I, O), bias (C, O) or None for 0 → (C, R, O), float32."""
    if out is None:
        out = torch.empty(x.cells, x.rows, weight.shape[2])
    _affine(x, weight, bias, out, None)
    return out


def affine_activation(x: Rounded, weight: Tensor, bias: Tensor, activation: str) -> Rounded:
    """act(x W + b), as in `affine`, rounded."""
    made = Rounded(x.cells, x.rows, weight.shape[2])
    _affine(x, weight, bias, made.numbers, activation)
    return made


def of_weight(x: Rounded, grad: Rounded, out: Tensor) -> Tensor:
    """xᵀ g: x (C, R, I), grad (C, R, O) → out (C, I, O), float32."""
    scratch = torch.empty(up(x.rows) * (up(grad.columns) + 32), dtype=torch.bfloat16)
    sizes = x.cells, x.rows, x.columns, grad.columns, out.stride(0)
    _library().bfloat16_of_weight(address(x.numbers), address(grad.numbers), address(out), address(scratch), *sizes)
    return out


def back(grad: Rounded | None, weight: Tensor, rows: int, plus: Tensor | None = None, share: float = 1.0) -> Tensor:
    """g Wᵀ + `share` p: grad (C, R, O) or None for 0, weight (C, I, O) → (C, R, I), float32.

    plus: p, (C, P, I), float32, whose row r mod P row r sees; None: 0.
    """
    out = torch.empty(len(weight), rows, weight.shape[1])
    _back(grad, weight, rows, out, plus, share)
    return out


def back_activation(
    grad: Rounded | None,
    weight: Tensor,
    values: Rounded,
    activation: str,
    of_bias: Tensor,
    plus: Tensor | None = None,
    share: float = 1.0,
) -> Rounded:
    """The same times the slope of the activation at `values`, (C, R, I), rounded; sums over rows → `of_bias` (C, I)."""
    made = Rounded(values.cells, values.rows, values.columns)
    _back(grad, weight, values.rows, made.numbers, plus, share, values, activation, of_bias)
    return made


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a b of float32 operands, (C, I, J), (C, J, K) → (C, I, K): rounded first, sums in float32."""
    if _transposed(a):
        made = out if out is not None and out[0].is_contiguous() else a.new_empty(len(a), a.shape[1], b.shape[2])
        of_weight(Rounded.of(a.mT), Rounded.of(b), made)
    else:
        made = out if out is not None and out.is_contiguous() else a.new_empty(len(a), a.shape[1], b.shape[2])
        if _transposed(b):
            _back(Rounded.of(a), b.mT, a.shape[1], made)
        else:
            _affine(Rounded.of(a), b, None, made, None)
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
        weights, biases = tensors[::2], tensors[1::2]
        hidden = len(weights) - heads
        seen = [Rounded.of(x.reshape(cells, -1, x.shape[-1]))]  # by each affine map
        for weight, bias in zip(weights[:hidden], biases, strict=False):
            seen.append(affine_activation(seen[-1], weight, bias, activation))
        seen += [seen[-1]] * (heads - 1)
        values, samples = seen[hidden], samples if average else 1
        if samples > 1:
            seen[-1] = seen[-1].mean(samples)
        ctx.activation, ctx.hidden, ctx.samples, ctx.shape = activation, hidden, samples, x.shape
        ctx.seen, ctx.values = seen, values
        ctx.save_for_backward(*tensors)
        outputs = map(affine, seen[hidden:], weights[hidden:], biases[hidden:])
        return tuple(out.view(cells, -1, batch, out.shape[-1]) for out in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        tensors, seen, values, hidden = ctx.saved_tensors, ctx.seen, ctx.values, ctx.hidden
        weights, biases, trained = tensors[::2], tensors[1::2], ctx.needs_input_grad[4]
        of_weights = [gradient_buffer(weight) for weight in weights if trained]
        of_biases = [*map(gradient_buffer, biases)]
        heads = []
        for i, of_head in enumerate(grads, start=hidden):
            heads.append(Rounded.of(of_head.reshape(len(of_head), -1, of_head.shape[-1]), of_biases[i]))
            if trained:
                of_weight(seen[i], heads[-1], of_weights[i])
        # What the other heads give the last hidden values is a sum in float32, to which the first one's is added.
        first: Rounded | None = heads[0]
        plus, share, others = None, 1.0, [*zip(heads, weights[hidden:], strict=True)]
        if ctx.samples > 1:
            of_mean, weight = others.pop()
            plus, share = back(of_mean, weight, of_mean.rows), 1.0 / ctx.samples
            first = heads[0] if others else None
        for head, weight in others[1:]:
            plus, share = back(head, weight, values.rows, plus, share), 1.0
        of_x: Tensor | None
        if not hidden:
            of_x = back(first, weights[0], values.rows, plus, share)
        else:
            last = hidden - 1
            grad = back_activation(first, weights[hidden], values, ctx.activation, of_biases[last], plus, share)
            for i in reversed(range(hidden)):
                if trained:
                    of_weight(seen[i], grad, of_weights[i])
                if i:
                    grad = back_activation(grad, weights[i], seen[i], ctx.activation, of_biases[i - 1])
            of_x = back(grad, weights[0], values.rows) if ctx.needs_input_grad[0] else None
        of_tensors = [each for pair in zip(of_weights, of_biases, strict=trained) for each in pair]
        of_x = None if of_x is None or not ctx.needs_input_grad[0] else of_x.view(ctx.shape)
        return of_x, None, None, None, *(of_tensors if trained else [None] * len(tensors))


class _Hidden(torch.autograd.Function):
    """x (C, S, B, I) → the last hidden layer, float32; `tensors` are weight (C, I, O) and bias (C, O) of each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *tensors: Tensor) -> Tensor:
        seen = [Rounded.of(x.reshape(len(x), -1, x.shape[-1]))]
        for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
            seen.append(affine_activation(seen[-1], weight, bias, activation))
        ctx.activation, ctx.shape, ctx.seen = activation, x.shape, seen
        ctx.save_for_backward(*tensors)
        return seen[-1].wide().view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
        seen, weights, biases = ctx.seen, ctx.saved_tensors[::2], ctx.saved_tensors[1::2]
        of_weights, of_biases = [*map(gradient_buffer, weights)], [*map(gradient_buffer, biases)]
        rows = seen[-1].rows
        plus = given.reshape(len(given), rows, -1).contiguous()
        grad = back_activation(None, weights[-1].mT, seen[-1], ctx.activation, of_biases[-1], plus)
        for i in reversed(range(len(weights))):
            of_weight(seen[i], grad, of_weights[i])
            if i:
                grad = back_activation(grad, weights[i], seen[i], ctx.activation, of_biases[i - 1])
        of_x = back(grad, weights[0], rows).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return of_x, None, *(each for pair in zip(of_weights, of_biases, strict=True) for each in pair)


def _affine(x: Rounded, weight: Tensor, bias: Tensor | None, out: Tensor, activation: str | None) -> None:
    weight = _inner(weight)
    inputs, outputs = weight.shape[1:]
    scratch = torch.empty(up(inputs) * up(outputs), dtype=torch.bfloat16)
    strides = weight.stride(0), 0 if bias is None else bias.stride(0)
    addresses = address(x.numbers), address(weight), address(bias), address(out), address(scratch)
    _library().bfloat16_affine(*addresses, x.cells, x.rows, inputs, outputs, *strides, _KINDS[activation])


def _back(
    grad: Rounded | None,
    weight: Tensor,
    rows: int,
    out: Tensor,
    plus: Tensor | None = None,
    share: float = 1.0,
    values: Rounded | None = None,
    activation: str | None = None,
    of_bias: Tensor | None = None,
) -> None:
    if grad is not None:
        weight = _inner(weight)
    inputs, outputs = weight.shape[1:]
    scratch = torch.empty(up(inputs) * up(outputs), dtype=torch.bfloat16)
    numbers = None if grad is None else grad.numbers, weight, plus, None if values is None else values.numbers
    strides = weight.stride(0), 0 if of_bias is None else of_bias.stride(0)
    addresses = [address(each) for each in (*numbers, out, of_bias, scratch)]
    more = 1 if plus is None else plus.shape[1], share, _KINDS[activation]
    _library().bfloat16_back(*addresses, len(weight), rows, outputs, inputs, *strides, *more)


def _transposed(x: Tensor) -> bool:
    """Whether x, (C, R, N), is the transposed view of a matrix that lies row by row, and does not do so itself."""
    return x.stride(1) == 1 and x.stride(2) == x.shape[1] and x.stride(2) != 1


def _inner(x: Tensor) -> Tensor:
    """x, (C, R, N), each cell's numbers row by row."""
    return x if x[0].is_contiguous() else x.contiguous()


def _library() -> ctypes.CDLL:
    library = compiled.bfloat16_library()
    if library is None:
        raise RuntimeError("this machine has no products of bfloat16")
    return library
