"""The null model of a hierarchical VAE: its layers from z₁ upward, and no data below them.

    q(z₁|x) = N(0, I),   log p(x|z₁) = 0

Nothing of x enters, whatever data set a cell names: the layers above describe independent noise. Maps and objective
are those of `models.networks.mlp`; the first layer's term is log q(z₁) − log p(z₁|z₂). What the KL of a layer does
against ρ here, the hierarchy does by itself; only what a data set adds to that is about the data.
"""

from __future__ import annotations

from torch import Tensor

from models.networks.mlp import HierarchicalMLP
from models.networks.network import Numbers, Params
from models.parameters import Parameter


class NullMLP(HierarchicalMLP):
    """The hierarchical MLP without the maps between x and z₁; of a cell's hidden sizes the first layer's are unused."""

    def parameters(self) -> list[Parameter]:
        """Parameters of the maps from layer 2 on."""
        return [parameter for parameter in super().parameters() if parameter.layer > 1]

    def _posterior(self, params: Params, i: int, below: Tensor) -> Numbers:
        if i > 1:
            return super()._posterior(params, i, below)
        shape = *below.shape[:-1], self.latents[0]
        return below.new_zeros(shape), below.new_ones(shape)

    def _log_px(self, params: Params, x: Tensor, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def _output(self, params: Params, z: Tensor) -> Tensor:
        return z.new_zeros(*z.shape[:-1], self.likelihood.maps * self.shape.positions)
