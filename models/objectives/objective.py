"""The contract of an objective: from a network's terms to one number per cell, to be maximised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from models.cell import Cell
from models.draws.draws import Draws
from models.networks.network import Terms
from models.objectives.parts import KlWeight
from models.objectives.paths import Paths
from models.objectives.smoothing import Smoothing


class Objective(Protocol):
    """The objective of the cells of one stack: their numbers as tensors, their formula as code.

    How many ancestral chains per image the network hands it is `Cell.training_chains`.
    """

    kl_weight: KlWeight

    def __init__(self, cells: Sequence[Cell], like: Tensor) -> None: ...

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing | None:
        """What the network shall smooth at this step, or None."""
        ...

    def paths(self) -> Paths | None:
        """How the gradient with respect to q's parameters is taken, or None: as autograd does."""
        ...

    def value(self, terms: Terms, step: int | Tensor) -> Tensor:
        """The objective of each cell, (cells,), nats per image, to be maximised."""
        ...
