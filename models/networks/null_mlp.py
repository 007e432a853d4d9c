"""The null model of a hierarchical VAE: its layers from z₁ upward, and no data below them.

    q(z₁|x) = N(0, I),   log p(x|z₁) = 0

Nothing of x enters, whatever data set a cell names: the layers above describe independent noise. Maps and objective
are those of `models.networks.mlp`; the first layer's term is log q(z₁) − log p(z₁|z₂). What the KL of a layer does
against ρ here, the hierarchy does by itself; only what a data set adds to that is about the data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from models.cell import Cell
from models.kernels.layers import Parameter
from models.networks.mlp import HierarchicalMLP


class NullMLP(HierarchicalMLP):
    """The hierarchical MLP without the maps between x and z₁; of a cell's hidden sizes the first layer's are unused.

    Raises ValueError for a cell of one layer, of which nothing would be left.
    """

    def __init__(self, cell: Cell, features: int, mean_pixel: np.ndarray):
        if cell.depth < 2:
            raise ValueError(f"latents should have two layers or more with null_mlp, got {cell.latents}")
        super().__init__(cell, features, mean_pixel)

    def parameters(self) -> list[Parameter]:
        """Those of the maps from layer 2 on."""
        return [parameter for parameter in super().parameters() if parameter.layer > 1]

    def _posterior(self, params: Mapping[str, Tensor], i: int, below: Tensor) -> tuple[Tensor, Tensor]:
        if i > 1:
            return super()._posterior(params, i, below)
        shape = *below.shape[:-1], self.latents[0]
        return below.new_zeros(shape), below.new_ones(shape)

    def _log_px(self, params: Mapping[str, Tensor], x: Tensor, z: Tensor, variance: Tensor | None) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def _output(self, params: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return z.new_zeros(*z.shape[:-1], self.features)
