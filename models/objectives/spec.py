"""Options of the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.cell.fields import option

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class ElboOptions:
    """How the KL terms are weighed."""

    kl_weight: float = option(
        1.0, "weight β of the KL terms in training, once warmed up", low=0.0, high=1e6, symbol="β",
        label="KL weight β", collapses="high",
    )  # fmt: skip
    kl_weight_start: float = option(
        0.0, "weight of the KL terms at step 0 of a warm-up", low=0.0, high=1e6, needs="kl_warmup_steps", symbol="β₀",
        label="KL weight at step 0, β₀", collapses="high",
    )  # fmt: skip
    kl_warmup_steps: int = option(
        0, "steps of the linear warm-up of the KL weight; 0: none", unit="steps", low=0, high=10**9, symbol="warm-up",
        label="warm-up of the KL weight", collapses="low", off="none",
    )  # fmt: skip
    free_bits: float = option(
        0.0, "floor of each layer's KL term in training; 0: none", unit="nats per layer", low=0.0, high=1e6,
        note=" (nats per layer; 0: off)", symbol="λ", label="free bits λ", collapses="low", off="none",
    )  # fmt: skip


@dataclass(frozen=True)
class VaeOptions(ElboOptions):
    """The plain ELBO, averaged over chains."""

    chains: int = option(
        1, "ancestral chains per image in training", unit="chains", low=1, high=10_000, shape=True, since=3, symbol="K",
        label="chains per image, K",
    )  # fmt: skip


@dataclass(frozen=True)
class SmoothingOptions:
    """Ornstein–Uhlenbeck smoothing of the generative maps: `models.objectives.smoothing`."""

    rho: float = option(
        1.0, "strength ρ of Ornstein–Uhlenbeck smoothing in training; 1: none", low=0.0, high=1.0, symbol="ρ",
        label="ρ", collapses="high", complement=True, reference=0.8, off="no smoothing",
    )  # fmt: skip
    smoothing_samples: int = option(
        5, "S, samples of the smoothed maps", unit="samples", low=1, high=10_000, shape=True, symbol="S",
        label="samples of the smoothed maps, S", collapses="low",
    )  # fmt: skip
    smoothing: str = option(
        "moments", "what is averaged: `moments` (mean and deviation) or `ratio` (mean / deviation, and deviation)",
        choices=("moments", "ratio"), shape=True,
    )  # fmt: skip


@dataclass(frozen=True)
class OuOptions(ElboOptions, SmoothingOptions):
    """The smoothed ELBO. Smoothing takes one chain per image, whose axis is the one that its samples take."""

    chains: ClassVar[int] = 1

    def plain(self, cell: Cell) -> bool:
        """Whether nothing is smoothed: at ρ = 1, and with a single layer, because p(x|z₁) never is.

        A cell that continues from others stays one of its branch at ρ = 1 too, whose others are smoothed.
        """
        return (self.rho == 1.0 or cell.depth == 1) and not cell.continues
