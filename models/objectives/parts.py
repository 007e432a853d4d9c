"""Parts that any objective can take: a KL weight with warm-up, and free bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cell import Cell
from models.networks.network import Layer
from models.parameters import column


class KlWeight:
    """β of each cell at an absolute step: `kl_weight_start` for `kl_delay_steps`, then linearly to `kl_weight` over
    `kl_warmup_steps`, or at once where these are 0. `models.objectives.spec.KlWeightOptions.kl_weight_at` is its plain
    twin."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.start = column([c.kl_weight_start for c in cells], like, 1)
        self.end = column([c.kl_weight for c in cells], like, 1)
        self.steps = column([c.kl_warmup_steps for c in cells], like, 1)
        self.rate = self.steps.clamp_min(1.0).reciprocal()
        self.delay = column([c.kl_delay_steps for c in cells], like, 1)

        self.changes = any(c.kl_warmup_steps > 0 or c.kl_delay_steps > 0 for c in cells)

    def at(self, step: int | Tensor) -> Tensor:
        """(cells,)."""
        if not self.changes:
            return self.end
        since = step - self.delay
        share = torch.where(self.steps > 0, since * self.rate, since + 1.0).clamp(0.0, 1.0)
        return torch.where(share < 1.0, self.start + (self.end - self.start) * share, self.end)


class FreeBits:
    """Each group's term, averaged over chains and batch, is held at λ nats or above (Kingma et al. 2016, eq. 15).

    A group is a layer, or a unit of a layer (`free_bits_group`). Below λ its gradient is cut, that of p(z_i|z_{i+1})
    with it. λ = 0 is off: lower terms may then be negative.
    """

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.on = any(c.free_bits > 0 for c in cells)
        floor = [c.free_bits if c.free_bits > 0 else -float("inf") for c in cells]
        self.floor = column(floor, like, 1)
        self.by_unit = cells[0].free_bits_group == "unit"

    def of(self, layer: Layer) -> Tensor:
        """What a layer counts, (cells,), nats: the sum over its groups."""
        if self.by_unit:
            return self(layer.unit_term().mean((1, 2))).sum(1)
        return self(layer.term().mean((1, 2)))

    def __call__(self, term: Tensor) -> Tensor:
        """The batch means of groups, (cells,) or (cells, units), each held at λ or above."""
        return torch.maximum(term, self.floor.view(-1, *(1,) * (term.dim() - 1))) if self.on else term
