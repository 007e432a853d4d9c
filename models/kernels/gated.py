"""Gated layers over a stack: one affine map times the sigmoid of another (Dauphin et al. 2017, eq. 1).

    y = (x W + b) ⊙ σ(x V + c)

Shapes: C cells, S samples, B batch, I and O features. One node of the graph stands for the layer; σ(a) is written as
½ + ½ tanh(a / 2), whose bits do not depend on a number's place in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import twice
from models.kernels.buffers import gradient_buffer
from models.kernels.elementwise import affine, sum_rows
from models.kernels.products import add_product, product
from models.parameters import Group, Parameter


@dataclass(frozen=True)
class Gated:
    """A gated layer. `layer` and `place` address its parameters' draws, which take four places; `group` is theirs."""

    name: str
    inputs: int
    outputs: int
    layer: int
    place: int
    group: Group

    def parameters(self) -> Iterator[Parameter]:
        """Weight and bias of the value, then of the gate; weights start normal with variance 2 / inputs (He et al.)."""
        normal = 0.0, math.sqrt(2.0 / self.inputs)
        for i, part in enumerate(("value", "gate")):
            name, place = f"{self.name}.{part}", self.place + 2 * i
            sizes = self.inputs, self.outputs
            yield Parameter(f"{name}.weight", sizes, self.layer, place, group=self.group, normal=normal)
            yield Parameter(f"{name}.bias", (self.outputs,), self.layer, place + 1, group=self.group)

    def __call__(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """(C, S, B, I) → (C, S, B, O)."""
        tensors = [params[f"{self.name}.{part}.{kind}"] for part in ("value", "gate") for kind in ("weight", "bias")]
        if twice.twice():
            return twice.gated(x, *tensors)
        y: Tensor = _Gated.apply(x, *tensors)  # type: ignore[no-untyped-call]
        return y


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gate_weight: Tensor, gate_bias: Tensor) -> Tensor:
        rows = x.reshape(len(x), -1, x.shape[-1])
        value, gate = affine(rows, weight, bias), affine(rows, gate_weight, gate_bias)
        gate.mul_(0.5).tanh_().mul_(0.5).add_(0.5)
        ctx.shape = x.shape
        ctx.save_for_backward(rows, value, gate, weight, bias, gate_weight, gate_bias)
        return (value * gate).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, value, gate, *tensors = ctx.saved_tensors
        grad = grad.reshape(value.shape)
        of_value = grad * gate
        of_gate = (1.0 - gate).mul_(of_value).mul_(value)
        found: list[Tensor | None] = [*map(gradient_buffer, tensors)]
        for each, of_weight, of_bias in ((of_value, *found[:2]), (of_gate, *found[2:])):
            product(rows.mT, each, out=of_weight)
            assert of_bias is not None
            sum_rows(each, of_bias)
        if not ctx.needs_input_grad[0]:
            return None, *found
        of_x = product(of_value, tensors[0].mT)
        add_product(of_x, of_gate, tensors[2].mT)
        return of_x.view(ctx.shape), *found
