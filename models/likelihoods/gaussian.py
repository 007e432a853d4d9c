"""Independent Gaussian pixels of one fixed variance per cell; a network puts out their means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.kernels.densities import normal_log_prob
from models.likelihoods.likelihood import Drawn
from models.parameters import column


class Gaussian:
    """See `models.likelihoods.likelihood.Likelihood`."""

    def __init__(self, cells: Sequence[Cell], shape: ImageShape, like: Tensor):
        self.maps = shape.channels
        self.deviation = column([cell.decoder_variance for cell in cells], like, 4).sqrt()  # (cells, 1, 1, 1)

    def first_bias(self, mean_pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The mean pixel."""
        return mean_pixel

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """log N(x; out, σ²)."""
        return normal_log_prob(x, out, self.deviation)

    def mean(self, out: Tensor) -> Tensor:
        """What the network puts out."""
        return out

    def sample(self, out: Tensor, uniform: Drawn, normal: Drawn) -> Tensor:
        """Real values."""
        return out + normal(out.shape[1:]) * self.deviation
