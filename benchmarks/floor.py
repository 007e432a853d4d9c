"""The least a training step can take here: its matrix products and its bytes, at rates measured beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.cell import Cell, cell_size
from models.cell.registry import find
from models.networks.ladder_spec import ladder_maps
from models.networks.mlp_spec import mlp_maps

MAPS = {"mlp": mlp_maps, "ladder": ladder_maps}  # affine maps of a step; those of a prior or posterior are not in them
COPIED_BYTES = 64 << 20  # more than a core's share of any cache


class Products:
    """The matrix products of one cell's step and nothing else: forward, and both gradients of each affine map.

    Every operand is in place before, so this is as fast as the library multiplies these shapes, one cell at a time.

    Args:
        samples: chains per image; by default the cell's.
        forward: leave out the gradients.
        cells: multiplied at once.
    """

    def __init__(self, cell: Cell, samples: int = 0, forward: bool = False, cells: int = 1, device: str = "cpu"):
        def operand(*shape: int) -> Tensor:
            return torch.randn(cells, *shape, device=device)

        shape = find("data", cell.data).shape
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []
        maps = MAPS[cell.network](cell, shape, chains=samples)
        self.flops = sum(each.flops for each in maps)  # of a cell's step
        for each in maps:
            x, weight = operand(each.rows, each.inputs), operand(each.inputs, each.outputs)
            out = operand(each.rows, each.outputs)
            self.calls.append((x, weight, out))
            if not (forward or each.fixed):
                self.calls.append((x.mT, torch.randn_like(out), torch.empty_like(weight)))
            if not (forward or each.of_data):
                self.calls.append((torch.randn_like(out), weight.mT, torch.empty_like(x)))

    def run(self, times: int) -> None:
        """All products of `times` cell-steps."""
        for _ in range(times):
            for a, b, out in self.calls:
                torch.bmm(a, b, out=out)  # a little faster than `mm`


def least_bytes(cell: Cell) -> int:
    """What a step cannot but move between memory and processor: weights and both moments, read and written."""
    return 2 * 3 * 4 * cell_size(cell).parameters


def copier() -> tuple[Callable[[], object], int]:
    """What copies a block larger than the caches, and the bytes it reads and writes."""
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * COPIED_BYTES
