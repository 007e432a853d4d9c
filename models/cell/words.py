"""A network in words that leave the value of one of its options open: what all cells along a curve have in common."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.cell.cell import Cell


class _Open(int):
    """Some number, as `…`. Above one, so that what is counted stands in the plural."""

    def __str__(self) -> str:
        return "…"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return "…"


def architecture_without(cell: Cell, field: str) -> str:
    """`Cell.architecture` with `…` for the value of `field`: `resnet 8x4x4 (… maps, 1 block)`."""
    options = cell.options("network")
    if not isinstance(getattr(options, field, None), int | float):
        return cell.architecture
    options = copy.copy(options)
    object.__setattr__(options, field, _Open(2))  # the checks of a cell are not for words
    words: str = options.words(cell.network)
    return words
