"""Stochastic gradient descent over a stack: no moments; rate, clipping and activity are the cell's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.stack.optimizer import Optimizer


class Sgd(Optimizer):
    """θ ← θ − η g, of all cells of a stack: see `models.stack.optimizer.Optimizer`."""

    def state(self) -> dict[str, Tensor]:
        """See `Optimizer.state`."""
        return {"sgd.updates": self.updates}

    @torch.no_grad()
    def update(
        self,
        gradient: Tensor,
        step: int | Tensor,
        active: Tensor,
        norm: Tensor,
        groups: Sequence[str] | None = None,
    ) -> None:
        """One update of the active cells; arguments as of `models.stack.adam.Adam.update`."""
        gradient = self._clipped(gradient, norm, groups)
        rate, off = self.learning_rate(step).to(gradient), ~active.unsqueeze(1)
        for group in self.groups if groups is None else groups:
            self._counted(active, group)
            for columns in self.block.ranges[group]:
                change = (gradient[:, columns] * rate).masked_fill_(off, 0.0)  # which may be NaN
                self.block.values[:, columns].sub_(change)
