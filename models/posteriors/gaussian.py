"""The diagonal Gaussian posterior: z = μ + σ ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.cell import Cell
from models.kernels.densities import normal_log_prob, standard_normal_log_prob
from models.parameters import Parameter
from models.posteriors.posterior import Drawn, Params


class Gaussian:
    """See `models.posteriors.posterior.Posterior`."""

    gaussian = True

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        pass

    def outputs(self, units: int) -> int:
        """None."""
        return 0

    def parameters(self, units: int) -> list[Parameter]:
        """None."""
        return []

    def draw(self, mean: Tensor, deviation: Tensor, noise: Tensor) -> Drawn:
        """μ + σ ε."""
        return Drawn(torch.addcmul(mean, deviation, noise), mean, deviation, noise)

    def transform(self, params: Params, drawn: Drawn, outputs: Tensor | None) -> Drawn:
        """Nothing becomes of it."""
        return drawn

    def log_prob(self, drawn: Drawn) -> Tensor:
        """log N(ε; 0, I) − Σ log σ: at its own sample, (z − μ)/σ is ε exactly."""
        return standard_normal_log_prob(drawn.noise) - drawn.deviation.log().sum(-1)

    def density(self, drawn: Drawn) -> Callable[[Tensor], Tensor] | None:
        """log N(z; μ, σ²) at any z."""

        def at(z: Tensor) -> Tensor:
            return normal_log_prob(z[:, :, None, None], drawn.mean.unsqueeze(1), drawn.deviation.unsqueeze(1))

        return at
