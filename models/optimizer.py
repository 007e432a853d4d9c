"""Adam over a stack: learning rate, betas, step count and activity are the cell's own (Kingma & Ba, 2015).

Stock optimisers take one learning rate and one step count a tensor. A cell that is not active keeps its weights and
moments bitwise: they are selected, never multiplied by zero, so that a NaN cannot leak.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cell import Cell
from models.layers import column


class Adam:
    """Moments and update of all cells of a stack.

    Args:
        cells: their learning rates, schedules, betas, epsilon and clipping.
        params: tensors (cells, …), updated in place.
    """

    def __init__(self, cells: Sequence[Cell], params: Sequence[Tensor]):
        self.cells, self.params = tuple(cells), list(params)
        self.first = [torch.zeros_like(p) for p in params]
        self.second = [torch.zeros_like(p) for p in params]
        self._rows = [
            tuple([t[i] for t in tensors] for tensors in (self.params, self.first, self.second))
            for i in range(len(cells))
        ]
        like = params[0]
        self.beta1 = column([c.adam_beta1 for c in cells], like, 2)
        self.beta2 = column([c.adam_beta2 for c in cells], like, 2)
        self.epsilon = column([c.adam_epsilon for c in cells], like, 2)
        self.clip = column([c.gradient_clip or float("inf") for c in cells], like, 2)
        self.clips = any(c.gradient_clip > 0 for c in cells)
        double = like.to(torch.float64)
        self._beta1 = column([c.adam_beta1 for c in cells], double, 2)
        self._beta2 = column([c.adam_beta2 for c in cells], double, 2)
        self._rate = column([c.learning_rate for c in cells], double, 2)
        decay = [(c.learning_rate_end / c.learning_rate, c.learning_rate_decay_steps) for c in cells]
        self._decay = column([ratio for ratio, _ in decay], double, 2)
        self._decay_steps = column([steps for _, steps in decay], double, 2)

    def learning_rate(self, step: int) -> Tensor:
        """Each cell's learning rate for the update after absolute step `step`, (cells, 1), float64."""
        share = torch.where(self._decay_steps > 0, step / self._decay_steps.clamp_min(1.0), 0.0).clamp_max(1.0)
        return self._rate * self._decay**share

    @torch.no_grad()
    def update(self, grads: Sequence[Tensor], step: int, active: Tensor, norm: Tensor) -> None:
        """One update of the active cells.

        Args:
            grads: one a parameter, (cells, …).
            step: updates that came before.
            active: (cells,) bool.
            norm: (cells,), of each cell's whole gradient, for clipping.
        """
        if self.clips:
            scale = (self.clip / norm.unsqueeze(1)).clamp_max(1.0)
            grads = [(g.flatten(1) * scale).view_as(g) for g in grads]
        if active.device.type == "cpu":
            self.update_each(grads, step, active)
        else:
            self.update_all(grads, step, active)

    def update_each(self, grads: Sequence[Tensor], step: int, active: Tensor) -> None:
        """One fused pass over each active cell's tensors: on a CPU 3.5 × as fast as the expressions of `update_all`."""
        count = torch.tensor(float(step + 1))
        rates = self.learning_rate(step).flatten().tolist()
        by_cell = zip(*(g.unbind() for g in grads), strict=True)
        rows = zip(self.cells, self._rows, by_cell, rates, active.tolist(), strict=True)
        for cell, (params, first, second), cell_grads, rate, on in rows:
            if on:
                torch._fused_adam_(
                    params,
                    list(cell_grads),
                    first,
                    second,
                    [],
                    [count] * len(self.params),
                    lr=rate,
                    beta1=cell.adam_beta1,
                    beta2=cell.adam_beta2,
                    weight_decay=0.0,
                    eps=cell.adam_epsilon,
                    amsgrad=False,
                    maximize=False,
                )

    def update_all(self, grads: Sequence[Tensor], step: int, active: Tensor) -> None:
        """All cells in the same few expressions, nothing read by the host: for a GPU."""
        rate = (self.learning_rate(step) / (1.0 - self._beta1 ** (step + 1))).to(self.beta1)
        correction = (1.0 - self._beta2 ** (step + 1)).rsqrt().to(self.beta1)
        on = active.unsqueeze(1)
        for tensors in zip(self.params, grads, self.first, self.second, strict=True):
            p, g, m, v = (t.flatten(1) for t in tensors)
            m_new = g + self.beta1 * (m - g)
            v_new = g * g + self.beta2 * (v - g * g)
            p_new = p - rate * m_new / (v_new.sqrt() * correction + self.epsilon)
            for old, new in ((p, p_new), (m, m_new), (v, v_new)):
                old.copy_(torch.where(on, new, old))
