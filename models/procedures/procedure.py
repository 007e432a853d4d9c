"""The contract of a procedure: how a stack is trained. Each is a few phases of a step that a host loop calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from models.cell import Cell
from models.networks.network import Network, Numbers, Params

if TYPE_CHECKING:
    from models.stack.stack import Stack


class Procedure(Protocol):
    """One way to train."""

    def state(self, cells: Sequence[Cell], device: torch.device) -> dict[str, Tensor]:
        """What it remembers of each cell from step to step, at step 0: tensors (cells, …) by name.

        Cells of one shape have the same entries.
        `Stack.state` has them from then on: checkpoints hold them, and they go with the cells where a stack is cut.
        """
        ...

    def refine(
        self,
        cells: Sequence[Cell],
        network: Network,
        params: Params,
        x: Tensor,
        noise: Callable[[int], Sequence[Tensor]],
        kl_weight: Tensor,
    ) -> list[Numbers] | None:
        """Numbers of q that take the place of the inference network's in every evaluation; None: there are none.

        Args:
            cells: those of network and parameters.
            x: (cells, 1, batch, features).
            noise: of one chain, of every layer (cells or 1, 1, batch, units), for the n-th pass through the network.
            kl_weight: (cells,).

        Returns:
            Mean and deviation for each layer, (cells, 1, batch, units), each image's own.
        """
        ...

    def step(self, stack: Stack) -> None:
        """One training step of every active cell: update `stack` in place and raise `stack.step` by one."""
        ...
