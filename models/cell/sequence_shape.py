"""The shape of a sequence of symbols, beside that of an image."""

from __future__ import annotations

from typing import NamedTuple

from models.cell.image_shape import ImageShape

END = 0  # the number of the end symbol


class SequenceShape(NamedTuple):
    """Of one sequence: `length` symbols at most, its end among them, each one of `vocabulary`, the end among them."""

    length: int
    vocabulary: int

    @property
    def features(self) -> int:
        """Numbers in a sequence."""
        return self.length

    @property
    def positions(self) -> int:
        """Positions of a sequence, one symbol at each: as many as it is long."""
        return self.length

    @property
    def array(self) -> tuple[int, ...]:
        """The shape of one sequence as an array: (length,)."""
        return (self.length,)


Shape = ImageShape | SequenceShape  # of what a data set holds
