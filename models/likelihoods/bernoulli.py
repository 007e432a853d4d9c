"""Independent binary pixels; a network puts out their logits.

log p(x) = Σ_j x_j l_j − log(1 + exp l_j)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.kernels.densities import bernoulli_log_prob
from models.likelihoods.likelihood import Drawn

CLIPPED = 0.001  # a pixel that is never or always on in training starts at this probability from there


class Bernoulli:
    """See `models.likelihoods.likelihood.Likelihood`."""

    def __init__(self, cells: Sequence[Cell], shape: ImageShape, like: Tensor):
        self.maps = shape.channels

    def first_bias(self, mean_pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The logit of the mean pixel, clipped."""
        pixel = np.clip(mean_pixel, CLIPPED, 1 - CLIPPED)
        bias: npt.NDArray[np.float64] = np.log(pixel) - np.log1p(-pixel)
        return bias

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """x in [0, 1]."""
        return bernoulli_log_prob(x, out)

    def mean(self, out: Tensor) -> Tensor:
        """Probabilities."""
        return out.sigmoid()

    def sample(self, out: Tensor, uniform: Drawn, normal: Drawn) -> Tensor:
        """Zeros and ones."""
        return (uniform(out.shape[1:]) < self.mean(out)).to(out.dtype)
