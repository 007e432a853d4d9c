"""A stack: cells of one shape trained together, every tensor with a leading axis of cells.

Cells never mix: the loss is a sum over cells, and every number, mask and draw is the cell's own. On one CPU thread a
cell's numbers are bitwise those it would have alone, so stacks are a matter of speed only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.cell import Cell, registry
from models.data.dataset import Dataset
from models.draws.draws import Purpose, draws_on
from models.kernels.layers import column
from models.kernels.products import precision
from models.networks import Network
from models.objectives import Objective
from models.procedures import Procedure
from models.stack.adam import Adam
from models.stack.block import Block


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
        samples: ancestral chains per image in training.
    """

    def __init__(self, cells: Sequence[Cell], dataset: Dataset, device: torch.device | str = "cpu"):
        if len({cell.shape() for cell in cells}) != 1:
            raise ValueError("a stack holds cells of one shape")
        self.cells, self.dataset, self.device = tuple(cell.canonical() for cell in cells), dataset, torch.device(device)
        first = self.cells[0]
        self.dtype = torch.float64 if first.precision == "float64" else torch.float32
        self.batch_size, self.step = first.batch_size, 0
        network = registry.find("network", first.network).load()
        self.network: Network = network(first, dataset.features, dataset.mean_pixel)
        self.samples = registry.find("objective", first.objective).samples
        self.procedure: Procedure = registry.find("procedure", first.procedure).load()()
        self.images = torch.tensor(dataset.train).to(self.device)
        self.block = Block({p.name: p.first(self._first_draws) for p in self.network.parameters()})
        self._number()
        count = len(cells)
        self.active = torch.ones(count, dtype=torch.bool, device=self.device)
        self.diverged_at = torch.full((count,), -1, dtype=torch.int64, device=self.device)
        self.objective_sum = torch.zeros(count, dtype=torch.float64, device=self.device)
        self.objective_steps = torch.zeros(count, dtype=torch.int64, device=self.device)

    def _first_draws(self, shape: Sequence[int], layer: int, inner: int) -> Tensor:
        draws = draws_on(self.device, [cell.seed for cell in self.cells], self.dtype)
        return draws.uniform(Purpose.INIT, shape, layer=layer, inner=inner)

    @property
    def params(self) -> dict[str, Tensor]:
        """Trained tensors by name, (cells, …)."""
        return self.block.params

    def _number(self) -> None:
        """What follows from the cells and parameters alone: draws, numbers as tensors, a fresh optimiser."""
        like = self.block.values
        self.draws = draws_on(self.device, [cell.seed for cell in self.cells], self.dtype)
        self._own_draws = draws_on(self.device, self.draws.distinct, self.dtype)  # of cells of one seed, made once
        self.objective: Objective = registry.find("objective", self.cells[0].objective).load()(self.cells, like)
        self.optimizer = Adam(self.cells, self.block.values)
        self.decoder_variance = column([cell.decoder_variance for cell in self.cells], like, 4)

    @property
    def parameters_per_cell(self) -> int:
        """Trained numbers of one cell."""
        return sum(p[0].numel() for p in self.params.values())

    def shuffle(self) -> None:
        """Have the images in the order of the present epoch."""
        self._own_draws.shuffle(self.step, len(self.images), self.batch_size)

    def forget_draws(self) -> None:
        """See `DeviceDraws.forget`."""
        for draws in (self.draws, self._own_draws):
            draws.forget()

    def minibatch(self, step: int | Tensor) -> Tensor:
        """The images of a step, binarised anew, (cells, 1, batch, features)."""
        own, data = self._own_draws, self.dataset
        places = own.batch(step, len(self.images), self.batch_size)
        x = self.images.index_select(0, places.flatten()).view(*places.shape, -1)  # 10 × as fast as `images[places]`
        if data.levels > 1:
            u = own.uniform(Purpose.BINARISE, (self.batch_size, data.features), step)
            x = u.mul_(data.levels) < x
        return self.draws.to_cells(x.to(self.dtype).unsqueeze(1))

    def train(self, steps: int) -> None:
        """Train up to absolute step `steps`, or until no cell is active."""
        with precision(self.cells[0].precision):
            while self.step < steps:
                self.procedure.step(self)

    def mark_diverged(self, finite: Tensor, step: int | Tensor) -> None:
        """Mask the active cells for which `finite`, (cells,) bool, is false, at this step."""
        self.diverged_at.copy_(torch.where(self.active & ~finite, step, self.diverged_at))
        self.active.logical_and_(finite)

    def count(self, value: Tensor) -> None:
        """Add the objective of this step, (cells,), to the running mean of active cells."""
        self.objective_sum.add_(torch.where(self.active, value.double(), 0.0))
        self.objective_steps.add_(self.active)

    def mean_objective(self) -> list[float | None]:
        """Mean training objective of each cell since `restart_mean` (None: no step), nats per image."""
        totals, steps = self.objective_sum.tolist(), self.objective_steps.tolist()
        return [total / n if n else None for total, n in zip(totals, steps, strict=True)]

    def restart_mean(self) -> None:
        """Begin a new mean of the training objective."""
        self.objective_sum.zero_()
        self.objective_steps.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """The whole state but `step`, every tensor with its leading axis of cells: what a checkpoint holds."""
        blocks = {"param": self.block.values, "adam.m": self.optimizer.first, "adam.v": self.optimizer.second}
        state = {f"{kind}/{name}": t for kind, block in blocks.items() for name, t in self.block.views(block).items()}
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
        self.block = Block({name: kept[f"param/{name}"] for name in self.params})
        for name in ("active", "diverged_at", "objective_sum", "objective_steps"):
            setattr(self, name, kept[name])
        self._number()
        self.load(kept, step)
