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


def one_per_symbol(cell: Cell, shape: SequenceShape) -> int:
    """A logit for each symbol, at every position."""
    return shape.vocabulary
