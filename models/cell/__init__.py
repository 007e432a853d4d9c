"""Cells: what they are, which names and options they may use, what they need. Nothing here imports torch."""

from models.cell.cell import (
    CHOICES,
    CONTINUE,
    RANGES,
    UNSMOOTHED,
    Cell,
    CellError,
    canonical_json,
    nine_digits,
    parse_sizes,
)

__all__ = [
    "CHOICES",
    "CONTINUE",
    "RANGES",
    "UNSMOOTHED",
    "Cell",
    "CellError",
    "canonical_json",
    "nine_digits",
    "parse_sizes",
]
