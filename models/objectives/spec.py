"""Options of the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.cell.fields import YES_NO, option

if TYPE_CHECKING:
    from models.cell.cell import Cell


@dataclass(frozen=True)
class KlWeightOptions:
    """How the KL terms are weighed."""

    kl_weight: float = option(
        1.0, "weight β of the KL terms in training, once warmed up", low=0.0, high=1e6, symbol="β",
        label="KL weight β", collapses="high",
    )  # fmt: skip
    kl_weight_start: float = option(
        0.0, "weight of the KL terms at step 0 of a warm-up", low=0.0, high=1e6, symbol="β₀",
        label="KL weight at step 0, β₀", collapses="high", needs="kl_warmup_steps or kl_delay_steps",
    )  # fmt: skip
    kl_delay_steps: int = option(
        0, "steps at `kl_weight_start` before the warm-up of the KL weight; 0: none", unit="steps", low=0, high=10**9,
        since=4, symbol="delay", label="delay of the KL weight's warm-up", collapses="low", off="none",
    )  # fmt: skip
    kl_warmup_steps: int = option(
        0, "steps of the linear warm-up of the KL weight; 0: none", unit="steps", low=0, high=10**9, symbol="warm-up",
        label="warm-up of the KL weight", collapses="low", off="none",
    )  # fmt: skip

    def kl_weight_at(self, step: int) -> float:
        """β at an absolute step, as `models.objectives.parts.KlWeight` computes it of all cells."""
        since = step - self.kl_delay_steps
        share = since / self.kl_warmup_steps if self.kl_warmup_steps else float(since >= 0)
        return self.kl_weight_start + (self.kl_weight - self.kl_weight_start) * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class ElboOptions(KlWeightOptions):
    """Weight and floor of the KL terms."""

    free_bits: float = option(
        0.0, "floor of each layer's KL term in training; 0: none", unit="nats per layer", low=0.0, high=1e6,
        note=" (nats per layer; 0: off)", symbol="λ", label="free bits λ", collapses="low", off="none",
    )  # fmt: skip
    free_bits_group: str = option(
        "layer", "whose KL term, averaged over the batch, is held at `free_bits`: that of a `layer`, or, with λ in "
        "nats per unit, that of each `unit`", choices=("layer", "unit"), shape=True, needs="free_bits", since=4,
    )  # fmt: skip


@dataclass(frozen=True)
class ChainsOptions:
    """Several ancestral chains per image."""

    chains: int = option(
        1, "ancestral chains per image in training", unit="chains", low=1, high=10_000, shape=True, since=3, symbol="K",
        label="chains per image, K",
    )  # fmt: skip


@dataclass(frozen=True)
class VaeOptions(ChainsOptions, ElboOptions):
    """The plain ELBO, averaged over chains."""


@dataclass(frozen=True)
class IwaeOptions(ChainsOptions, KlWeightOptions):
    """The importance-weighted bound of K chains: `models.objectives.iwae`."""

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("free_bits", "free_bits_group"),
        "inside an importance weight a layer has no KL term of its own that could be held at λ",
    )
    gradient_estimator: str = option(
        "plain", "gradient of q's parameters: `plain`; `dreg`, doubly reparameterised, with the same mean and less "
        "noise; `stl`, sticking the landing, biased for K ≥ 2", choices=("plain", "dreg", "stl"), shape=True, since=4,
    )  # fmt: skip


@dataclass(frozen=True)
class SmoothingOptions:
    """Ornstein–Uhlenbeck smoothing of the generative maps, and of others if asked: `models.objectives.smoothing`."""

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
    smooth_posterior: str = option(
        "no", "whether the inference maps of layers 2 … L are smoothed too", choices=YES_NO, shape=True, since=4
    )
    smooth_output: str = option(
        "no", "whether p(x|z₁) is smoothed too, by averaging its logits, so that one layer alone has something to "
        "smooth", choices=YES_NO, shape=True, since=4,
    )  # fmt: skip

    def smooths(self, cell: Cell) -> bool:
        """Whether there is a map to smooth: with a single layer only where p(x|z₁) is, as nothing else asks for."""
        return cell.depth > 1 or self.smooth_output == "yes"

    def plain(self, cell: Cell) -> bool:
        """Whether nothing is smoothed: at ρ = 1, or because there is no map to smooth.

        A cell that continues from others stays one of its branch at ρ = 1 too, whose others are smoothed.
        """
        return (self.rho == 1.0 or not self.smooths(cell)) and not cell.continues

    def idle(self, cell: Cell) -> dict[str, str]:
        """Options without effect, at their default: a single layer has no inference map above it."""
        return {"smooth_posterior": "no"} if cell.depth == 1 else {}


@dataclass(frozen=True)
class OuOptions(VaeOptions, SmoothingOptions):
    """The smoothed ELBO."""


@dataclass(frozen=True)
class OuIwaeOptions(IwaeOptions, SmoothingOptions):
    """The smoothed importance-weighted bound."""
