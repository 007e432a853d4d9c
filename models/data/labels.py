"""Labels: of which class each image of a data set is. No network sees them; what was learnt without is held to them.

They are no part of a data set's digest, nor of any cell's id, and are read when they are first asked for. The registry
says which data sets have any: it holds their digest, and the names of the classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.cell.registry import DATASETS
from models.data.sources import DataCorrupt

if TYPE_CHECKING:
    from models.data.dataset import Dataset

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labels:
    """Of each image of `train`, `validation` and `test` the number of its class, from 0; (images,) each."""

    train: Numbers
    validation: Numbers
    test: Numbers

    def digest(self) -> str:
        """SHA-256, 64 hexadecimal digits, of how many there are in each split, and of all numbers."""
        arrays = [np.ascontiguousarray(each, "<i8") for each in (self.train, self.validation, self.test)]
        return hashlib.sha256(
            repr([each.shape for each in arrays]).encode() + b"".join(each.tobytes() for each in arrays)
        ).hexdigest()


def split_like(numbers: Any, *parts: slice) -> Labels:
    """Labels of the images of a data set cut into train, validation and test, in this order."""
    train, validation, test = (np.asarray(numbers, np.int64)[part] for part in parts)
    return Labels(train, validation, test)


@lru_cache(maxsize=8)
def labels_of(data: Dataset) -> Labels | None:
    """The labels of a data set, None where it has none.

    Raises DataMissing; DataCorrupt where a file is damaged, or labels are not those that the registered digest stands
    for, or not as many as images.
    """
    if data.read_labels is None:
        return None
    found = data.read_labels()
    for split, images in data.splits():
        numbers = getattr(found, split)
        if numbers.shape != (len(images),) or numbers.min() < 0:
            raise DataCorrupt(
                f"data set {data.name}, {split}: should have a label of at least 0 for each of {len(images):,} images, "
                f"got labels of shape {numbers.shape} from {numbers.min(initial=0)} on"
            )
    registered = DATASETS[data.name].labels if data.name in DATASETS else found.digest()
    if found.digest() != registered:
        raise DataCorrupt(
            f"data set {data.name}: the labels read have digest {found.digest()}, registered is "
            f"{registered or 'none'}: replace the files by the published ones"
        )
    return found
