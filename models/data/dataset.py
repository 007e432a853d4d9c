"""A data set: three splits that never mix, and the digest that ties finished cells to these very images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cell import canonical_json
from models.cell.sequence_shape import Shape
from models.data.labels import Labels

SPLITS = ("train", "validation", "test")
LEVELS = 255  # the largest of 256


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images as rows, in their natural type.

    - `train`, `validation`, `test`: arrays (images, features); uint8 in 0 … `levels`, or float32 where `levels` is 0.
      They are read-only, as one copy serves the whole process (`torch.tensor` copies them to where it is wanted).
    - `levels`: the largest value that there may be; 0: real values, used as they are. Of 1 the images are binary, else
      a pixel's value / levels is the probability that it is 1.
    - `shape`: of the image that a row holds.
    - `probabilities`: False where the values are no probabilities but the data themselves, of 256 levels: networks see
      value / 255.
    - `notes`: what a run says of how it was read, a line each.
    - `read_labels`: reads of which class each image is (`models.data.labels.labels_of`); None: nobody knows. No part of
      the digest.

    Raises ValueError where the arrays do not fit together.
    """

    name: str
    train: npt.NDArray[Any]
    validation: npt.NDArray[Any]
    test: npt.NDArray[Any]
    levels: int
    shape: Shape
    probabilities: bool = True
    notes: tuple[str, ...] = ()
    read_labels: Callable[[], Labels] | None = None

    def __post_init__(self) -> None:
        """Check types, shapes and values, and make the arrays read-only."""
        features, kind = self.features, np.dtype(np.uint8 if self.levels else np.float32)
        if not 0 <= self.levels <= 255:
            raise ValueError(f"data set {self.name}: levels should be in 0 … 255, got {self.levels}")
        if not self.probabilities and self.levels != LEVELS:
            raise ValueError(f"data set {self.name}: levels that are values should be {LEVELS}, got {self.levels}")
        for split, array in self.splits():
            where = f"data set {self.name}, {split}"
            if array.dtype != kind or array.ndim != 2 or array.shape[1] != features or not len(array):
                wanted = f"{kind} of shape (images, {features})"
                raise ValueError(f"{where}: should be {wanted}, got {array.dtype} of shape {array.shape}")
            if self.levels and array.max() > self.levels:
                raise ValueError(f"{where}: values should be in 0 … {self.levels}, got {array.max()}")
            if not self.levels and not np.isfinite(array).all():
                raise ValueError(f"{where}: values should be finite")
            frozen = np.ascontiguousarray(array).view()
            frozen.setflags(write=False)
            object.__setattr__(self, split, frozen)

    def splits(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Name and images of each split: train, validation, test."""
        return ((split, getattr(self, split)) for split in SPLITS)

    @property
    def kind(self) -> str:
        """`binary`; `probability`: of a pixel, drawn anew at every use; `levels`: 256 of them; `real`; of
        `models.data.sequences.Sequences` `tokens`."""
        if not self.probabilities:
            return "levels"
        return {0: "real", 1: "binary"}.get(self.levels, "probability")

    @property
    def features(self) -> int:
        """Numbers an image has."""
        return self.shape.features

    @cached_property
    def mean_pixel(self) -> npt.NDArray[np.float64]:
        """Mean training image in [0, 1] (real values where `levels` is 0), float64 of shape (features,)."""
        mean: npt.NDArray[np.float64] = self.train.mean(axis=0, dtype=np.float64) / (self.levels or 1)
        mean.setflags(write=False)
        return mean

    def observe(self, rows: Any, uniform: Callable[[], Any]) -> Any:
        """Images as a network sees them: the only place where data become random.

        rows: images as the data set has them, (…, features), an array or a tensor; uniform: makes as many numbers on
        [0, 1) where they are needed, of the same kind. Returns pixels that are on (booleans), where a pixel's value is
        its probability; of 256 levels value / 255, which times 255 is rounded to the level again; else `rows` as they
        are.
        """
        if not self.probabilities:
            return rows / LEVELS
        return uniform() * self.levels < rows if self.levels > 1 else rows

    def digest(self) -> str:
        """SHA-256, 64 hexadecimal digits, of levels (and that they are no probabilities), image shape, and each split's
        name, type, shape and bytes.

        Part of every cell's id; neither the name nor the notes are part of the digest.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        described = [[split, array.dtype.newbyteorder("<").str, array.shape] for split, array in self.splits()]
        digest = hashlib.sha256(canonical_json(self._header() | {"splits": described}).encode())
        for _, array in self.splits():
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()

    def _header(self) -> dict[str, Any]:
        """What the digest has beside the arrays."""
        header: dict[str, Any] = {"levels": self.levels, "image_shape": self.shape.array}
        return header if self.probabilities else header | {"probabilities": False}


def shuffled(key: str, count: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count − 1 that is the same for ever: indices sorted by the SHA-256 of `key/index`.

    A generator's stream may change with a version of NumPy, and with it the splits and the id of every cell.
    """
    order = sorted(range(count), key=lambda index: hashlib.sha256(f"{key}/{index}".encode()).digest())
    return np.array(order, dtype=np.int64)
