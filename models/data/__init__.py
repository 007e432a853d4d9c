"""Data sets by name: `load("mnist")`, or `data_of(cell)`.

Whatever their origin, their content must have its digest: the registered one, or of a data set with options the one
that they say.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from models.cell import Cell
from models.cell.entry import Entry
from models.cell.registry import find
from models.data.dataset import Dataset
from models.data.labels import labels_of
from models.data.sources import DataCorrupt, DataMissing

__all__ = ["DataCorrupt", "DataMissing", "Dataset", "data_of", "labels_of", "load"]


def data_of(cell: Cell) -> Dataset:
    """The data set that a cell names, with the cell's options of it. Raises as `load` does."""
    return load(cell.data, cell.options("data"))


def load(name: str, options: Any = None) -> Dataset:
    """The registered data set `name`, read once per process.

    options: of a data set that has some, the dataclass that its entry names.

    Raises UnknownName; DataMissing where a file is nowhere to be had; DataCorrupt where a file is damaged, or the
    images are not those that the registered digest stands for.
    """
    entry = find("data", name)
    return _load(name, entry, options if entry.declared() else None)


@lru_cache(maxsize=8)
def _load(name: str, entry: Entry, options: Any) -> Dataset:
    if entry.declared():
        chosen: Dataset = entry.load()(entry.options() if options is None else options)
        return chosen
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
