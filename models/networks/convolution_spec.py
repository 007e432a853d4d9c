"""Convolutions, without torch: options of their width, those that a map is made of, and what a step needs of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.cell.fields import option
from models.cell.latents import MapShape

ENTRY = 5  # kernel of the first convolution of an image; all others are 3 × 3


@dataclass(frozen=True)
class MapOptions:
    """How wide convolutions are."""

    maps: int = option(
        16, "maps of the hidden convolutions", unit="maps", low=1, high=4096, shape=True, since=5, symbol="maps",
        label="maps",
    )  # fmt: skip


@dataclass(frozen=True)
class BlockOptions(MapOptions):
    """How wide convolutions are, and how many blocks of them there are."""

    blocks: int = option(
        1, "residual blocks between stochastic layers", unit="blocks", low=1, high=100, shape=True, since=5,
        symbol="blocks", label="residual blocks between layers",
    )  # fmt: skip


class Conv(NamedTuple):
    """A convolution of a map, from so many maps to so many, with a square kernel, and what is done around it.

    `kind`: `first`; `down`, at half the height and width of what it is given; `inner` and `last` of a residual block;
    `up`, at twice the height and width; `head`. `positions`: height × width of what comes out. The first may halve.
    """

    kind: str
    inputs: int
    outputs: int
    positions: int
    size: int = 3
    stride: int = 1

    @property
    def weights(self) -> int:
        """Numbers in its kernels."""
        return self.inputs * self.outputs * self.size**2


def halvings(fine: Sequence[int], coarse: Sequence[int]) -> int | None:
    """How often (height, width) is halved from `fine` to `coarse`; None where halving does not lead there."""
    times = max(0, (fine[0] // coarse[0]).bit_length() - 1)
    return times if all(f == c << times for f, c in zip(fine, coarse, strict=True)) else None


def map_convs(given: MapShape, wanted: MapShape, heads: int, maps: int, blocks: int, entry: int = 3) -> list[Conv]:
    """The convolutions of a map of `models.networks.residual`, in order.

    heads: numbers that it puts out for each of the `wanted` ones; entry: size of the first kernel.
    """
    down = halvings(given[1:], wanted[1:]) or 0
    up = halvings(wanted[1:], given[1:]) or 0
    positions = given.positions
    found = []
    for number in range(max(1, down)):
        stride = 2 if down else 1
        positions //= stride**2
        kind, inputs, size = ("down", maps, 3) if number else ("first", given.maps, entry)
        found.append(Conv(kind, inputs, maps, positions, size, stride))
    found += [Conv(kind, maps, maps, positions) for _ in range(blocks) for kind in ("inner", "last")]
    for _ in range(up):
        positions *= 4
        found.append(Conv("up", maps, maps, positions))
    return [*found, Conv("head", maps, heads * wanted.maps, positions)]


@dataclass(frozen=True)
class Convolution:
    """A convolution in a training step of a cell, of so many rows; the rest as of `models.cell.size.Affine`."""

    rows: int
    conv: Conv
    of_data: bool = False
    fixed: bool = False
    again: bool = False

    @property
    def outputs(self) -> int:
        """Numbers of a row that come out."""
        return self.conv.outputs * self.conv.positions

    @property
    def kept(self) -> int:
        """Numbers that go in, which are kept for the gradient of the weights."""
        halved = self.conv.stride**2
        return self.rows * self.conv.inputs * self.conv.positions * halved

    @property
    def flops(self) -> int:
        """Of the products: one forward, one for the weight's gradient and one for the input's."""
        passes = 6 - 2 * self.of_data - 2 * self.fixed
        return passes * self.rows * self.conv.positions * self.conv.weights


def applied(convs: Sequence[Conv], rows: int, of_data: bool = False, **more: bool) -> list[Convolution]:
    """One application of convolutions in order, the first of which, if `of_data`, sees images."""
    return [Convolution(rows, conv, of_data and not place, **more) for place, conv in enumerate(convs)]
