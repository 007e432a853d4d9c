"""The shape of an image: of data sets, of what networks take in and put out, and of what their size follows from."""

from __future__ import annotations

from typing import NamedTuple


class ImageShape(NamedTuple):
    """Of one image. Its numbers lie channel by channel, each channel row by row; grey images have one channel."""

    channels: int
    height: int
    width: int

    @property
    def features(self) -> int:
        """Numbers in an image."""
        return self.channels * self.height * self.width

    @property
    def positions(self) -> int:
        """Height × width."""
        return self.height * self.width

    @property
    def array(self) -> tuple[int, ...]:
        """The shape of one image as an array: (height, width), or of several channels (channels, height, width)."""
        return tuple(self[1:]) if self.channels == 1 else tuple(self)
