"""The evidence lower bound, plain (`vae`) and with smoothed generative networks (`ou`).

    ELBO = E_q log p(x|z₁) − Σ_i term_i,   term_i = E_q[log q(z_i|z_{i−1}) − log p(z_i|z_{i+1})] at the same samples

(Pervez & Gavves 2021, eq. 5; the top term is an analytic KL). Under `ou`, p(z_i|U_ρ μ_i, U_ρ σ_i) replaces
p(z_i|z_{i+1}): that training objective is no bound on log p(x), and is never stored as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from models.cell import Cell
from models.draws.draws import Draws
from models.networks.network import Terms
from models.objectives.parts import FreeBits, KlWeight
from models.objectives.paths import Paths
from models.objectives.smoothing import Smoother, Smoothing


class Vae:
    """The ELBO, averaged over the chains of an image, with its KL weight and free bits."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        self.kl_weight, self.free_bits = KlWeight(cells, like), FreeBits(cells, like)

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing | None:
        """None: nothing is smoothed."""
        return None

    def paths(self) -> Paths | None:
        """None: the gradient is the plain one."""
        return None

    def value(self, terms: Terms, step: int | Tensor) -> Tensor:
        """log p(x|z₁) − β Σ_i max(λ, term_i), each averaged over samples and batch; (cells,), nats per image."""
        penalty = sum(self.free_bits.of(layer) for layer in terms.layers)
        return terms.log_px.mean((1, 2)) - self.kl_weight.at(step) * penalty


class OrnsteinUhlenbeck(Vae):
    """The ELBO with every generative map above p(x|z₁) smoothed by each cell's ρ over S samples."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        super().__init__(cells, like)
        self.smoother = Smoother(cells, like)
        self.rho = self.smoother.rho

    def smoothing(self, draws: Draws, step: int | Tensor, latents: Sequence[int], batch: int) -> Smoothing:
        """Fresh noise of the smoothed maps."""
        return self.smoother.at(draws, step, latents, batch)
