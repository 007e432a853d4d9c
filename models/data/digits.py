"""The 8×8 digits that scikit-learn bundles (Alpaydin & Kaynak 1998, UCI; CC BY 4.0): 1,797 images, values 0 … 16.

Split by a fixed permutation into 1,297 / 200 / 300 images. The bundle does not say who wrote which digit, so writers
occur in several splits. An image's label is the digit that it shows.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset, shuffled
from models.data.labels import Labels, split_like
from models.data.sources import DataMissing, corrupt, read_gzip

PARTS = slice(1297), slice(1297, 1497), slice(1497, None)


def load() -> Dataset:
    """The digits; needs no file but scikit-learn's own. Raises DataMissing, DataCorrupt."""
    train, validation, test = (_read()[part, :64] for part in PARTS)
    return Dataset("digits", train, validation, test, 16, ImageShape(1, 8, 8), read_labels=_labels)


def _labels() -> Labels:
    return split_like(_read()[:, 64], *PARTS)


def _read() -> npt.NDArray[np.uint8]:
    """64 pixels and the digit that they show, in the order of the split, (1797, 65)."""
    path = _bundled()
    lines = read_gzip(path).split()
    try:
        rows = np.array([line.split(b",") for line in lines]).astype(np.uint8).reshape(1797, 65)
    except ValueError as fault:
        raise corrupt(path, str(fault)) from None
    return rows[shuffled("digits", len(rows))]


def _bundled() -> Path:
    """scikit-learn's file, found without importing scikit-learn, which takes 1.5 s against 0.02 s for the rest."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataMissing("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataMissing(f"this scikit-learn has no {path}: install it again")
    return path
