"""The evidence lower bound, plain (`vae`) and with smoothed generative networks (`ou`).

    ELBO = E_q log p(x|z₁) − Σ_i term_i,   term_i = E_q[log q(z_i|z_{i−1}) − log p(z_i|z_{i+1})] at the same samples

(Pervez & Gavves 2021, eq. 5; the top term is an analytic KL). Under `ou`, p(z_i|U_ρ μ_i, U_ρ σ_i) replaces
p(z_i|z_{i+1}): that training objective is no bound on log p(x), and is never stored as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from models.cell import Cell
from models.draws.draws import Draws, Purpose
from models.networks.network import Terms
from models.objectives.parts import FreeBits, KlWeight
from models.objectives.smoothing import Smoothing
from models.parameters import column


class Vae:
    """The ELBO, averaged over the chains of an image, with its KL weight and free bits."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.kl_weight, self.free_bits = KlWeight(cells, like), FreeBits(cells, like)

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing | None:
        """None: nothing is smoothed."""
        return None

    def value(self, terms: Terms, step: int | Tensor) -> Tensor:
        """log p(x|z₁) − β Σ_i max(λ, term_i), each averaged over samples and batch; (cells,), nats per image."""
        penalty = sum(self.free_bits(layer.term().mean((1, 2))) for layer in terms.layers)
        return terms.log_px.mean((1, 2)) - self.kl_weight.at(step) * penalty


class OrnsteinUhlenbeck(Vae):
    """The same with every generative map above p(x|z₁) smoothed by each cell's ρ over S samples."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        super().__init__(cells, like)
        self.rho = column([c.rho for c in cells], like, 4)
        self.smoothing_samples = cells[0].smoothing_samples
        self.ratio = cells[0].smoothing == "ratio"

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing:
        """Fresh ε for the maps from layers 2 … L, from a stream of its own."""
        noise = [
            draws.normal(Purpose.SMOOTH, (self.smoothing_samples, batch, units), step, layer)
            for layer, units in enumerate(latents[1:], start=2)
        ]
        return Smoothing(self.rho, noise, self.ratio)
