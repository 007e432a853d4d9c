"""What estimators of an importance-weighted gradient ask of a network: gradients that follow the samples alone.

The gradient of log (1/K) Σ w_k with respect to q's parameters φ has two parts for each chain: along the path
φ → z_k → log w_k, and through φ in log q itself, whose expectation is known and whose noise does not vanish where q is
right. An estimator leaves the second part out, or puts in its place what it is in expectation (`objectives.iwae`):

- log q is evaluated once more at the same samples with its *parameters* detached. Its outputs are not: in a hierarchy
  the path z₁ → μ(z₁; φ) → log q(z₂|z₁) stays (Bauer & Mnih 2021).
- Every density is evaluated at samples that are the same numbers, and whose gradient, on its way back to φ, is
  multiplied by a number of each chain. Parameters in p are not behind the samples: their gradient is as it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Paths:
    """One step's: handed to the network, which hands it on in its `Terms`.

    Args:
        weighted: whether the objective sets `weights` before it is differentiated.

    Attributes:
        weights: of each chain, (cells, chains, batch, 1), without a gradient; None: 1.
    """

    def __init__(self, weighted: bool):
        self.weighted = weighted
        self.weights: Tensor | None = None

    def along(self, z: Tensor) -> Tensor:
        """z, (cells, chains, batch, units); its gradient is multiplied by `weights`."""
        if not self.weighted or not z.requires_grad:
            return z
        followed: Tensor = _Along.apply(z, self)  # type: ignore[no-untyped-call]
        return followed


class _Along(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, paths: Paths) -> Tensor:
        ctx.paths = paths
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        assert ctx.paths.weights is not None, "the objective sets the weights of the chains"
        return grad * ctx.paths.weights, None
