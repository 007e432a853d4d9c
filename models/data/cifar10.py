"""CIFAR-10 (Krizhevsky 2009): 60,000 photographs of 32×32 pixels in red, green and blue, of 256 levels.

The values are the data: they are not binarised. Of the 50,000 training images the last 5,000 of a fixed permutation are
the validation images, the others, in the permutation's order, are trained on; the publication has no such split. Test
images are those of the test file, in its order. Labels are the published ones: airplane, automobile, bird, cat, deer,
dog, frog, horse, ship, truck.

The files may be there in any form: the six of the binary version, plain (`data_batch_1.bin`) or compressed
(`data_batch_1.bin.bz2`), or one of the two distributed archives. Each file's decoded content must have the SHA-1 that
Apache MXNet publishes for it, whatever form it came in. The archive of the Python version holds pickles. They are never
unpickled, which would run what they say: `pickletools` lists their parts, and pixels and labels are taken from these.
"""

from __future__ import annotations

import bz2
import hashlib
import pickletools
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from models.cell.image_shape import ImageShape
from models.data.dataset import LEVELS, Dataset, shuffled
from models.data.kept import keep, kept
from models.data.labels import Labels
from models.data.sources import DataMissing, corrupt, locate

SOURCE = "https://www.cs.toronto.edu/~kriz/"
SHAPE = ImageShape(3, 32, 32)
VALIDATION = 5_000
PER_FILE, RECORD = 10_000, 1 + SHAPE.features  # a label, then the red, green and blue pixels, row by row
SHA1 = {
    "data_batch_1": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch": "67eb016db431130d61cd03c7ad570b013799c88c",
}
BINARY, PYTHON = "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"
DECODED = "decoded.npy"  # all images in the order of the files; kept, as bzip2 takes half a minute
DECODED_SHA256 = "2ae5d6db0453753867541f0ccce0b648fcd0aaf596c0ca67c33dc03b3deaf283"
LABELS = "labels.npy"  # of the same images, kept beside them
LABELS_SHA256 = "3edb456524d5918aefded81f5aef7c32efab2a788211df998a4eb0c8957baa1f"
MAX_FILE = 40_000_000  # bytes of a batch in an archive: what claims more is none

Images = npt.NDArray[np.uint8]


def load() -> Dataset:
    """CIFAR-10, 45,000 / 5,000 / 10,000 images. Raises DataMissing, DataCorrupt."""
    images = kept("cifar10", DECODED, DECODED_SHA256)
    if images is None:
        images, _ = _decoded()
    splits = _split(images)
    return Dataset("cifar10", *splits, LEVELS, SHAPE, probabilities=False, read_labels=_labels)


def _labels() -> Labels:
    numbers = kept("cifar10", LABELS, LABELS_SHA256)
    if numbers is None:
        _, numbers = _decoded()
    train, validation, test = (part.astype(np.int64) for part in _split(numbers))
    return Labels(train, validation, test)


def _split(rows: Images) -> tuple[Images, Images, Images]:
    """What there is of each image, in the order of the files, as train, validation and test."""
    training, test = rows[:-PER_FILE], rows[-PER_FILE:]
    training = training[shuffled("cifar10", len(training))]
    return training[:-VALIDATION], training[-VALIDATION:], test


def _decoded() -> tuple[Images, Images]:
    """All images in the order of the files, (60,000, 3,072), and their labels; both are kept for the next process.

    Raises DataMissing, DataCorrupt.
    """
    images = np.empty((len(SHA1) * PER_FILE, SHAPE.features), np.uint8)
    labels = np.empty(len(images), np.uint8)
    for path, batch, content in _batches():
        if (found := hashlib.sha1(content, usedforsecurity=False).hexdigest()) != SHA1[batch]:
            raise corrupt(path, f"the decoded {batch} has the SHA-1 {found}, published is {SHA1[batch]}")
        first = list(SHA1).index(batch) * PER_FILE
        records = np.frombuffer(content, np.uint8).reshape(PER_FILE, RECORD)
        labels[first : first + PER_FILE], images[first : first + PER_FILE] = records[:, 0], records[:, 1:]
    keep("cifar10", DECODED, images)
    keep("cifar10", LABELS, labels)
    return images, labels


def _batches() -> Iterator[tuple[Path, str, bytes]]:
    """Of every batch the file that it came from, its name, and its content as the binary version has it."""
    files = {batch: path for batch in SHA1 if (path := _here(f"{batch}.bin", f"{batch}.bin.bz2"))}
    archive = _here(BINARY, PYTHON)
    if archive is None and 0 < len(files) < len(SHA1):
        locate("cifar10", next(f"{batch}.bin" for batch in SHA1 if batch not in files))  # raises DataMissing
    if len(files) < len(SHA1):
        yield from _in_archive(archive or locate("cifar10", BINARY, SOURCE + BINARY))
        return
    for batch, path in files.items():
        content = path.read_bytes()
        try:
            yield path, batch, bz2.decompress(content) if path.suffix == ".bz2" else content
        except (OSError, ValueError) as fault:
            raise corrupt(path, str(fault)) from None


def _here(*names: str) -> Path | None:
    """The first of these files that is there."""
    for name in names:
        try:
            return locate("cifar10", name)
        except DataMissing:
            continue
    return None


def _in_archive(path: Path) -> Iterator[tuple[Path, str, bytes]]:
    """The batches of either archive."""
    left = set(SHA1)
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                batch = PurePosixPath(member.name).name.removesuffix(".bin")
                if batch in left and member.size <= MAX_FILE and (opened := archive.extractfile(member)):
                    content = opened.read()
                    yield path, batch, content if member.name.endswith(".bin") else _records(content)
                    left.remove(batch)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as fault:
        raise corrupt(path, str(fault)) from None
    if left:
        raise corrupt(path, f"it has no {sorted(left)[0]}")


def _records(pickled: bytes) -> bytes:
    """A batch of the Python version as one of the binary version: labels and pixels, picked out of a pickle's parts.

    It is a dictionary, in which the labels are a list of small numbers after their name, and the array's memory is the
    only text of its size. Raises ValueError where this is not so.
    """
    labels: list[int] = []
    pixels, reading = b"", False
    for opcode, argument, _ in pickletools.genops(pickled):
        if isinstance(argument, str | bytes) and opcode.name != "GLOBAL":
            reading = argument in ("labels", b"labels")
            if len(argument) == PER_FILE * SHAPE.features:
                pixels = argument.encode("latin-1") if isinstance(argument, str) else argument
        elif reading and opcode.name == "BININT1":
            labels.append(int(argument or 0))
    if not pixels or len(labels) != PER_FILE:
        raise ValueError("it has not the labels and pixels of 10,000 images")
    records = np.empty((PER_FILE, RECORD), np.uint8)
    records[:, 0], records[:, 1:] = labels, np.frombuffer(pixels, np.uint8).reshape(PER_FILE, -1)
    return records.tobytes()
