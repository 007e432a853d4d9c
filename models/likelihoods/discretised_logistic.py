"""The discretised logistic: a logistic distribution cut into 256 levels (Salimans et al. 2017, eq. 2; after Kingma et
al. 2016).

Level n stands at 2n/255 − 1, half a bin is 1/255, and the outer bins reach to infinity, so that the levels'
probabilities sum to 1. With a = (2n/255 − 1 + 1/255 − μ)/s and b = a − 2/(255 s):

    P(0) = σ(a),   P(255) = σ(−b),   else σ(a) − σ(b) = σ(a) σ(−b) (1 − e^{−2/(255 s)})

The product has no cancellation, so no approximation is needed where a bin holds little, as published code has it (a
density times the bin's width below 1e-5: wrong by 2 nats at log s = −7). Which bins are the outer ones is asked of the
whole number n: values near 1 that are compared as floats take level 254 for one, and sum to 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.levels import level_log_prob

LEVELS = 255  # the largest of 256
LOG_SCALES = (-7.0, 7.0)  # within them values and gradients are finite in float32
CLIPPED = 0.001  # a pixel that is always 0 or 1 in training starts at this mean from there


def levels_of(x: Tensor) -> Tensor:
    """The whole numbers 0 … 255 that x, on [0, 1], stands for."""
    return (x * LEVELS).round()


def centred(level: Tensor) -> Tensor:
    """The place of a level on [−1, 1], where locations and scales are."""
    return level * (2.0 / LEVELS) - 1.0


def log_prob(level: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log P(level) of each value, nats; the shapes broadcast. Log scales outside `LOG_SCALES` count as their ends."""
    return level_log_prob(level, location, log_scale, LOG_SCALES)


def mean(location: Tensor, log_scale: Tensor) -> Tensor:
    """The mean level / 255, in [0, 1]: that of the logistic cut at −1 and 1, half a level from the exact one or less.

    −1 + ∫_{−1}^{1} σ((μ − t)/s) dt, of which the mean over 256 levels is the sum by the midpoint rule.
    """
    scale = log_scale.clamp(*LOG_SCALES).exp()
    cut = scale * (F.logsigmoid((1.0 - location) / scale) - F.logsigmoid((-1.0 - location) / scale))
    return 0.5 * cut.clamp(0.0, 2.0)


def location_of(mean: npt.NDArray[np.float64], log_scale: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The location at which a logistic cut at −1 and 1 has this mean level / 255, clipped off 0 and 1."""
    scale = np.exp(log_scale)
    cut = 2.0 * np.clip(mean, CLIPPED, 1.0 - CLIPPED) / scale
    location: npt.NDArray[np.float64] = scale * (np.log(np.expm1(cut)) - np.log(-np.expm1(cut - 2.0 / scale))) - 1.0
    return location


def draw(location: Tensor, log_scale: Tensor, uniform: Tensor) -> Tensor:
    """Levels 0 … 255 drawn by the inverse of the distribution function, from numbers on [0, 1)."""
    logit = uniform.log() - torch.log1p(-uniform)
    value = location + log_scale.clamp(*LOG_SCALES).exp() * logit
    return ((value + 1.0) * (LEVELS / 2.0)).round().clamp(0.0, LEVELS)
