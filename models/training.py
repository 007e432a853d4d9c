"""A stack: cells of one shape trained together, every tensor with a leading axis of cells.

Cells never mix: the loss is a sum over cells, and every number, mask and draw is the cell's own. On one CPU thread a
cell's numbers are bitwise those it would have alone, so stacks are a matter of speed only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models import registry
from models.cell import Cell
from models.data.dataset import Dataset
from models.draws import Draws, Purpose
from models.layers import column
from models.networks import Network
from models.objectives import Objective
from models.optimizer import Adam
from models.procedures import Procedure

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Stack:
    """Parameters, optimiser and counters of cells in training.

    Args:
        cells: of one `Cell.shape()`.
        dataset: the one they name.
        device: `cpu` or `cuda`.

    Attributes:
        step: training steps done, the same for all cells.
        active: (cells,) bool; a diverged cell is masked.
        diverged_at: (cells,) int64, the step at which a cell diverged, or −1.
        samples: ancestral chains an image in training.
    """

    def __init__(self, cells: Sequence[Cell], dataset: Dataset, device: torch.device | str = "cpu"):
        if len({cell.shape() for cell in cells}) != 1:
            raise ValueError("a stack holds cells of one shape")
        self.cells, self.dataset, self.device = tuple(cell.canonical() for cell in cells), dataset, torch.device(device)
        first = self.cells[0]
        self.dtype, self.batch_size, self.step = _DTYPES[first.precision], first.batch_size, 0
        network = registry.find("network", first.network).load()
        self.network: Network = network(first, dataset.features, dataset.mean_pixel)
        self.samples = registry.find("objective", first.objective).samples
        self.procedure: Procedure = registry.find("procedure", first.procedure).load()()
        self.images = torch.tensor(dataset.train).to(self.device)
        self.params = {
            p.name: p.first(self._first_draws).contiguous().requires_grad_() for p in self.network.parameters()
        }
        self._number()
        count = len(cells)
        self.active = torch.ones(count, dtype=torch.bool, device=self.device)
        self.diverged_at = torch.full((count,), -1, dtype=torch.int64, device=self.device)
        self.objective_sum = torch.zeros(count, dtype=torch.float64, device=self.device)
        self.objective_steps = torch.zeros(count, dtype=torch.int64, device=self.device)

    def _first_draws(self, shape: Sequence[int], layer: int, inner: int) -> Tensor:
        draws = Draws([cell.seed for cell in self.cells], self.device, self.dtype)
        return draws.uniform(Purpose.INIT, shape, layer=layer, inner=inner)

    def _number(self) -> None:
        """What follows from the cells and parameters alone: draws, numbers as tensors, a fresh optimiser."""
        like = next(iter(self.params.values())).detach()
        self.draws = Draws([cell.seed for cell in self.cells], self.device, self.dtype)
        self.objective: Objective = registry.find("objective", self.cells[0].objective).load()(self.cells, like)
        self.optimizer = Adam(self.cells, [p.detach() for p in self.params.values()])
        self.decoder_variance = column([cell.decoder_variance for cell in self.cells], like, 4)

    @property
    def parameters_per_cell(self) -> int:
        """Trained numbers of one cell."""
        return sum(p[0].numel() for p in self.params.values())

    def minibatch(self, step: int) -> Tensor:
        """The images of a step, binarised anew, (cells, 1, batch, features)."""
        draws, data = self.draws, self.dataset
        x = self.images[draws.batch(step, len(self.images), self.batch_size)]
        if data.levels > 1:
            u = draws.uniform(Purpose.BINARISE, (self.batch_size, data.features), step)
            x = u * data.levels < x
        return x.to(self.dtype).unsqueeze(1)

    def train(self, steps: int) -> None:
        """Train up to absolute step `steps`, or until no cell is active."""
        while self.step < steps:
            self.procedure.step(self)

    def mark_diverged(self, finite: Tensor) -> None:
        """Mask the active cells for which `finite`, (cells,) bool, is false, at the current step."""
        newly = self.active & ~finite
        self.diverged_at = torch.where(newly, self.step, self.diverged_at)
        self.active = self.active & finite

    def count(self, value: Tensor) -> None:
        """Add the objective of this step, (cells,), to the running mean of active cells."""
        self.objective_sum = torch.where(self.active, self.objective_sum + value.double(), self.objective_sum)
        self.objective_steps = self.objective_steps + self.active.long()

    def mean_objective(self) -> list[float | None]:
        """Mean training objective of each cell since `restart_mean` (None: no step), nats an image."""
        totals, steps = self.objective_sum.tolist(), self.objective_steps.tolist()
        return [total / n if n else None for total, n in zip(totals, steps, strict=True)]

    def restart_mean(self) -> None:
        """Begin a new mean of the training objective."""
        self.objective_sum, self.objective_steps = self.objective_sum * 0, self.objective_steps * 0

    def tensors(self) -> dict[str, Tensor]:
        """The whole state but `step`, every tensor with its leading axis of cells: what a checkpoint holds."""
        opt = self.optimizer
        state = {f"param/{name}": p.detach() for name, p in self.params.items()}
        state |= {f"adam.m/{name}": m for name, m in zip(self.params, opt.first, strict=True)}
        state |= {f"adam.v/{name}": v for name, v in zip(self.params, opt.second, strict=True)}
        counters = ("active", "diverged_at", "objective_sum", "objective_steps")
        return state | {name: getattr(self, name) for name in counters}

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over the state that `tensors` wrote at `step`; raises ValueError if names or shapes differ."""
        mine = self.tensors()
        if set(mine) != set(tensors) or any(tuple(mine[k].shape) != tuple(tensors[k].shape) for k in mine):
            raise ValueError("the checkpoint holds other tensors than these cells have")
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])
        self.step = step

    def select(self, places: Sequence[int]) -> None:
        """Keep the cells at these places, in this order, and let go of the others."""
        kept, step = {name: t[list(places)].clone() for name, t in self.tensors().items()}, self.step
        self.cells = tuple(self.cells[i] for i in places)
        self.params = {name: kept[f"param/{name}"].requires_grad_() for name in self.params}
        for name in ("active", "diverged_at", "objective_sum", "objective_steps"):
            setattr(self, name, kept[name])
        self._number()
        self.load(kept, step)
