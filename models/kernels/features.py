"""Perceptrons whose last hidden layer is of use by itself: features that heads and a further map both see.

Shapes: C cells, S samples, B batch, I, H and O features. As in `perceptron.py`, one node of the graph stands for all
hidden layers; the heads are a node of their own, because their gradient and that of what else sees the features meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import bfloat16, compiled_perceptron, twice
from models.kernels.buffers import gradient_buffer
from models.kernels.elementwise import activation_gradient, affine_activation
from models.kernels.perceptron import Perceptron
from models.kernels.products import in_float32, natively, product


class FeaturePerceptron(Perceptron):
    """The parameters of a `Perceptron`, applied in two parts: hidden layers, and heads upon them."""

    def features(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The last hidden layer: x (C, S, B, I) → (C, S, B, H)."""
        names = [f"{self.name}.{i}" for i in range(len(self.sizes) - 2)]
        tensors = [params[f"{name}.{kind}"] for name in names for kind in ("weight", "bias")]
        if twice.twice():
            return twice.hidden(x, tensors, self.activation).view(*x.shape[:-1], -1)
        if natively(x):
            return bfloat16.hidden_layers(x, self.activation, tensors)
        if in_float32() and compiled_perceptron.usable(x, self.activation, tensors):
            return compiled_perceptron.hidden_layers(x, tensors)
        found: Tensor = _Hidden.apply(x, self.activation, *tensors)  # type: ignore[no-untyped-call]
        return found

    def heads(self, params: Mapping[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each (C, S, B, O), of features (C, S, B, H)."""
        sizes = self.sizes[-2:]
        only = Perceptron(self.name, sizes, self.activation, self.layer, self.place, self.group)
        return only.gaussian(params, features)


class _Hidden(torch.autograd.Function):
    """x (C, S, B, I) → the last hidden layer; `tensors` are weight (C, I, O) and bias (C, O) of each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *tensors: Tensor) -> Tensor:
        weights, biases = tensors[::2], tensors[1::2]
        rows = [x.reshape(len(x), -1, x.shape[-1])]
        for weight, bias in zip(weights, biases, strict=True):
            rows.append(affine_activation(rows[-1], weight, bias, activation))
        ctx.activation, ctx.shape = activation, x.shape
        ctx.save_for_backward(*rows, *weights, *biases)
        return rows[-1].view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
        count = (len(ctx.saved_tensors) - 1) // 3
        rows, weights = ctx.saved_tensors[: count + 1], ctx.saved_tensors[count + 1 : 2 * count + 1]
        biases = ctx.saved_tensors[2 * count + 1 :]
        of_weights, of_biases = [*map(gradient_buffer, weights)], [*map(gradient_buffer, biases)]
        grad = given.reshape(rows[-1].shape).clone()  # written over below, and not this node's own
        for i in reversed(range(count)):
            activation_gradient(grad, rows[i + 1], ctx.activation, of_biases[i])
            product(rows[i].mT, grad, out=of_weights[i])
            if i or ctx.needs_input_grad[0]:
                grad = product(grad, weights[i].mT)
        of_tensors = [each for pair in zip(of_weights, of_biases, strict=True) for each in pair]
        return grad.view(ctx.shape) if ctx.needs_input_grad[0] else None, None, *of_tensors
