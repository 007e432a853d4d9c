"""OMNIGLOT (Lake et al. 2015; MIT), 32,460 drawings of 1,623 characters, shrunk from 105×105 to 28×28 grey.

Shrinking is by exact area: grey = ink-covered share of the pixel × 255, rounded, ink bright; in integers, so that no
image library's version changes the data. Dynamic binarisation as for MNIST: value / 255 is a probability.

The drawings of both published folders are put in the order of their names, then split by a fixed permutation into
23,000 / 1,345 / 8,115 images: 24,345 not for testing, as in Burda et al. (2016), with one character's twenty drawings
spread over the splits. The images are not theirs (`chardata.mat`): likelihoods are comparable among themselves, not
with published numbers. A drawing's label is its alphabet, 0 … 49 in the order of their names, those of the first
folder before those of the second: there are too few drawings per character to learn 1,623 classes from.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from math import gcd
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset, shuffled
from models.data.kept import keep, kept
from models.data.labels import Labels, split_like
from models.data.sources import corrupt, locate

SOURCE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
DRAWINGS = {"images_background": 19_280, "images_evaluation": 13_180}
SHA256 = {
    "images_background": "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    "images_evaluation": "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
}
DRAWN, SIDE = 105, 28  # pixels per side, as published and here
PARTS = slice(23_000), slice(23_000, 24_345), slice(24_345, None)
CHUNK = 128  # drawings shrunk at a time: 6 MB, which a processor's cache holds
SHRUNK = f"shrunk_{SIDE}.npy"
SHRUNK_SHA256 = "8167dffec9d3ee72541f00f4f120b260f19aebf40a2a4c142dfc5a700a187882"

# What zipfile and Pillow raise for damaged archives and images; Pillow has a SyntaxError for a bad PNG.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, SyntaxError, struct.error)

Grey = npt.NDArray[np.uint8]


def load() -> Dataset:
    """OMNIGLOT at 28×28, 255 levels. Raises DataMissing, DataCorrupt."""
    images = kept("omniglot", SHRUNK, SHRUNK_SHA256)
    if images is None:
        images = np.concatenate([_archive(folder, count) for folder, count in DRAWINGS.items()])
        keep("omniglot", SHRUNK, images)
    images = images[shuffled("omniglot", len(images))]
    train, validation, test = (images[part] for part in PARTS)
    return Dataset("omniglot", train, validation, test, 255, ImageShape(1, SIDE, SIDE), read_labels=_labels)


def _labels() -> Labels:
    """From the names in the archives, `<folder>/<alphabet>/<character>/<drawing>.png`."""
    alphabets: list[str] = []
    for folder, count in DRAWINGS.items():
        path = _located(folder)
        try:
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                names = _names(archive, count)
        except DAMAGE as fault:
            raise corrupt(path, str(fault)) from None
        alphabets += ["/".join(name.split("/")[:-2]) for name in names]
    numbers = {alphabet: number for number, alphabet in enumerate(dict.fromkeys(alphabets))}
    order = shuffled("omniglot", len(alphabets))
    return split_like(np.array([numbers[each] for each in alphabets])[order], *PARTS)


def shrink(ink: npt.NDArray[np.bool_], side: int) -> Grey:
    """Square drawings (images, n, n), True where there is ink, as grey (images, side, side): 255 × the share of ink.

    The share is exact and rounded once, half up: with g = gcd(n, side), a drawn pixel is side / g units long and a
    grey one n / g, and the overlaps are whole numbers of units.
    """
    size = ink.shape[-1]
    unit = gcd(size, side)
    drawn, grey = side // unit, size // unit
    # Both sides repeat after `grey` drawn pixels = `drawn` grey ones: overlap[i, j] of drawn pixel i and grey pixel j.
    starts, ends = np.arange(grey)[:, None] * drawn, np.arange(drawn)[None, :] * grey
    overlap = np.clip(np.minimum(starts + drawn, ends + grey) - np.maximum(starts, ends), 0, None)
    area = np.ascontiguousarray(ink.T, dtype=np.int32)  # pixel axes first: long runs of images in memory
    for _ in range(2):  # shrink the first axis, and swap, so that the next round takes the other one
        area = area.reshape(unit, grey, *area.shape[1:])
        shrunk = np.zeros((unit, drawn, *area.shape[2:]), np.int32)
        for i, j in np.argwhere(overlap):
            shrunk[:, j] += overlap[i, j] * area[:, i]
        area = shrunk.reshape(side, *area.shape[2:]).swapaxes(0, 1)
    whole = grey * grey
    return np.ascontiguousarray(((2 * 255 * area + whole) // (2 * whole)).T, dtype=np.uint8)


def _archive(folder: str, count: int) -> Grey:
    """The drawings of one archive in the order of their names, (count, 784). Raises DataMissing, DataCorrupt."""
    path = _located(folder)
    content = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            names = _names(archive, count)
            chunks = [names[start : start + CHUNK] for start in range(0, count, CHUNK)]
            shrunk = [shrink(np.stack([_ink(archive.read(name)) for name in chunk]), SIDE) for chunk in chunks]
    except DAMAGE as fault:
        raise corrupt(path, str(fault)) from None
    return np.concatenate(shrunk).reshape(count, SIDE * SIDE)


def _located(folder: str) -> Path:
    return locate("omniglot", f"{folder}.zip", f"{SOURCE}{folder}.zip", SHA256[folder])


def _names(archive: zipfile.ZipFile, count: int) -> list[str]:
    """Names of the drawings in an archive, in order. Raises ValueError where there are not so many."""
    names = sorted(name for name in archive.namelist() if name.endswith(".png"))
    if len(names) != count:
        raise ValueError(f"it should have {count} drawings, got {len(names)}")
    return names


def _ink(png: bytes) -> npt.NDArray[np.bool_]:
    """Where a black-on-white drawing has ink, (105, 105)."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        if image.mode != "1" or image.size != (DRAWN, DRAWN):
            raise ValueError(f"a drawing should have 105 × 105 pixels of 1 bit, got {image.size} of mode {image.mode}")
        return np.logical_not(np.asarray(image, dtype=np.bool_))
