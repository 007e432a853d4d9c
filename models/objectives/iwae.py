"""The importance-weighted bound, plain (`iwae`) and with smoothed generative networks (`ou_iwae`).

    L_K = E log (1/K) Σ_k w_k,   log w_k = log p(x|z₁) + β Σ_i [log p(z_i|z_{i+1}) − log q(z_i|z_{i−1})]

over K chains (Burda et al. 2016, eq. 8). Every density is taken at its sample: with an analytic KL or entropy inside a
weight this would be no bound. The KL weight β stands inside the weights; for β ≠ 1, and under smoothing, L_K is a
training objective and no bound on log p(x). Its gradient with respect to q's parameters φ, with w̃ = w / Σ w:

- `plain`: Σ_k w̃_k ∂ log w_k/∂φ, whose signal-to-noise ratio falls with K (Rainforth et al. 2018).
- `stl`, sticking the landing (Roeder et al. 2017): without φ in log q itself, Σ_k w̃_k (∂ log w_k/∂z_k)(∂z_k/∂φ). It is
  unbiased at K = 1 only; beyond, it follows no bound.
- `dreg`, doubly reparameterised (Tucker et al. 2019): Σ_k w̃_k (1 − β + β w̃_k)(∂ log w_k/∂z_k)(∂z_k/∂φ), unbiased for
  any K. At β = 1 these weights are w̃². In general the left-out part is β times the score of q, which is in expectation
  β (w̃ − w̃²) of the path.

φ that enters p (the mean and deviation of smoothing, a prior that looks at q) and all other parameters have the plain
gradient. How a network keeps these parts apart: `models.objectives.paths`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from models.cell import Cell
from models.draws.draws import Draws
from models.networks.network import Terms
from models.objectives.parts import KlWeight
from models.objectives.paths import Paths
from models.objectives.smoothing import Smoother, Smoothing

# Logarithm of a weight over the largest. Below it a weight changes no bit of a sum. But its gradient has denormal
# numbers, for which processors take many times as long: chains of a colour image are hundreds of nats apart.
_NOTHING = -46.0


class Iwae:
    """L_K, with K the option `chains`, and the estimator of its gradient."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.kl_weight = KlWeight(cells, like)
        self.estimator = cells[0].gradient_estimator

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing | None:
        """None: nothing is smoothed."""
        return None

    def paths(self) -> Paths | None:
        """Gradients along the samples for `stl` and `dreg`, which weighs them."""
        return None if self.estimator == "plain" else Paths(weighted=self.estimator == "dreg")

    def bound(self, terms: Terms, step: int | Tensor) -> Tensor:
        """log (1/K) Σ w of each image, (cells, batch), nats; its gradient is the estimator's."""
        beta = self.kl_weight.at(step).view(-1, 1, 1)
        log_w = terms.log_px  # (cells, K, batch)
        for layer in terms.layers:
            log_w = log_w + beta * (layer.log_p - layer.log_q)
        largest = log_w.detach().amax(1, keepdim=True)
        apart = log_w - largest
        w = apart.masked_fill(apart < _NOTHING, -math.inf).exp()
        if terms.paths is not None and terms.paths.weighted:
            share = w.detach() / w.detach().sum(1, keepdim=True)
            terms.paths.weights = (1.0 - beta + beta * share).unsqueeze(-1)
        return w.mean(1).log() + largest.squeeze(1)

    def value(self, terms: Terms, step: int | Tensor) -> Tensor:
        """The mean over the batch, (cells,), nats per image."""
        return self.bound(terms, step).mean(1)


class OuIwae(Iwae):
    """The bound with every generative map above p(x|z₁) smoothed by each cell's ρ over S samples of each chain."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        super().__init__(cells, like)
        self.smoother = Smoother(cells, like)
        self.rho = self.smoother.rho

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing:
        """Fresh noise of the smoothed maps."""
        return self.smoother.at(draws, step, latents, batch)
