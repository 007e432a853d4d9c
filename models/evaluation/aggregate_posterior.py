"""Densities of samples under the posteriors of N images and under their mean, the aggregate posterior.

`models.evaluation.mutual_information` says what they estimate, and why. N images, one sample of each, units of a layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EXACT = 1e-12  # scatter between an image's chains, over that within them, below which q(z|x) is one Gaussian
ROWS = 500  # samples whose densities under all images are computed at a time


def moments_of(means: Tensor, squares: Tensor, variances: Tensor, chains: int) -> tuple[tuple[Tensor, Tensor], bool]:
    """Mean and variance of q(z|x) of each image, from sums over its chains, drawn towards all images', (N, units); and
    whether all chains have the same, so that q(z|x) is that Gaussian."""
    mean = means / chains
    between = (squares / chains - mean.square()).clamp_min(0.0) * (chains / max(chains - 1, 1))  # chains of an image
    exact = bool((between <= EXACT * (squares + variances)).all())
    images = len(mean)
    if chains > 1 and images > 1:
        centre, noise = mean.mean(0), between.mean(0) / chains
        mean = centre + _share(mean.var(0), noise) * (mean - centre)
        noise = (2.0 / (chains + 1.0)) * between.square().mean(0)  # of the variance of as many Gaussian numbers
        between = between.mean(0) + _share(between.var(0), noise) * (between - between.mean(0))
    return (mean, variances / chains + between), exact


def _share(scatter: Tensor, noise: Tensor) -> Tensor:
    """How much of the scatter of a quantity over images is not the noise of its estimates, in [0, 1]."""
    return torch.where(scatter > 0, 1.0 - noise / scatter, 1.0).clamp_min(0.0)


def gaussian_terms(
    z: Tensor, q_mean: Tensor, q_deviation: Tensor, q: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The terms where q̃ is Gaussian, of the mean and variance `q`, those of the upper bound, and log (1/N) Σ q̃;
    (N, units) → (N,)."""
    mean, variance = q
    centre = mean.mean(0)
    spread_out = variance.mean(0) + mean.var(0, correction=0)
    own, aggregate, others = log_densities(z, mean, variance)
    # log q̃ − log r at the sample, and its expectation over the noise that the sample was drawn with.
    ratio = own - _log_normal(z, centre, spread_out)
    scale = (variance / spread_out).log()
    expected = ((q_mean - centre).square() + q_deviation.square()) / spread_out
    expected = 0.5 * (expected - ((q_mean - mean).square() + q_deviation.square()) / variance - scale).sum(1)
    control = expected - ratio
    return controlled(own - aggregate, control), controlled(own - others, control), aggregate


def controlled(values: Tensor, control: Tensor) -> Tensor:
    """Values whose mean has less noise: plus the best multiple of what is 0 on average; both (N,)."""
    scatter = control - control.mean()
    size = scatter.square().sum()
    return values - torch.where(size > 0, (scatter * values).sum() / size, 0.0) * control


def _log_normal(z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(z; mean, variance) summed over units, (N,)."""
    return -0.5 * ((z - mean).square() / variance + (2 * math.pi * variance).log()).sum(1)


def means_of(densities: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Log of the mean of densities, (rows, N) in logs, over all images and over all but a row's own; (rows,) each.

    Row r is of image `first` + r. `densities` is written over. Of a single image there are no others: NaN.
    """
    images, places = densities.shape[1], torch.arange(len(densities), device=densities.device)
    every = densities.logsumexp(1) - math.log(images)
    densities[places, first + places] = -math.inf
    others = densities.logsumexp(1) - math.log(images - 1) if images > 1 else every * math.nan
    return every, others


def log_densities(z: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log q̃(z_n|x_n), and log of the mean of q̃(z_n|x_m) over all m and over all others; (N,) each.

    The square is multiplied out to two matrix products, about the aggregate's mean: 1.5 s for 10,000 images and 32
    units, of float64.
    """
    centre = mean.mean(0)
    z, mean, precision = z - centre, mean - centre, 1.0 / variance
    linear, quadratic = (mean * precision).mT.contiguous(), precision.mT.contiguous()
    constant = -0.5 * (mean.square() * precision + (2 * math.pi * variance).log()).sum(1)
    own, found = _log_normal(z, mean, variance), []
    for first in range(0, len(z), ROWS):
        some = z[first : first + ROWS].contiguous()
        each = some @ linear - 0.5 * (some.square() @ quadratic) + constant  # (rows, N)
        places = torch.arange(len(some), device=z.device)
        each[places, first + places] = own[first : first + ROWS]  # so that the own term is the same, to the last bit
        found.append(means_of(each, first))
    aggregate, others = (torch.cat(each) for each in zip(*found, strict=True))
    return own, aggregate, others
