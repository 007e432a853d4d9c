"""The contract of a posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from models.cell import Cell


class Drawn(NamedTuple):
    """A sample of a layer and what it was drawn from, each (cells, samples, batch, units).

    - `z`: the sample; `mean`: that of the distribution, or as near to it as is known; `deviation`: of a Gaussian.
    - `noise`: the standard normal numbers behind it.
    """

    z: Tensor
    mean: Tensor
    deviation: Tensor
    noise: Tensor


class Posterior(Protocol):
    """The distribution of a layer given the outputs of its inference map, whatever these are conditioned on.

    - `gaussian`: whether z, given these, is Gaussian of the mean and deviation that the map puts out, which smoothing
      and an analytic KL presuppose.
    """

    gaussian: bool

    def __init__(self, cells: Sequence[Cell], like: Tensor) -> None: ...

    def draw(self, mean: Tensor, deviation: Tensor, noise: Tensor) -> Drawn:
        """A sample, given what the map puts out, from standard normal `noise`; all (cells, samples, batch, units)."""
        ...

    def log_prob(self, drawn: Drawn) -> Tensor:
        """log q at the sample, (cells, samples, batch)."""
        ...

    def density(self, drawn: Drawn) -> Callable[[Tensor], Tensor] | None:
        """log q at other points, given what `drawn` was drawn from; None where it cannot be computed.

        The function takes points, (cells, points, units), and returns (cells, points, samples, batch). It is for
        posteriors that are not Gaussian: those follow from mean and deviation.
        """
        ...
