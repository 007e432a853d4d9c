"""What every optimiser of a stack has: rates, clipping and counts of updates, each the cell's own.

A cell that is not active keeps its weights: its gradient, which may be NaN, goes into no product. A group of parameters
can be updated alone, and more often than another: each group has a count of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.cell import Cell
from models.parameters import column
from models.stack.block import Block

EVERYTHING = [slice(None)]  # columns


class Optimizer:
    """Rates and clipping of all cells of a stack; `update` is the subclass's.

    Args:
        cells: their learning rates, schedules and clipping.
        block: the trained numbers, (cells, P), updated in place, and the columns of each group.

    Attributes:
        updates: (cells, groups) int64, in the order of `block.ranges`.
        halvings: (cells,) int64, how often each cell's rate was halved (`models.procedures.halving`); None: never.
        needs_all: clipping needs the gradient of every group, also where only some are updated.
    """

    halvings: Tensor | None = None

    def __init__(self, cells: Sequence[Cell], block: Block):
        self.cells, self.block, values = tuple(cells), block, block.values
        self.groups = list(block.ranges)
        self.updates = torch.zeros(len(cells), len(self.groups), dtype=torch.int64, device=values.device)
        self.clip = column([c.gradient_clip or float("inf") for c in cells], values, 2)
        self.clips = any(c.gradient_clip > 0 for c in cells)
        self.by_group = cells[0].clip_norm == "group"
        self.needs_all = self.clips and not self.by_group
        double = torch.empty((), dtype=torch.float64, device=values.device)
        self._rate = column([c.learning_rate for c in cells], double, 2)
        self._decays = any(c.learning_rate_decay_steps > 0 for c in cells)
        decay = [(c.learning_rate_end / c.learning_rate, c.learning_rate_decay_steps) for c in cells]
        self._decay = column([ratio for ratio, _ in decay], double, 2)
        self._decay_steps = column([steps for _, steps in decay], double, 2)

    def learning_rate(self, step: int | Tensor) -> Tensor:
        """Each cell's learning rate for the update after absolute step `step`, (cells, 1), float64."""
        rate = self._rate
        if self._decays:
            share = torch.where(self._decay_steps > 0, step / self._decay_steps.clamp_min(1.0), 0.0).clamp_max(1.0)
            rate = rate * self._decay**share
        return rate if self.halvings is None else torch.ldexp(rate, -self.halvings.unsqueeze(1))

    def state(self) -> dict[str, Tensor]:
        """What it remembers besides its moments, by name: tensors (cells, …)."""
        raise NotImplementedError

    def moments(self) -> dict[str, Tensor]:
        """Tensors of the block's layout, (cells, P), by name."""
        return {}

    def restart(self, cells: Tensor) -> None:
        """Forget moments and counts where `cells`, (cells,) bool, is true."""
        for tensor in (*self.state().values(), *self.moments().values()):
            tensor.masked_fill_(cells.view(-1, *(1,) * (tensor.dim() - 1)), 0)

    def update(self, gradient: Tensor, *arguments: Any, **more: Any) -> None:
        """One update of the active cells: see `models.stack.adam.Adam.update`."""
        raise NotImplementedError

    def _clipped(self, gradient: Tensor, norm: Tensor, groups: Sequence[str] | None) -> Tensor:
        """The gradient, (cells, P), shortened where it is longer than its cell's `gradient_clip`.

        norm: (cells,), of the whole gradient; by group it is not used, and of other groups nothing is made.
        """
        if not self.clips:
            return gradient
        if not self.by_group:
            return gradient * (self.clip / norm.unsqueeze(1)).clamp_max(1.0)
        gradient = gradient.clone()
        for group in self.groups if groups is None else groups:
            scale = (self.clip / self.block.norm([group]).unsqueeze(1)).clamp_max(1.0)
            for columns in self.block.ranges[group]:
                gradient[:, columns].mul_(scale)
        return gradient

    def _counted(self, active: Tensor, group: str) -> Tensor:
        """Raise the count of a group by one where a cell is active; the new count, (cells, 1)."""
        place = self.groups.index(group)
        return self.updates[:, place : place + 1].add_(active.unsqueeze(1))
