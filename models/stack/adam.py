"""Adam over a stack: learning rate, betas, step count and activity are the cell's own (Kingma & Ba, 2015).

Stock optimisers take one learning rate and one step count a tensor. A cell that is not active keeps its weights and
moments: its gradient, which may be NaN, goes into no product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cell import Cell
from models.kernels.layers import column


class Adam:
    """Moments and update of all cells of a stack.

    Args:
        cells: their learning rates, schedules, betas, epsilon and clipping.
        values: the trained numbers, (cells, P), updated in place.
    """

    def __init__(self, cells: Sequence[Cell], values: Tensor):
        self.cells, self.values = tuple(cells), values
        self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)
        self._rows = [*zip(self.values, self.first, self.second, strict=True)]
        self.share1 = column([1.0 - c.adam_beta1 for c in cells], values, 2)  # of a new gradient in the moment
        self.share2 = column([1.0 - c.adam_beta2 for c in cells], values, 2)
        self.epsilon = column([c.adam_epsilon for c in cells], values, 2)
        self.clip = column([c.gradient_clip or float("inf") for c in cells], values, 2)
        self.clips = any(c.gradient_clip > 0 for c in cells)
        double = torch.empty((), dtype=torch.float64, device=values.device)
        self._beta1 = column([c.adam_beta1 for c in cells], double, 2)
        self._beta2 = column([c.adam_beta2 for c in cells], double, 2)
        self._rate = column([c.learning_rate for c in cells], double, 2)
        self._decays = any(c.learning_rate_decay_steps > 0 for c in cells)
        decay = [(c.learning_rate_end / c.learning_rate, c.learning_rate_decay_steps) for c in cells]
        self._decay = column([ratio for ratio, _ in decay], double, 2)
        self._decay_steps = column([steps for _, steps in decay], double, 2)

    def learning_rate(self, step: int | Tensor) -> Tensor:
        """Each cell's learning rate for the update after absolute step `step`, (cells, 1), float64."""
        if not self._decays:
            return self._rate
        share = torch.where(self._decay_steps > 0, step / self._decay_steps.clamp_min(1.0), 0.0).clamp_max(1.0)
        return self._rate * self._decay**share

    @torch.no_grad()
    def update(self, gradient: Tensor, step: int | Tensor, active: Tensor, norm: Tensor) -> None:
        """One update of the active cells.

        Args:
            gradient: (cells, P), not to be used again.
            step: updates that came before.
            active: (cells,) bool.
            norm: (cells,), of each cell's gradient, for clipping.
        """
        if self.clips:
            gradient = gradient * (self.clip / norm.unsqueeze(1)).clamp_max(1.0)
        if active.device.type == "cpu":
            self.update_each(gradient, step, active)
        else:
            self.update_all(gradient, step, active)

    def update_each(self, gradient: Tensor, step: int | Tensor, active: Tensor) -> None:
        """One fused pass over each active cell: on a CPU 3.5 × as fast as the expressions of `update_all`."""
        count = torch.tensor(float(step + 1))
        rates = self.learning_rate(step).flatten().tolist()
        for cell, (values, first, second), own, rate, on in zip(
            self.cells, self._rows, gradient.unbind(), rates, active.tolist(), strict=True
        ):
            if on:
                torch._fused_adam_(
                    [values],
                    [own],
                    [first],
                    [second],
                    [],
                    [count],
                    lr=rate,
                    beta1=cell.adam_beta1,
                    beta2=cell.adam_beta2,
                    weight_decay=0.0,
                    eps=cell.adam_epsilon,
                    amsgrad=False,
                    maximize=False,
                )

    def update_all(self, gradient: Tensor, step: int | Tensor, active: Tensor) -> None:
        """All cells in the same few expressions, nothing read by the host: for a GPU. Overwrites `gradient`.

        In place, because its time is that of the memory it goes through.
        """
        on = active.unsqueeze(1)
        rate = (self.learning_rate(step) / (1.0 - self._beta1 ** (step + 1))).to(self.values)
        correction = (1.0 - self._beta2 ** (step + 1)).rsqrt().to(self.values)
        work = gradient.masked_fill_(~on, 0.0)
        self.first.lerp_(work, torch.where(on, self.share1, 0.0))
        self.second.lerp_(work.square_(), torch.where(on, self.share2, 0.0))
        torch.addcmul(self.epsilon, torch.sqrt(self.second, out=work), correction, out=work)
        torch.div(self.first, work, out=work).masked_fill_(~on, 0.0)
        self.values.addcmul_(work, -rate)
