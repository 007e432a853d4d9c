"""The standard normal prior, p(z) = N(0, I)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from models.cell import Cell
from models.kernels.densities import normal_kl, standard_normal_log_prob
from models.parameters import Parameter
from models.priors.prior import Params, Posterior


class StandardNormal:
    """See `models.priors.prior.Prior`."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        pass

    def parameters(self, inputs: int, images: bool) -> list[Parameter]:
        """None."""
        return []

    def log_prob(self, params: Params, z: Tensor, posterior: Posterior) -> Tensor:
        """−½ Σ z² − ½ units log 2π."""
        return standard_normal_log_prob(z)

    def kl(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """½ (μ² + σ² − 1) − log σ."""
        return normal_kl(mean, deviation)

    def sample(self, params: Params, noise: Tensor, posterior: Posterior) -> Tensor:
        """The noise itself."""
        return noise
