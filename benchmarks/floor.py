"""The least a training step can take here: its matrix products or convolutions, and its bytes, at rates measured beside
it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from models.cell import Cell, cell_size
from models.cell.image_shape import ImageShape
from models.cell.registry import find
from models.cell.sequence_shape import SequenceShape
from models.cell.size import Affine
from models.networks.ladder_spec import ladder_maps
from models.networks.lstm_spec import lstm_maps
from models.networks.mlp_spec import mlp_maps
from models.networks.pixelcnn_spec import gated_layers
from models.networks.resnet_spec import resnet_convolutions


def _lstm_maps(cell: Cell, shape: SequenceShape, chains: int = 0) -> list[Affine]:
    """Of all symbols at once, though the recurrent ones follow one another."""
    return lstm_maps(cell, shape)


# Affine maps of a step; those of a prior or posterior are not in them.
MAPS = {"mlp": mlp_maps, "ladder": ladder_maps, "lstm": _lstm_maps}
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


class Kernel(NamedTuple):
    """A convolution of one cell: kernels of (height, width), and which gradients it has."""

    rows: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    of_data: bool
    fixed: bool
    side: int  # height and width of what it puts out: all grids that are timed are squares
    stride: int = 1
    zeros: int = 0  # put around the maps; else they lie there already


class Convolutions:
    """The convolutions of a step of so many cells of a `resnet`, or of a PixelCNN's decoder, and nothing else: forward,
    and both gradients.

    One grouped convolution for all cells, as in a stack, in the layout and precision that `models.kernels.convolution`
    has; one cell is a convolution of one group, which a stack computes as two. Every operand is in place and cast
    before. No biases.

    Raises ValueError where the operands of a `resnet` come to other operations than the planner counts.
    """

    def __init__(self, cell: Cell, cells: int = 1, device: str = "cpu"):
        from models.kernels.convolution import multiplies_bfloat16

        native = cell.precision == "bfloat16" and multiplies_bfloat16(torch.device(device))

        def operand(*shape: int) -> Tensor:
            made = torch.randn(shape, dtype=torch.bfloat16 if native else torch.float32, device=device)
            return made.contiguous(memory_format=torch.channels_last) if device == "cpu" else made

        self.calls: list[Callable[[], object]] = []
        self.flops = 0  # of a cell's step
        for each in kernels_of(cell):
            around = (0 if each.zeros else size - 1 for size in each.size)
            x = operand(each.rows, cells * each.inputs, *(each.stride * each.side + n for n in around))
            weight = operand(cells * each.outputs, each.inputs, *each.size)
            of_out = operand(each.rows, cells * each.outputs, each.side, each.side)
            how = [each.stride] * 2, [each.zeros] * 2, [1, 1], False, [0, 0], cells
            asked = [not each.of_data, not each.fixed, False]
            self.calls.append(partial(torch.ops.aten.convolution, x, weight, None, *how))
            self.calls.append(partial(torch.ops.aten.convolution_backward, of_out, x, weight, None, *how, asked))
            self.flops += 2 * (1 + sum(asked)) * of_out.numel() // cells * weight[0].numel()
        if cell.network == "resnet" and self.flops != cell_size(cell).flops:
            raise ValueError(f"{self.flops} operations of convolutions here, {cell_size(cell).flops} by the planner")

    def run(self, times: int) -> None:
        """All convolutions of `times` steps of these cells."""
        for _ in range(times):
            for call in self.calls:
                call()


def kernels_of(cell: Cell) -> Iterator[Kernel]:
    """The convolutions of a cell's step, each as often as it is applied."""
    shape = find("data", cell.data).shape
    assert isinstance(shape, ImageShape)
    if cell.network == "pixelcnn":
        options, rows = cell.options("network"), cell.batch_size * cell.training_chains
        for each in [kernel for layer in gated_layers(options) for kernel in layer]:
            size = each.height, each.width
            yield Kernel(rows, each.inputs, each.outputs, size, False, False, shape.height)
        return
    for applied in resnet_convolutions(cell, shape):
        conv, side = applied.conv, math.isqrt(applied.conv.positions)
        numbers = applied.rows, conv.inputs, conv.outputs, (conv.size, conv.size), applied.of_data, applied.fixed
        yield Kernel(*numbers, side, conv.stride, conv.size // 2)


def least_bytes(cell: Cell) -> int:
    """What a step cannot but move between memory and processor: weights and both moments, read and written."""
    return 2 * 3 * 4 * cell_size(cell).parameters


def copier() -> tuple[Callable[[], object], int]:
    """What copies a block larger than the caches, and the bytes it reads and writes."""
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * COPIED_BYTES
