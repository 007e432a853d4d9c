"""Parts that any objective can take: a KL weight with warm-up, and free bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cell import Cell
from models.parameters import column


class KlWeight:
    """β of each cell at an absolute step: from `kl_weight_start` linearly to `kl_weight` over `kl_warmup_steps`."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.start = column([c.kl_weight_start for c in cells], like, 1)
        self.end = column([c.kl_weight for c in cells], like, 1)
        self.steps = column([c.kl_warmup_steps for c in cells], like, 1)

        self.changes = any(c.kl_warmup_steps > 0 for c in cells)

    def at(self, step: int | Tensor) -> Tensor:
        """(cells,)."""
        if not self.changes:
            return self.end
        share = torch.where(self.steps > 0, step / self.steps.clamp_min(1.0), 1.0).clamp_max(1.0)
        return torch.where(share < 1.0, self.start + (self.end - self.start) * share, self.end)


class FreeBits:
    """Each layer's term, averaged over the batch, is held at λ nats or above (Kingma et al. 2016, eq. 15).

    A layer is a group. Below λ its gradient is cut, that of p(z_i|z_{i+1}) with it. λ = 0 is off: lower terms may
    then be negative.
    """

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.on = any(c.free_bits > 0 for c in cells)
        floor = [c.free_bits if c.free_bits > 0 else -float("inf") for c in cells]
        self.floor = column(floor, like, 1)

    def __call__(self, term: Tensor) -> Tensor:
        """A layer's batch mean, (cells,) → (cells,)."""
        return torch.maximum(term, self.floor) if self.on else term
