"""Bits per dimension of images whose values are levels: −(nats per image) / (D ln 2), of D values.

It is a number of bits because the likelihood is a probability of levels: 8 where all 256 are equally probable. Nothing
is added for their number. A Gaussian of the same levels is a density of real values, without a least number of bits;
and of pixels that are binarised anew at every use the literature gives nats: both have none here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from models.evaluation.accumulators import Accumulator
from models.evaluation.bound import Bound
from models.evaluation.elbo import Elbo


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Of a log-likelihood of an image, or a bound of it, nats."""
    return -nats / (dimensions * math.log(2.0))


@dataclass
class BitsPerDim(Accumulator):
    """Of the ELBO, an upper bound of the bits, and of the importance-weighted bound, on average a closer one."""

    elbo: Elbo
    bound: Bound
    dimensions: int

    def row(self, cell: int) -> dict[str, Any]:
        """`bits_per_dim`, `bits_per_dim_iw`."""
        return {
            "bits_per_dim": bits_per_dim(self.elbo.row(cell)["elbo"], self.dimensions),
            "bits_per_dim_iw": bits_per_dim(self.bound.row(cell)["iw_bound"], self.dimensions),
        }
