"""Layers over a stack of cells: every parameter and activation has a leading axis of cells.

Shapes: C cells, S samples, B batch, I and O features. Elementwise functions here are built from operations whose
result at one element does not depend on its place in memory (`exp`, `log1p`, `tanh`), so that on one CPU thread a
cell's numbers are bitwise those of the cell trained alone; `torch.nn.functional.softplus` and `sigmoid` are not such.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
}

SIGMA_FLOOR = 1e-6
_SIGMA_SHIFT = math.log(math.e - 1.0)  # softplus(shift) = 1


@dataclass(frozen=True)
class Parameter:
    """A parameter of a network: its name, its shape without the cells, and where its first value comes from.

    Weights are (inputs, outputs) and start Glorot-uniform; biases start at `value` (0, or one number a unit).
    `layer` and `place` address its draws, so that no other layer's depend on them.
    """

    name: str
    shape: tuple[int, ...]
    layer: int
    place: int
    value: np.ndarray | None = None

    def first(self, uniform: Callable[..., Tensor]) -> Tensor:
        """First value, (cells, *shape); `uniform(shape, layer=, inner=)` gives numbers on [0, 1), (cells, *shape)."""
        draws = uniform(self.shape, layer=self.layer, inner=self.place)
        if len(self.shape) == 1:
            first = torch.zeros_like(draws)
            return first if self.value is None else first + torch.tensor(self.value).to(first)
        bound = math.sqrt(6.0 / (self.shape[0] + self.shape[1]))
        return draws.mul_(2.0).sub_(1.0).mul_(bound)


def linear(params: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Affine map of each cell: x (C, S, B, I) → (C, S, B, O), weight (C, I, O), bias (C, O)."""
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    out = torch.baddbmm(bias.unsqueeze(1), rows, weight)
    return out.view(*x.shape[:-1], weight.shape[-1])


@dataclass(frozen=True)
class MLP:
    """Hidden layers of one map, without its heads. `layer` and `place` address its parameters' draws."""

    name: str
    sizes: tuple[int, ...]  # input, hidden, …, hidden
    activation: str
    layer: int
    place: int

    def parameters(self) -> Iterator[Parameter]:
        """Weights and biases in order."""
        for i in range(len(self.sizes) - 1):
            yield from affine(f"{self.name}.{i}", self.sizes[i], self.sizes[i + 1], self.layer, self.place + 2 * i)

    def __call__(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """x (C, S, B, sizes[0]) → the last hidden layer, (C, S, B, sizes[-1])."""
        act = ACTIVATIONS[self.activation]
        for i in range(len(self.sizes) - 1):
            x = act(linear(params, f"{self.name}.{i}", x))
        return x


def affine(name: str, inputs: int, outputs: int, layer: int, place: int, bias: Any = None) -> list[Parameter]:
    """The two parameters of an affine map."""
    weight = Parameter(f"{name}.weight", (inputs, outputs), layer, place)
    return [weight, Parameter(f"{name}.bias", (outputs,), layer, place + 1, bias)]


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.abs().neg_().exp_().log1p_().add_(x.clamp_min(0.0))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        sigmoid: Tensor = (x - y).exp_()
        return sigmoid.mul_(grad)


class _BernoulliLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        y = logits.abs().neg_().exp_().log1p_().add_(logits.clamp_min(0.0))
        ctx.save_for_backward(logits, y, x)
        return (x * logits).sub_(y).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, y, x = ctx.saved_tensors
        return (logits - y).exp_().neg_().add_(x).mul_(grad.unsqueeze(-1)), None


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), stable at both ends."""
    y: Tensor = _Softplus.apply(x)  # type: ignore[no-untyped-call]
    return y


def sigma(raw: Tensor) -> Tensor:
    """Standard deviation from a network's output: softplus, σ(0) = 1, at least 1e-6."""
    return softplus(raw + _SIGMA_SHIFT) + SIGMA_FLOOR


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """log p(x) of independent pixels summed over the last axis; x in [0, 1], broadcast against the logits."""
    return _BernoulliLogits.apply(logits, x)  # type: ignore[no-any-return, no-untyped-call]


def normal_log_prob(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log N(x; mean, deviation²) of independent units summed over the last axis."""
    scaled = (x - mean) / deviation
    return -(scaled.square() * 0.5 + deviation.log()).sum(-1) - 0.5 * math.log(2 * math.pi) * x.shape[-1]


def normal_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) ‖ N(0, 1)) of each unit, nats; not summed."""
    return 0.5 * (mean.square() + deviation.square() - 1.0) - deviation.log()


def column(values: Sequence[float], like: Tensor, axes: int) -> Tensor:
    """One number a cell as (C, 1, …, 1) with `axes` axes in all, of the dtype and device of `like`."""
    return torch.tensor(values, dtype=torch.float64).to(like).view(-1, *(1,) * (axes - 1))
