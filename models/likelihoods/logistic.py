"""Independent values of 256 levels, each a discretised logistic (Kingma et al. 2016, without their shared scale).

A network puts out a map of locations for each channel, then one of log scales for each, on [−1, 1], where level n
stands at 2n/255 − 1: log p(x) = Σ_values log P(n), see `models.likelihoods.discretised_logistic`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.likelihoods import discretised_logistic
from models.likelihoods.likelihood import Drawn

FIRST_LOG_SCALE = -1.2  # near the deviation of natural images' values around their mean: half of [−1, 1]


class Logistic:
    """See `models.likelihoods.likelihood.Likelihood`."""

    def __init__(self, cells: Sequence[Cell], shape: ImageShape, like: Tensor):
        self.maps = cells[0].output_maps(shape)

    def first_bias(self, mean_pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The locations that give the mean image, and one scale."""
        location = discretised_logistic.location_of(mean_pixel, FIRST_LOG_SCALE)
        return np.concatenate([location, np.full_like(location, FIRST_LOG_SCALE)])

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """x on [0, 1]: level / 255."""
        location, log_scale = out.chunk(2, -1)  # each (C, S, B, D)
        return discretised_logistic.log_prob(discretised_logistic.levels_of(x), location, log_scale).sum(-1)

    def mean(self, out: Tensor) -> Tensor:
        """In [0, 1], to half a level."""
        return discretised_logistic.mean(*out.chunk(2, -1))

    def sample(self, out: Tensor, uniform: Drawn, normal: Drawn) -> Tensor:
        """Level / 255."""
        location, log_scale = out.chunk(2, -1)
        drawn = discretised_logistic.draw(location, log_scale, uniform(location.shape[1:]))
        return drawn / discretised_logistic.LEVELS
