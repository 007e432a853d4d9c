"""Perplexity: the geometric mean over symbols of 1 / p(symbol | those before it), from the importance-weighted bound.

    exp(− Σ_n L(x_n) / Σ_n (T_n + 1))

A sequence of T symbols is scored for T + 1, its end among them and its start not. As L bounds log p(x) from below, it
is an upper bound of the model's perplexity, closer with K; of a model without latent variables it is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from models.evaluation.accumulators import Accumulator
from models.evaluation.bound import Bound


@dataclass
class Perplexity(Accumulator):
    """Of so many scored symbols in all sequences that `bound` is of."""

    bound: Bound
    tokens: int

    def row(self, cell: int) -> dict[str, Any]:
        """`tokens`, `perplexity`."""
        nats = -self.bound.row(cell)["iw_bound"] * self.bound.images / self.tokens
        return {"tokens": self.tokens, "perplexity": math.exp(nats) if nats < 700 else math.inf}
