"""A cell's pictures as one small PNG, in grey or in colour: one row of the grid per thing shown, one column per image.

A few lines of a public format (W3C, Portable Network Graphics, third edition) and the standard library do: a report
embeds the file as it stands, and any program shows it. Every part of a PNG carries its own checksum.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sweeper.errors import StoreDamaged

MAX_BYTES, MAX_PIXELS = 1 << 20, 1 << 22  # of a file that is taken for one of ours: a small one can unpack to a huge
GAP, GREY = 1, 128  # pixels between images, and their shade
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def to_png(pictures: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """A grid of `pictures`, one row of the grid each, as a PNG with their names in it.

    Each is (images, height, width), or (images, 3, height, width) in red, green and blue.
    """
    names = list(pictures)
    colour = pictures[names[0]].ndim == 4
    images, *_, height, width = pictures[names[0]].shape
    channels = (3,) if colour else ()
    grid = np.full((len(names) * (height + GAP) - GAP, images * (width + GAP) - GAP, *channels), GREY, np.uint8)
    for i, name in enumerate(names):
        for j, image in enumerate(pictures[name]):
            top, left = i * (height + GAP), j * (width + GAP)
            grid[top : top + height, left : left + width] = np.moveaxis(image, 0, -1) if colour else image
    lines = b"".join(b"\0" + line.tobytes() for line in grid)  # each line unfiltered
    header = struct.pack(">IIBBBBB", grid.shape[1], grid.shape[0], 8, 2 if colour else 0, 0, 0, 0)
    said = b"Description\0" + "; ".join(names).encode("latin-1")
    parts = [(b"IHDR", header), (b"tEXt", said), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_part(kind, data) for kind, data in parts)


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def check_png(data: bytes) -> list[str]:
    """What the rows of the grid show. Raises StoreDamaged where `data` is not one of our PNG files, or altered."""
    if len(data) > MAX_BYTES or not data.startswith(_SIGNATURE):
        raise StoreDamaged("no pictures of this store")
    place, kinds, said = len(_SIGNATURE), [], b""
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4].rjust(4, b"\xff"))
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        if data[place : place + 12 + size] != _part(kind, content):
            raise StoreDamaged("a part of the pictures is torn or altered")
        kinds.append(kind)
        said = content if kind == b"tEXt" else said
        place += 12 + size
    if kinds != [b"IHDR", b"tEXt", b"IDAT", b"IEND"] or math.prod(struct.unpack(">II", data[16:24])) > MAX_PIXELS:
        raise StoreDamaged("no pictures of this store")
    return said.partition(b"\0")[2].decode("latin-1").split("; ")
