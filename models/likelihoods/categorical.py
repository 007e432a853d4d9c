"""Symbols of a vocabulary; a network puts out a logit for each symbol at each position of a sequence.

log p(x) = Σ_t l_{t, x_t} − log Σ_v exp l_{t, v},   t = 1 … T + 1

The sum ends with the end symbol, which is scored once; what follows it is padding and counts for nothing. The numbers
that a network puts out lie position by position, and those of a position symbol by symbol.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell import Cell
from models.cell.sequence_shape import END, SequenceShape
from models.likelihoods.likelihood import Drawn

CLIPPED = 1e-6  # a symbol that no training sequence has starts at this probability


class Categorical:
    """See `models.likelihoods.likelihood.Likelihood`."""

    def __init__(self, cells: Sequence[Cell], shape: SequenceShape, like: Tensor):
        self.maps = shape.vocabulary

    def first_bias(self, mean_pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The logarithm of each symbol's share, (vocabulary,), the same at all positions: one bias serves them all."""
        bias: npt.NDArray[np.float64] = np.log(np.maximum(mean_pixel, CLIPPED))
        return bias

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """x (cells, 1, batch, positions), symbols by their numbers. The targets' logits are taken out before anything
        of the size of all logits is made."""
        logits = out.view(*out.shape[:-1], -1, self.maps)  # (C, S, B, T, V)
        targets = x.long().unsqueeze(-1).expand(*logits.shape[:-1], 1)
        each = logits.gather(-1, targets).squeeze(-1) - logits.logsumexp(-1)
        return torch.where(scored(x), each, 0.0).sum(-1)

    def mean(self, out: Tensor) -> Tensor:
        """Probabilities of all symbols at each position, of the shape of `out`."""
        return out.view(*out.shape[:-1], -1, self.maps).softmax(-1).view_as(out)

    def sample(self, out: Tensor, uniform: Drawn, normal: Drawn) -> Tensor:
        """Symbols, (cells, samples, batch, positions), of positions that do not depend on each other."""
        logits = out.view(*out.shape[:-1], -1, self.maps)
        return drawn(logits, uniform(logits.shape[1:-1])).to(out.dtype)


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """Symbols drawn with the probabilities of these logits, (…, V), by numbers on [0, 1), (…): (…), int64."""
    ends = logits.softmax(-1).cumsum(-1)
    return (ends[..., :-1] <= uniform.unsqueeze(-1) * ends[..., -1:]).sum(-1)


def scored(x: Tensor) -> Tensor:
    """Where a sequence has symbols up to its end and with it, (…, positions) bool: all before the first end, and it."""
    ended = x == END
    return ended.cumsum(-1) - ended.long() == 0
