"""A stack: cells of one shape trained together, every tensor with a leading axis of cells.

Cells never mix: the loss is a sum over cells, and every number, mask and draw is the cell's own. On one CPU thread a
cell's numbers are bitwise those it would have alone, so stacks are a matter of speed only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.cell import Cell, find
from models.data.dataset import Dataset
from models.draws.draws import Purpose, draws_on
from models.kernels.products import precision
from models.networks.network import Network, masks_of, network_of
from models.objectives.objective import Objective
from models.procedures.procedure import Procedure
from models.stack.block import Block
from models.stack.optimizer import Optimizer


class Stack:
    """Parameters, optimiser and state of cells in training.

    Args:
        cells: of one `Cell.shape()`.
        dataset: the one they name.
        device: `cpu` or `cuda`.

    Attributes:
        step: training steps done, the same for all cells.
        samples: ancestral chains per image in training.
        state: what is known of each cell besides its parameters and the optimiser's moments, by name, (cells, …): the
            entries of `first_state` and those of the procedure.
    """

    def __init__(self, cells: Sequence[Cell], dataset: Dataset, device: torch.device | str = "cpu"):
        if len({cell.shape() for cell in cells}) != 1:
            raise ValueError("a stack holds cells of one shape")
        self.cells, self.dataset, self.device = tuple(cell.canonical() for cell in cells), dataset, torch.device(device)
        first = self.cells[0]
        self.dtype = torch.float64 if first.precision == "float64" else torch.float32
        self.batch_size, self.step, self.samples = first.batch_size, 0, first.training_chains
        self.procedure: Procedure = find("procedure", first.procedure).load()()
        self.images = torch.tensor(dataset.train).to(self.device)
        self.network = self._network_of(self.cells)
        _check(first, self.network, len(cells))
        parameters = self.network.parameters()
        tensors = {parameter.name: parameter.first(self._first_draws) for parameter in parameters}
        self.block = Block(tensors, {parameter.name: parameter.group for parameter in parameters})
        state = self.procedure.state(self.cells, self.device)
        self.state: dict[str, Tensor] = first_state(len(cells), self.device) | state
        self._number()
        if getattr(self.network, "starts_from_data", False):
            self._start_from_data()

    def _start_from_data(self) -> None:
        """Take over the first values that the network finds for the first minibatch of each cell."""
        latents = enumerate(self.network.latents, start=1)
        shape = 1, self.batch_size
        noise = [self.draws.normal(Purpose.FIRST_PASS, (*shape, units), layer=layer) for layer, units in latents]
        with torch.no_grad():
            found = self.network.first_pass(self.params, self.minibatch(0), noise)  # type: ignore[attr-defined]
            for name, value in found.items():
                self.params[name].copy_(value)

    def _first_draws(self, shape: Sequence[int], layer: int, inner: int) -> Tensor:
        draws = draws_on(self.device, [cell.seed for cell in self.cells], self.dtype)
        return draws.uniform(Purpose.INIT, shape, layer=layer, inner=inner)

    @property
    def params(self) -> dict[str, Tensor]:
        """Trained tensors by name, (cells, …)."""
        return self.block.params

    def _network_of(self, cells: Sequence[Cell]) -> Network:
        like = torch.empty((), dtype=self.dtype, device=self.device)
        return network_of(cells, self.dataset.shape, self.dataset.mean_pixel, like)

    def _number(self) -> None:
        """What follows from the cells and parameters alone: draws, numbers as tensors, a fresh optimiser."""
        self.draws = draws_on(self.device, [cell.seed for cell in self.cells], self.dtype)
        self._own_draws = draws_on(self.device, self.draws.distinct, self.dtype)  # of cells of one seed, made once
        self.network = self._network_of(self.cells)
        first = self.cells[0]
        self.objective: Objective = find("objective", first.objective).load()(self.cells, self.block.values)
        self.optimizer: Optimizer = find("optimizer", first.optimizer).load()(self.cells, self.block)
        self.optimizer.halvings = self.state.get("halvings_done")
        self.best: Tensor | None = None  # the weights of the best validation, (cells, P), where a rate is halved
        if self.optimizer.halvings is not None:
            self.best = self.block.values.clone()

    @property
    def active(self) -> Tensor:
        """(cells,) bool; a diverged cell, and one whose schedule has ended, is masked."""
        return self.state["active"]

    @property
    def diverged_at(self) -> Tensor:
        """(cells,) int64, the step at which a cell diverged, or −1."""
        return self.state["diverged_at"]

    def part(self, places: slice) -> tuple[Network, dict[str, Tensor]]:
        """Network and parameters of the cells at these places, in order."""
        if len(self.cells[places]) == len(self.cells):
            return self.network, self.params
        return self._network_of(self.cells[places]), {name: param[places] for name, param in self.params.items()}

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

    def minibatch(self, step: int | Tensor, inner: int = 0) -> Tensor:
        """The images of a step, binarised anew, (cells, 1, batch, features).

        inner: the number of an inner update within the step, whose images are drawn from all, each time anew; 0: the
        step's own, which are the next of the epoch.
        """
        own, data, size = self._own_draws, self.dataset, (self.batch_size,)
        if inner:
            places = (own.uniform(Purpose.INNER_IMAGES, size, step, inner=inner) * len(self.images)).long()
            places.clamp_(max=len(self.images) - 1)  # a number just below 1 is rounded up
        else:
            places = own.batch(step, len(self.images), *size)
        rows = self.images.index_select(0, places.flatten()).view(*places.shape, -1)  # 10 × as fast as `images[places]`
        purpose, shape = Purpose.INNER_BINARISE if inner else Purpose.BINARISE, (*size, data.features)
        x: Tensor = data.observe(rows, lambda: own.uniform(purpose, shape, step, inner=inner))
        return self.draws.to_cells(x.to(self.dtype).unsqueeze(1))

    def masks(self, step: int | Tensor, inner: int = 0) -> dict[str, Any]:
        """What `terms` is given for dropout in a training step: see `models.networks.network.masks_of`."""
        return masks_of(self.network, self.draws, step, self.batch_size, inner)

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
        self.state["objective_sum"].add_(torch.where(self.active, value.double(), 0.0))
        self.state["objective_steps"].add_(self.active)

    def mean_objective(self) -> list[float | None]:
        """Mean training objective of each cell since `restart_mean` (None: no step), nats per image."""
        totals, steps = self.state["objective_sum"].tolist(), self.state["objective_steps"].tolist()
        return [total / n if n else None for total, n in zip(totals, steps, strict=True)]

    def restart_mean(self) -> None:
        """Begin a new mean of the training objective."""
        self.state["objective_sum"].zero_()
        self.state["objective_steps"].zero_()

    def tensors(self) -> dict[str, Tensor]:
        """All that training goes on from but `step`, each with its leading axis of cells: what a checkpoint holds."""
        blocks = {"param": self.block.values} | self.optimizer.moments()
        if self.best is not None:
            blocks["best"] = self.best
        views = {f"{kind}/{name}": t for kind, block in blocks.items() for name, t in self.block.views(block).items()}
        state: dict[str, Tensor] = views | self.optimizer.state() | self.state
        return state

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over the state that `tensors` wrote at `step`; raises ValueError if names or shapes differ.

        Where it was written before updates were counted, every parameter was updated at each step.
        """
        mine = self.tensors()
        uncounted = self.optimizer.state().keys() - tensors.keys()
        if set(mine) - uncounted != set(tensors) or any(
            tuple(mine[name].shape) != tuple(tensor.shape) for name, tensor in tensors.items()
        ):
            raise ValueError("the checkpoint holds other tensors than these cells have")
        for name, tensor in mine.items():
            tensor.copy_(tensors[name]) if name in tensors else tensor.fill_(step)
        self.step = step

    def select(self, places: Sequence[int]) -> None:
        """Keep the cells at these places, in this order, and let go of the others."""
        kept, step = {name: t[list(places)].clone() for name, t in self.tensors().items()}, self.step
        self.cells = tuple(self.cells[i] for i in places)
        self.block = Block({name: kept[f"param/{name}"] for name in self.params}, self.block.groups)
        self.state = {name: kept[name] for name in self.state}
        self._number()
        self.load(kept, step)

    def cut(self, places: Sequence[int]) -> Stack:
        """A stack of the cells at these places, in this order, that goes on by itself; this one stays as it is."""
        part = copy.copy(self)
        part.select(places)
        return part

    @torch.no_grad()
    def paste(self, places: Sequence[int], part: Stack) -> None:
        """Take over, at these places, what became of the cells that `cut` handed out."""
        where, theirs = torch.tensor(places, device=self.device), part.tensors()
        for name, mine in self.tensors().items():
            mine.index_copy_(0, where, theirs[name].detach())


def _check(cell: Cell, network: Network, cells: int) -> None:
    """Raise ValueError where what the cell's objective asks of p and q is not theirs."""
    asks = {
        f"objective {cell.objective} smooths maps of a Gaussian": cell.smoothed,
        f"gradient_estimator {cell.gradient_estimator} needs log q at given samples, as of a Gaussian": (
            cell.gradient_estimator not in (None, "plain")
        ),
        "free_bits_group unit needs log q of each unit, as of a Gaussian": cell.free_bits_group == "unit",
    }
    for what, asked in asks.items():
        if asked and not network.posterior.gaussian:
            raise ValueError(f"{what}, got posterior {cell.posterior}")
    top = torch.ones(cells, 1, 1, *network.latents[-1:])
    if cell.free_bits_group == "unit" and network.prior.kl(top, top) is None:
        raise ValueError(f"free_bits_group unit needs a prior that is a product over units, got prior {cell.prior}")


def first_state(cells: int, device: torch.device) -> dict[str, Tensor]:
    """What is known of every cell at step 0, whatever its procedure.

    `active`: (cells,) bool; `diverged_at`: see `Stack`; `objective_sum`, `objective_steps`: of the training objective
    since the last evaluation, for its mean.
    """
    return {
        "active": torch.ones(cells, dtype=torch.bool, device=device),
        "diverged_at": torch.full((cells,), -1, dtype=torch.int64, device=device),
        "objective_sum": torch.zeros(cells, dtype=torch.float64, device=device),
        "objective_steps": torch.zeros(cells, dtype=torch.int64, device=device),
    }
