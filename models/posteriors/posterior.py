"""The contract of a posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from models.cell import Cell
from models.parameters import Parameter

Params = Mapping[str, Tensor]


class Drawn(NamedTuple):
    """A sample of a layer and what it was drawn from, each (cells, samples, batch, units).

    - `z`: the sample; `mean`, `deviation`: of the Gaussian that it was drawn from, or a flow that made it began with.
    - `noise`: the standard normal numbers behind it.
    - `log_determinant`: of that flow, log |det ∂z/∂z_0|, (cells, samples, batch); None where z is Gaussian.
    """

    z: Tensor
    mean: Tensor
    deviation: Tensor
    noise: Tensor
    log_determinant: Tensor | None = None

    def moments(self) -> tuple[Tensor, Tensor | None]:
        """Mean and deviation of q as `models.networks.network.Layer` has them: of a flow z itself, and None."""
        return (self.mean, self.deviation) if self.log_determinant is None else (self.z, None)


class Posterior(Protocol):
    """The distribution of a layer given the outputs of its inference map, whatever these are conditioned on.

    Below the top layer it is Gaussian. What else it may be concerns the top layer alone: its map then has further
    outputs, or it has parameters of its own, and `transform` follows `draw`.

    - `gaussian`: whether z_L, given these, is Gaussian of the mean and deviation that the map puts out, which smoothing
      and an analytic KL presuppose. If it is, `transform` is not called.
    """

    gaussian: bool

    def __init__(self, cells: Sequence[Cell], like: Tensor) -> None: ...

    def outputs(self, units: int) -> int:
        """Numbers that the top layer's map puts out for it besides mean and deviation of so many units."""
        ...

    def parameters(self, units: int) -> list[Parameter]:
        """Trained tensors of its own, in the group of inference."""
        ...

    def draw(self, mean: Tensor, deviation: Tensor, noise: Tensor) -> Drawn:
        """A Gaussian sample, given what the map puts out, from standard normal `noise`; all (cells, samples, batch,
        units)."""
        ...

    def transform(self, params: Params, drawn: Drawn, outputs: Tensor | None) -> Drawn:
        """What becomes of it at the top layer, given the further outputs, (cells, samples, batch, `outputs(units)`);
        None where there are none."""
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
