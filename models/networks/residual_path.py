"""Deterministic residual paths, and the heads upon them: for networks whose ways up and down meet at every layer.

A path is a list of convolutions without a head (`models.networks.residual.through`), from features to features on the
same grid or a coarser one; between two grids that are alike it is residual blocks alone. `Merge` is where q's way up
and the way down meet.

Shapes: C cells, S samples, B batch, rows R = S B, or B where nothing was drawn yet; M hidden maps; N units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.kernels import convolution
from models.kernels.convolution import stacked, unstacked
from models.kernels.densities import sigma
from models.networks.convolution_spec import Conv
from models.networks.network import Numbers, Params
from models.networks.residual import ResidualMap, StackedConv, through
from models.parameters import Group, Parameter


def path_of(
    name: str, shapes: Sequence[Conv], layer: int, place: int, group: Group, normalized: bool
) -> list[StackedConv]:
    """The convolutions of a path, or of a head; arguments as of `ResidualMap`."""
    return [
        StackedConv(f"{name}.{number}", shape, layer, place + 2 * number, group, normalized)
        for number, shape in enumerate(shapes)
    ]


def numbers_of(head: StackedConv, params: Params, h: Tensor, cells: int, samples: int) -> Numbers:
    """Mean and deviation of a head's Gaussian, each (C, S, B, N), of features (S B, C M, H, W)."""
    mean, raw = unstacked(head(params, h, of_elu=True), cells, samples, 2)
    return mean, sigma(raw)


def features(map: ResidualMap, params: Params, z: Tensor) -> Tensor:
    """What a map's head is given of (C, S, B, I): (R, C M, H, W)."""
    return through(map.convs[:-1], params, stacked(z, map.given.height, map.given.width))


def plus(h: Tensor, more: Tensor) -> Tensor:
    """Features (S B, …) and more of them, of as many rows, or of every image, (B, …)."""
    if len(h) == len(more):
        return h + more
    return (h.view(-1, *more.shape) + more).flatten(0, 1)


class Merge:
    """q's numbers from the features of an image, d, and those that come from above, g: a convolution of both side by
    side, a residual block and a head; `convs` are these in order.

    The convolution of both is computed as the sum of one of each: the image's then see it once, whatever the chains.
    """

    def __init__(self, convs: Sequence[StackedConv]):
        self.joined, *self.block, self.head = convs

    def parameters(self) -> Iterator[Parameter]:
        """Of the convolutions in order."""
        for each in (self.joined, *self.block, self.head):
            yield from each.parameters()

    def __call__(self, params: Params, d: Tensor, g: Tensor, cells: int, samples: int) -> Numbers:
        """d (B, C M, H, W) or (S B, …), g (S B, C M, H, W) → mean and deviation, each (C, S, B, N)."""

        def both(weight: Tensor, bias: Tensor) -> Tensor:
            of_d, of_g = weight.chunk(2, 2)
            from_g = convolution.convolve(g, of_g, torch.zeros_like(bias), of_elu=True)
            return plus(from_g, convolution.convolve(d, of_d, bias, of_elu=True))

        h = through(self.block, params, self.joined.with_weights(params, both))
        return numbers_of(self.head, params, h, cells, samples)
