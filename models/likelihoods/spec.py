"""Options of the likelihoods."""

from __future__ import annotations

from dataclasses import dataclass

from models.cell.fields import option


@dataclass(frozen=True)
class GaussianOptions:
    """A Gaussian of one fixed variance for all pixels."""

    decoder_variance: float = option(
        1.0, "variance of a Gaussian likelihood", low=1e-9, high=1e9, symbol="σ²", label="decoder variance σ²",
        collapses="high",
    )  # fmt: skip
