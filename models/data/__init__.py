"""Data sets by name: `load("mnist")`. Whatever their origin, the decoded images must have the registered digest."""

from __future__ import annotations

from functools import lru_cache

from models.cell.registry import Entry, find
from models.data.dataset import Dataset
from models.data.labels import labels_of
from models.data.sources import DataCorrupt, DataMissing

__all__ = ["DataCorrupt", "DataMissing", "Dataset", "labels_of", "load"]


def load(name: str) -> Dataset:
    """The registered data set `name`, read once a process.

    Raises UnknownName; DataMissing where a file is nowhere to be had; DataCorrupt where a file is damaged, or the
    images are not those that the registered digest stands for.
    """
    return _load(name, find("data", name))


@lru_cache(maxsize=8)
def _load(name: str, entry: Entry) -> Dataset:
    data: Dataset = entry.load()()
    digest = data.digest()
    if digest != entry.digest:
        raise DataCorrupt(
            f"data set {name}: the images read have digest {digest}, registered is {entry.digest or 'none'}: "
            "replace the files by the published ones, or register other images under another name"
        )
    if entry.kind not in ("", data.kind):
        raise DataCorrupt(f"data set {name}: its values are of kind {data.kind}, registered is {entry.kind}")
    counted = {"validation": (entry.validation, len(data.validation)), "test": (entry.test, len(data.test))}
    for split, (registered, found) in counted.items():
        if registered not in (0, found):
            raise DataCorrupt(f"data set {name}: its {split} split has {found:,} images, registered are {registered:,}")
    return data
