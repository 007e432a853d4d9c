"""The contract of a prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from models.cell import Cell
from models.parameters import Parameter

Params = Mapping[str, Tensor]
# q(z_L|·) at inputs of the prior's own, (cells, samples, batch, inputs): mean and deviation
Posterior = Callable[[Tensor], tuple[Tensor, Tensor]]


class Prior(Protocol):
    """The distribution of the top layer. It may have parameters of its own, and look at q.

    Shapes: z, mean and deviation (cells, samples, batch, units).
    """

    def __init__(self, cells: Sequence[Cell], like: Tensor) -> None: ...

    def parameters(self, inputs: int, images: bool) -> list[Parameter]:
        """Trained tensors of the prior; `inputs`: numbers that q(z_L|·) is given; `images`: an image's, not z's."""
        ...

    def log_prob(self, params: Params, z: Tensor, posterior: Posterior) -> Tensor:
        """log p(z), summed over units, (cells, samples, batch)."""
        ...

    def kl(self, mean: Tensor, deviation: Tensor) -> Tensor | None:
        """KL(N(mean, deviation²) ‖ p) of each unit, nats; None where it has no closed form."""
        ...

    def sample(self, params: Params, noise: Tensor, posterior: Posterior) -> Tensor:
        """z for standard normal noise, which all that is random about it comes from."""
        ...
