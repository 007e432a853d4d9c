"""Torch in one thread: bitwise equality is promised there, and small tensors are no faster in two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.cell.image_shape import ImageShape
from models.cell.registry import NETWORKS
from models.data.dataset import Dataset
from models.data.sequences import Sequences, sequences
from models.kernels import convolution, plain


@pytest.fixture(autouse=True)
def one_thread():
    """Restored after each test."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Grey images of 5×7 pixels, 200 / 40 / 60."""
    grey = np.random.default_rng(0).integers(0, 17, (300, 35)).astype(np.uint8)
    return Dataset("grey", grey[:200], grey[200:240], grey[240:], 16, ImageShape(1, 5, 7))


@pytest.fixture(scope="module")
def colour() -> Dataset:
    """Images of 256 levels and 3×5×7 values, 200 / 40 / 60; a sixth of the values are 0 or 255."""
    levels = np.random.default_rng(0).integers(-25, 281, (300, 105)).clip(0, 255).astype(np.uint8)
    shape = ImageShape(3, 5, 7)
    return Dataset("colour", levels[:200], levels[200:240], levels[240:], 255, shape, probabilities=False)


@pytest.fixture(scope="module")
def sentences() -> Sequences:
    """Of one to six of five symbols, 200 / 40 / 60."""
    drawn = np.random.default_rng(0)
    made = [[*drawn.choice([*"abcde"], drawn.integers(1, 7))] for _ in range(300)]
    splits = {"train": made[:200], "validation": made[200:240], "test": made[240:]}
    return sequences("sentences", splits, "abcde", length=6)


@pytest.fixture
def fitting(images: Dataset, sentences: Sequences) -> Callable[[str], Dataset]:
    """Data that a network's example in the contract test fits, by its name."""

    def found(network: str) -> Dataset:
        if "tokens" in NETWORKS[network].kinds:
            return sentences
        if "maps" not in NETWORKS[network].declared():
            return images
        grey = [np.resize(split, (len(split), 64)) for _, split in images.splits()]
        return Dataset("grey", *grey, images.levels, ImageShape(1, 8, 8))

    return found


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions cell by cell, without the second group that a cell alone is computed with, and as torch counts them:
    of the weights' gradient it counts every group as large as all together."""
    monkeypatch.setattr(convolution, "convolve", plain.convolve)
