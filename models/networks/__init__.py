"""Networks: what maps where, and the terms they hand to objectives and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from models.kernels.layers import Parameter

if TYPE_CHECKING:
    from models.objectives.smoothing import Smoothing


@dataclass(frozen=True)
class Layer:
    """Terms of one stochastic layer at its sample.

    - `z` and `q_mean`: the sample and the mean of q it was drawn from, (cells, samples, batch, features).
    - `log_q`, `log_p`: log q(z_i|·) and log p(z_i|·) at that sample, summed over features, (cells, samples, batch).
    - `kl`: the analytic KL of each unit, (cells, samples, batch, features), only where it *is* the expectation of
      log q − log p given what is below: for bottom-up inference that is the top layer alone.
    - `q_deviation`: the deviation of that q, of the shape of `q_mean`; None where q is no diagonal Gaussian.
    """

    z: Tensor
    q_mean: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor | None = None
    q_deviation: Tensor | None = None

    def term(self) -> Tensor:
        """The layer's term of the ELBO, (cells, samples, batch): the analytic KL where there is one."""
        return self.log_q - self.log_p if self.kl is None else self.kl.sum(-1)


@dataclass(frozen=True)
class Terms:
    """All that objectives and metrics may use: log p(x|·), (cells, samples, batch), and the layers from the data up."""

    log_px: Tensor
    layers: tuple[Layer, ...]


class Network(Protocol):
    """A network of one shape. It holds no tensors: parameters come in, stacked over cells."""

    latents: tuple[int, ...]

    def parameters(self) -> list[Parameter]:
        """Every trained tensor, in a fixed order."""
        ...

    def terms(
        self,
        params: Mapping[str, Tensor],
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        decoder_variance: Tensor | None = None,
    ) -> Terms:
        """x (cells, 1, batch, features) and the noise of each layer, (cells, samples, batch, units) → terms."""
        ...

    def image(self, params: Mapping[str, Tensor], noise: Sequence[Tensor], z: Tensor | None = None) -> Tensor:
        """Mean of p(x|z₁), (cells, samples, batch, features), at the end of a way down from `z`, or from the prior.

        noise: of the layers drawn on the way, shapes as for `terms`: 1 … i − 1 for a `z` of layer i, all for the prior.
        """
        ...
