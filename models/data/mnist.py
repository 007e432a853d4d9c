"""MNIST, 28×28 (LeCun et al. 1998; CC BY-SA 3.0), grey for dynamic binarisation, or binarised once and for all.

Dynamic: a pixel's value / 255 is the probability with which each use draws it as 1. Training images are the first
50,000 of the training file, validation images its last 10,000, test images those of the test file. An image's label is
the digit that it shows.

Static: the binarised images of Larochelle & Murray (AISTATS 2011), 50,000 / 10,000 / 10,000. Their source has no
https, so these files are never downloaded; which copy of them is meant, the registered digest says. It has no
labels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.data.labels import Labels
from models.data.sources import corrupt, locate, read_gzip

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
SHAPE = ImageShape(1, 28, 28)
PIXELS = 784
SIZES_STATIC = {"train": 50_000, "valid": 10_000, "test": 10_000}


def load() -> Dataset:
    """Grey MNIST, 255 levels."""
    return load_like("mnist", MIRROR, SHA256)


def load_like(name: str, mirror: str = "", sha256: Mapping[str, str] = MappingProxyType({})) -> Dataset:
    """A data set with the files, sizes and splits of MNIST, from the folder `name` (docs/adding.md).

    Files of labels need not be there until labels are asked for.

    mirror: the address of the files, ending in a slash; "": they are not downloaded; sha256: of the files there.
    """
    counts = {"train-images-idx3-ubyte.gz": 60_000, "t10k-images-idx3-ubyte.gz": 10_000}
    training, test = (
        _images(locate(name, file, mirror and mirror + file, sha256.get(file, "")), count)
        for file, count in counts.items()
    )
    labels = partial(_labels, name, mirror, sha256)
    splits = training[:50_000], training[50_000:], test
    return Dataset(name, *splits, levels=255, shape=SHAPE, read_labels=labels)


def _labels(name: str, mirror: str, sha256: Mapping[str, str]) -> Labels:
    """From the files of labels beside those of images."""
    read = []
    for file, count in {"train-labels-idx1-ubyte.gz": 60_000, "t10k-labels-idx1-ubyte.gz": 10_000}.items():
        path = locate(name, file, mirror and mirror + file, sha256.get(file, ""))
        numbers = read_idx(path)
        if numbers.shape != (count,):
            raise corrupt(path, f"it should have {count} labels, got {' × '.join(map(str, numbers.shape))}")
        read.append(numbers.astype(np.int64))
    training, test = read
    return Labels(training[:50_000], training[50_000:], test)


def load_static() -> Dataset:
    """Static binary MNIST, 1 level."""
    train, validation, test = (_bits(split, count) for split, count in SIZES_STATIC.items())
    return Dataset("mnist_static", train, validation, test, levels=1, shape=SHAPE)


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array of bytes in a gzipped IDX file, of any number of dimensions. Raises DataCorrupt."""
    content = read_gzip(path)
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise corrupt(path, f"it should start as an IDX file of bytes, got {content[:4].hex()}")
    dimensions = content[3]
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if values.size != np.prod(shape, dtype=np.int64):
        raise corrupt(path, f"its header says {' × '.join(map(str, shape))} values, it has {values.size}")
    return values.reshape(shape)


def _images(path: Path, count: int) -> npt.NDArray[Any]:
    """`count` images of an IDX file as rows, uint8 (count, 784). Raises DataCorrupt."""
    images = read_idx(path)
    if images.shape != (count, *SHAPE.array):
        raise corrupt(path, f"it should have {count} × 28 × 28 values, got {' × '.join(map(str, images.shape))}")
    return images.reshape(count, PIXELS)


def _bits(split: str, count: int) -> npt.NDArray[Any]:
    """`count` images from text, 784 times 0 or 1 per line, as uint8 (count, 784). Raises DataMissing, DataCorrupt."""
    file = f"binarized_mnist_{split}.amat.gz"
    path = locate("binarized_mnist", file)
    digits = read_gzip(path).translate(None, b" \t\r\n")
    bits = np.frombuffer(digits, np.uint8) - ord("0")
    if bits.size != count * PIXELS or bits.max() > 1:
        raise corrupt(path, f"it should have {count} × 784 digits 0 or 1 and nothing else, got {bits.size} characters")
    return bits.reshape(count, PIXELS)
