"""Perceptrons over a stack: hidden layers and heads as one operation, whose gradient is written by hand.

Shapes: C cells, S samples, B batch, I, H and O features. One node of the graph stands for a whole map, so that

- activations are written over their input, and their gradient over that of their output;
- the gradients of two heads meet inside the matrix products, and never as a sum of two tensors;
- the mean over S samples is taken before the linear head of the mean, with which it commutes: only what is not linear
  runs S times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import bfloat16, compiled_perceptron, twice
from models.kernels.buffers import gradient_buffer
from models.kernels.densities import sigma
from models.kernels.elementwise import (
    activation_gradient,
    add_gradient_of_mean,
    affine,
    affine_activation,
    mean_samples,
    sum_rows,
)
from models.kernels.products import add_product, in_float32, natively, product
from models.parameters import Group, Parameter, affine_parameters

_HEADS = {"mean": 1000, "deviation": 1002, "flow": 1004}  # places of their draws, after those of any hidden layer


@dataclass(frozen=True)
class Perceptron:
    """Hidden layers, then an affine head for the mean of a density and, if asked, one for its deviation and for a flow.

    `layer` and `place` address its parameters' draws; `group` is theirs; `bias` is where the mean's bias starts;
    `flow`: outputs of the flow's head (0: it has none).
    """

    name: str
    sizes: tuple[int, ...]  # input, hidden, …, hidden, output
    activation: str
    layer: int
    place: int
    group: Group
    deviation: bool = True
    bias: np.ndarray | None = None
    flow: int = 0

    def parameters(self) -> Iterator[Parameter]:
        """Weights and biases of the hidden layers in order, then of the heads."""
        *inner, outputs = self.sizes
        for i in range(len(inner) - 1):
            yield from affine_parameters(
                f"{self.name}.{i}", inner[i], inner[i + 1], self.layer, self.place + 2 * i, self.group
            )
        sizes = {"mean": outputs, "deviation": outputs * self.deviation, "flow": self.flow}
        for head, size in sizes.items():
            if size:
                bias, place = self.bias if head == "mean" else None, self.place + _HEADS[head]
                yield from affine_parameters(
                    f"{self.name}.{head}", inner[-1], size, self.layer, place, self.group, bias
                )

    def mean(self, params: Mapping[str, Tensor], x: Tensor, average: bool = False) -> Tensor:
        """The head of the mean alone: x (C, S, B, I) → (C, S, B, O), or its average over samples, (C, 1, B, O)."""
        return self._apply(params, x, ("mean",), average)[0]

    def gaussian(self, params: Mapping[str, Tensor], x: Tensor, average: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each (C, S, B, O), or their averages over samples, (C, 1, B, O)."""
        raw, mean = self._apply(params, x, ("deviation", "mean"), average)
        return mean, sigma(raw, average)

    def gaussian_and_flow(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean and deviation, each (C, S, B, O), and the outputs for the flow, (C, S, B, `flow`); None without any."""
        if not self.flow:
            return *self.gaussian(params, x), None
        flow, raw, mean = self._apply(params, x, ("flow", "deviation", "mean"), False)
        return mean, sigma(raw), flow

    def _apply(
        self, params: Mapping[str, Tensor], x: Tensor, heads: tuple[str, ...], average: bool
    ) -> tuple[Tensor, ...]:
        names = [*map(str, range(len(self.sizes) - 2)), *heads]
        tensors = [params[f"{self.name}.{name}.{kind}"] for name in names for kind in ("weight", "bias")]
        if twice.twice():
            return twice.perceptron(x, self.activation, len(heads), average, tensors)
        if natively(x):
            return bfloat16.perceptron(x, self.activation, len(heads), average, tensors)
        if in_float32() and compiled_perceptron.usable(x, self.activation, tensors):
            return compiled_perceptron.perceptron(x, len(heads), average, tensors)
        outputs: tuple[Tensor, ...] = _Map.apply(x, self.activation, len(heads), average, *tensors)  # type: ignore[no-untyped-call]
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
        samples = samples if average else 1
        weights, biases = tensors[::2], tensors[1::2]
        hidden = len(weights) - heads
        rows = [x.reshape(cells, -1, x.shape[-1])]  # what each affine map sees
        for weight, bias in zip(weights[:hidden], biases, strict=False):
            rows.append(affine_activation(rows[-1], weight, bias, activation))
        last = rows[-1]
        rows += [last] * (heads - 1)
        if samples > 1:
            rows[-1] = mean_samples(last, samples)
        ctx.activation, ctx.hidden, ctx.samples, ctx.shape = activation, hidden, samples, x.shape
        ctx.save_for_backward(last, *rows, *weights, *biases)
        outputs = map(affine, rows[hidden:], weights[hidden:], biases[hidden:])
        return tuple(out.view(cells, -1, batch, out.shape[-1]) for out in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        last, *saved = ctx.saved_tensors
        count, hidden, trained = len(saved) // 3, ctx.hidden, ctx.needs_input_grad[4]
        rows, weights, biases = (saved[i * count : (i + 1) * count] for i in range(3))
        of_weights = [gradient_buffer(weight) for weight in weights if trained]
        of_biases = [*map(gradient_buffer, biases)]
        back = [weight.mT for weight in weights]
        # In one order of memory, or the sums over rows would be taken in another one in a stack than alone.
        heads = [grad.reshape(len(grad), -1, grad.shape[-1]).contiguous() for grad in grads]
        for i, head in enumerate(heads, start=hidden):
            if trained:
                product(rows[i].mT, head, out=of_weights[i])
                sum_rows(head, of_biases[i])
        grad = product(heads[0], back[hidden])  # of the last hidden layer
        if len(heads) == 1 and ctx.samples > 1:
            of_mean, grad = grad, torch.zeros_like(last)
            add_gradient_of_mean(grad, of_mean, ctx.samples)
        for head, weight in zip(heads[1:], back[hidden + 1 :], strict=True):
            if ctx.samples == 1:
                add_product(grad, head, weight)
            else:
                add_gradient_of_mean(grad, product(head, weight), ctx.samples)
        for i in reversed(range(hidden)):
            activation_gradient(grad, last if i + 1 == hidden else rows[i + 1], ctx.activation, of_biases[i])
            if trained:
                product(rows[i].mT, grad, out=of_weights[i])
            if i or ctx.needs_input_grad[0]:
                grad = product(grad, back[i])
        of_tensors = [each for pair in zip(of_weights, of_biases, strict=trained) for each in pair]
        of_x = grad.view(ctx.shape) if ctx.needs_input_grad[0] else None
        return of_x, None, None, None, *(of_tensors if trained else [None] * 2 * count)
