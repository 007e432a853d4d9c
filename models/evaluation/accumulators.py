"""The contract of an accumulator, which an evaluation has one of per metric.

It is given block after block of chains (`ChainBlock`), and gives the columns of its metric. None knows of another, but
for the means over each image's chains (`models.evaluation.elbo.Means`), which several are made of. A further metric is
a further class and a line in `models.evaluation.evaluate.accumulators_of`.

Sums are float64, in the order of the blocks, with a leading axis of cells: a cell's numbers do not depend on the cells
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.evaluation.which import ImageBlock
from models.networks.network import Terms


@dataclass(frozen=True)
class ChainBlock:
    """The network's terms at some chains of the images of a block, and what these chains are for.

    - `terms`: of the cells that are evaluated at a time; chains and images are the axes `samples` and `batch`.
    - `chains`: which of each image's chains, from 0.
    - `again`: they see the second binarisation of the images. One such chain comes after all others of a block of
      images; it is for the error of the binarisation alone.
    """

    terms: Terms
    images: ImageBlock
    chains: range
    again: bool = False

    @property
    def averaged(self) -> bool:
        """Whether the chains enter every average, not the activities alone."""
        return not self.again and self.chains[0] < self.images.averaged

    @property
    def weighed(self) -> bool:
        """Whether they enter the importance-weighted bound."""
        return self.averaged and self.images.weighed

    @cached_property
    def layer_terms(self) -> list[Tensor]:
        """The ELBO's term of every layer, each (cells, chains, images), float64."""
        return [layer.term().double().expand(-1, len(self.chains), -1) for layer in self.terms.layers]

    @cached_property
    def log_px(self) -> Tensor:
        """log p(x|·), (cells, chains, images), float64."""
        return self.terms.log_px.double().expand(-1, len(self.chains), -1)

    @cached_property
    def elbo(self) -> Tensor:
        """log p(x|·) less the layers' terms, (cells, chains, images), float64."""
        elbo = self.log_px
        for term in self.layer_terms:
            elbo = elbo - term
        return elbo

    @cached_property
    def log_weight(self) -> Tensor:
        """log p(x, z) − log q(z|x) at the samples, (cells, chains, images), float64: no analytic KL is in it."""
        log_w = self.log_px
        for layer in self.terms.layers:
            log_w = log_w + layer.log_p.double() - layer.log_q.double()
        return log_w


@dataclass(frozen=True)
class Sizes:
    """How large the sums are: of so many cells at a time, units of layers 1 … L, blocks of images; on which device."""

    cells: int
    latents: tuple[int, ...]
    blocks: tuple[ImageBlock, ...]
    device: torch.device

    @property
    def images(self) -> int:
        """Of all blocks, N."""
        return sum(block.count for block in self.blocks)

    @property
    def largest_block(self) -> int:
        """The most images of a block."""
        return max(block.count for block in self.blocks)

    def zeros(self, *shape: int, value: float = 0.0) -> Tensor:
        """(cells, *shape), float64, of zeros or of another value."""
        return torch.full((self.cells, *shape), value, dtype=torch.float64, device=self.device)


class Accumulator:
    """Running sums behind a metric. Those of a list are called in its order: one may read those before it."""

    def add(self, block: ChainBlock) -> None:
        """Take in some chains of the images of a block. Blocks of chains that are not for this metric come as well."""

    def end_of_images(self, images: ImageBlock) -> None:
        """All chains of these images were added."""

    def row(self, cell: int) -> dict[str, Any]:
        """The metric's columns of a cell, Python numbers and lists, after the end of all images."""
        return {}
