"""Parameters of a stack's networks, and numbers of its cells as tensors: each with a leading axis of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Group = Literal["inference", "generative", "prior"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a network: its name, its shape without the cells, and where its first value comes from.

    Weights are (inputs, outputs) and start Glorot-uniform, or normal with the mean and deviation of `normal`; biases
    start at `value` (0, or one number per unit). Either starts uniform on ±`uniform` where that is given.
    `layer` and `place` address its draws, so that no other layer's depend on them. `group` says what it is part of:
    optimisers can update one group of a stack and leave the others as they are.
    """

    name: str
    shape: tuple[int, ...]
    layer: int
    place: int
    value: np.ndarray | None = None
    group: Group = "generative"
    normal: tuple[float, float] | None = None
    uniform: float | None = None

    def first(self, uniform: Callable[..., Tensor]) -> Tensor:
        """First value, (cells, *shape); `uniform(shape, layer=, inner=)` gives numbers on [0, 1), (cells, *shape)."""
        draws = uniform(self.shape, layer=self.layer, inner=self.place)
        if self.uniform is not None:
            return (draws * 2.0 - 1.0) * self.uniform
        if len(self.shape) == 1:
            first = torch.zeros_like(draws)
            return first if self.value is None else first + torch.tensor(self.value).to(first)
        if self.normal is not None:
            mean, deviation = self.normal
            numbers: Tensor = torch.special.ndtri(draws.double() + 2.0**-26) * deviation + mean
            return numbers.to(draws)
        bound = math.sqrt(6.0 / (self.shape[0] + self.shape[1]))
        return (draws * 2.0 - 1.0) * bound


def affine_parameters(
    name: str, inputs: int, outputs: int, layer: int, place: int, group: Group, bias: Any = None
) -> list[Parameter]:
    """The two parameters of an affine map; `bias`: where its bias starts [0], (outputs,)."""
    weight = Parameter(f"{name}.weight", (inputs, outputs), layer, place, group=group)
    return [weight, Parameter(f"{name}.bias", (outputs,), layer, place + 1, bias, group)]


def column(values: Sequence[float], like: Tensor, axes: int) -> Tensor:
    """One number per cell as (C, 1, …, 1) with `axes` axes in all, of the dtype and device of `like`."""
    return torch.tensor(values, dtype=torch.float64).to(like).view(-1, *(1,) * (axes - 1))
