"""The importance-weighted bound, and the Monte-Carlo error of its mean over images, which are held fixed.

    L = log (1/K) Σ_k w_k,   w_k = p(x, z_k) / q(z_k|x)

All terms of the weights are sampled: an analytic KL or entropy in them would make it no bound (Burda et al. 2016,
eq. 8). It is a logarithm of a mean of heavy-tailed weights. Its variance by the delta method, (sample variance of w) /
(K mean²), is too small: the few weights that make the variance are mostly not among K. With normal log weights of
standard deviation 1.5 and K = 100 the standard error was 11 % too small, with 2 it was 23 %. The jackknife leaves out
one of ten groups of chains at a time and sees what that does to the logarithm itself (Busing, Meijer & van der Leeden
1999, whose groups may be of unequal size). With standard deviations of 0.5 to 3 it is right to 2 % at K = 100, at most
5 % too large at K = 10 to 20, and 3 to 12 % too small at K = 2, of which two groups say too little.

Where only some images have K chains, their mean of L − ELBO, which differs far less from image to image than L does, is
added to the ELBO of all. Then what varies with an image's chains is L − (1 − share) ELBO, and that is what is
jackknifed: the two vary together.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from models.evaluation.accumulators import Accumulator, ChainBlock, Sizes
from models.evaluation.elbo import Means
from models.evaluation.which import ImageBlock

GROUPS = 10  # of an image's chains; fewer give a noisier error, of more the largest weight tells more, and too much


class Bound(Accumulator):
    """Running sums over the K chains of the images that have them; `k` chains each."""

    def __init__(self, sizes: Sizes, means: Means, k: int):
        self.means, self.images, self.k, self.groups = means, sizes.images, k, min(k, GROUPS)
        self.weighed, self.others = (_places(sizes, weighed) for weighed in (True, False))
        self.share = len(self.weighed) / self.images  # of all images that have K chains
        self.largest = sizes.zeros(self.images, value=-float("inf"))  # of the log weights so far
        self.weights = sizes.zeros(self.images)  # Σ w in units of the largest
        self.variance = sizes.zeros(self.images)  # of L − (1 − share) ELBO, chains drawn anew
        # of each group of chains, for the images of the block: log Σ w, and Σ of the ELBO
        self.log_sums = sizes.zeros(sizes.largest_block, self.groups, value=-float("inf"))
        self.elbos = sizes.zeros(sizes.largest_block, self.groups)

    def add(self, block: ChainBlock) -> None:
        """Log weights and ELBO of chains that are weighed."""
        if not block.weighed:
            return
        log_w, elbo, here, n = block.log_weight, block.elbo, block.images.here, block.images.count
        before = self.largest[:, here]
        largest = torch.maximum(before, log_w.max(1).values)
        rescale, w = (before - largest).exp(), (log_w - largest.unsqueeze(1)).exp()
        self.weights[:, here] = self.weights[:, here] * rescale + w.sum(1)
        self.largest[:, here] = largest
        places = [each * self.groups // self.k for each in block.chains]
        for group in dict.fromkeys(places):
            own = slice(places.index(group), len(places) - places[::-1].index(group))
            so_far = self.log_sums[:, :n, group]
            self.log_sums[:, :n, group] = torch.logaddexp(so_far, log_w[:, own].logsumexp(1))
            self.elbos[:, :n, group] += elbo[:, own].sum(1)

    def end_of_images(self, images: ImageBlock) -> None:
        """All K chains of these images were added: what the error needs of them is one number per image."""
        if not images.weighed:
            return
        if self.k > 1:
            n = images.count
            self.variance[:, images.here] = self._jackknife(self.log_sums[:, :n], self.elbos[:, :n])
        self.log_sums.fill_(-float("inf"))
        self.elbos.zero_()

    def row(self, cell: int) -> dict[str, Any]:
        """`iw_bound`, and its errors over images and over chains."""
        weighed, others, n = self.weighed, self.others, self.images
        elbo = self.means.elbo(cell)
        bound = elbo.clone()
        bound[weighed] += (self._value(cell, weighed) - elbo[weighed]) / self.share
        variance = self.variance[cell, weighed].sum() / self.share**2 + self.means.variance[cell, others].sum()
        return {
            "iw_bound": float(bound.mean()),
            "iw_samples": self.k,
            "iw_images": len(weighed),
            "iw_se": _standard_error_of_parts(bound, weighed, others),
            "iw_se_mc": float(variance.sqrt() / n) if self.k > 1 else None,
        }

    def _value(self, cell: int, images: Tensor) -> Tensor:
        """L of these images, (images,)."""
        largest, weights = self.largest[cell, images], self.weights[cell, images]
        return largest + (weights / self.k).log()

    def _jackknife(self, log_sums: Tensor, elbos: Tensor) -> Tensor:
        """Variance of L − (1 − share) ELBO of each image from its groups, (C, n, groups) → (C, n)."""
        groups, weight = self.groups, 1.0 - self.share
        ends = [-(-group * self.k // groups) for group in range(groups + 1)]
        sizes = torch.tensor(ends, dtype=log_sums.dtype, device=log_sums.device).diff()
        others = torch.full((groups, groups), 0.0, dtype=log_sums.dtype, device=log_sums.device)
        others.fill_diagonal_(-float("inf"))  # summed without the group, not as all less the group: that may be nothing
        left = (log_sums.unsqueeze(-2) + others).logsumexp(-1) - (self.k - sizes).log()
        left = left - weight * (elbos.sum(-1, keepdim=True) - elbos) / (self.k - sizes)
        whole = log_sums.logsumexp(-1, keepdim=True) - math.log(self.k)
        whole = whole - weight * elbos.sum(-1, keepdim=True) / self.k
        ratio = self.k / sizes
        pseudo = ratio * whole - (ratio - 1.0) * left
        centre = groups * whole - ((1.0 - sizes / self.k) * left).sum(-1, keepdim=True)
        found: Tensor = ((pseudo - centre).square() / (ratio - 1.0)).mean(-1)
        return found


def _places(sizes: Sizes, weighed: bool) -> Tensor:
    """Places of the images that have K chains, or of those that have not, (images,) int64."""
    blocks = (block for block in sizes.blocks if block.weighed == weighed)
    places = [place for block in blocks for place in range(block.first, block.first + block.count)]
    return torch.tensor(places, dtype=torch.int64, device=sizes.device)


def _standard_error_of_parts(per_image: Tensor, *parts: Tensor) -> float:
    """Standard error of the mean over images, of which it was fixed beforehand which are in which part.

    One image alone says nothing of its part; NaN where no part has more.
    """
    several = [per_image[part] for part in parts if len(part) > 1]
    if len(per_image) == 1 or not several:
        return math.nan
    return math.hypot(*(float(values.std()) * math.sqrt(len(values)) for values in several)) / len(per_image)
