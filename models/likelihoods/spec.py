"""Options of the likelihoods, and how many numbers each is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.cell.fields import option
from models.cell.image_shape import ImageShape
from models.cell.sequence_shape import SequenceShape

if TYPE_CHECKING:
    from models.cell.cell import Cell


def one_per_channel(cell: Cell, shape: ImageShape) -> int:
    """Numbers that a network puts out per position: one for each value."""
    return shape.channels


@dataclass(frozen=True)
class GaussianOptions:
    """A Gaussian of one fixed variance for all pixels."""

    decoder_variance: float = option(
        1.0, "variance of a Gaussian likelihood", low=1e-9, high=1e9, symbol="σ²", label="decoder variance σ²",
        collapses="high",
    )  # fmt: skip


def logistic_maps(cell: Cell, shape: ImageShape) -> int:
    """A location and a log scale for each value."""
    return 2 * shape.channels


@dataclass(frozen=True)
class LogisticMixtureOptions:
    """A mixture of discretised logistics."""

    components: int = option(
        10, "K, components of the mixture of logistics that each pixel is drawn from", unit="components",
        low=1, high=1000, shape=True, since=5, symbol="K", label="components, K",
    )  # fmt: skip


def logistic_mixture_maps(cell: Cell, shape: ImageShape) -> int:
    """Of each component its weight, a location and log scale for each channel, and a number for each pair of them."""
    channels = shape.channels
    return int(cell.components * (1 + 2 * channels + channels * (channels - 1) // 2))


def one_per_symbol(cell: Cell, shape: SequenceShape) -> int:
    """A logit for each symbol, at every position."""
    return shape.vocabulary
