"""Random numbers as a function of (seed, step, purpose, layer, inner): nothing random is ever stored.

Every number a cell's training draws comes from one counter-based generator (Philox 4×64; Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011) whose key and counter *are* the address, so that

- no two addresses share a stream (the map is injective, not a sum or a hash);
- cells of one seed see the same draws whatever their ρ and their neighbours: differences over ρ are paired;
- another depth, or smoothing, shifts no other layer's draws;
- a resumed run draws what an undisturbed one would, with no generator state in a checkpoint.

Draws are made on the host for each distinct seed of a stack and shared by its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

NAME = "numpy-philox-1"  # recorded with every result


class Purpose(IntEnum):
    """What a draw is for. Numbers are frozen: a new purpose takes a new number."""

    BATCH = 1  # the order of training images, a permutation an epoch (step = epoch)
    BINARISE = 2  # pixels of a training batch
    INIT = 3  # a parameter's first value (layer, inner = the parameter's place in the network)
    LATENT = 4  # noise of z_layer
    SMOOTH = 5  # noise of the smoothing of the map from z_layer
    EVALUATE_BINARISE = 6  # pixels of an evaluated split (step = first image of the chunk)
    EVALUATE_LATENT = 7  # noise of z_layer in evaluation (step = first image, inner = block of samples)
    EVALUATE_SMOOTH = 8  # noise of the smoothing of the map from z_layer in evaluation (the same)
    PICTURE_UP = 9  # noise of z_layer on the way up, for pictures
    PICTURE_DOWN = 10  # noise of z_layer on the way down from z_L
    PICTURE_SAMPLE = 11  # noise of z_layer on the way down from the prior


def generator(seed: int, purpose: Purpose, step: int = 0, layer: int = 0, inner: int = 0) -> np.random.Generator:
    """The generator at one address. All arguments are whole numbers ≥ 0; layer < 2**32, the others < 2**63."""
    key = np.array([seed, (int(purpose) << 32) | layer], dtype=np.uint64)
    counter = np.array([0, 0, inner, step], dtype=np.uint64)  # the low words count within the stream
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Draws:
    """The draws of a stack: one set a distinct seed, handed to every cell of that seed.

    Args:
        seeds: one a cell.
        device, dtype: of the tensors returned.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.device, self.dtype = torch.device(device), dtype
        self.distinct = list(dict.fromkeys(seeds))
        self.place = torch.tensor([self.distinct.index(seed) for seed in seeds], device=self.device)
        self._one_each = len(self.distinct) == len(seeds)
        self._epoch: tuple[tuple[int, int], np.ndarray] | None = None  # (epoch, images), and each seed's order

    def normal(self, purpose: Purpose, shape: Sequence[int], step: int = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """Standard normal, (cells, *shape). Drawn in float32 at any precision, so that precisions are paired too."""
        made = [generator(s, purpose, step, layer, inner).standard_normal(shape, np.float32) for s in self.distinct]
        return self._to_cells(np.stack(made)).to(self.dtype)

    def uniform(self, purpose: Purpose, shape: Sequence[int], step: int = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """Uniform on [0, 1), (cells, *shape)."""
        made = [generator(s, purpose, step, layer, inner).random(shape, np.float32) for s in self.distinct]
        return self._to_cells(np.stack(made)).to(self.dtype)

    def batch(self, step: int, images: int, size: int) -> Tensor:
        """Indices of the training images of step `step`, (cells, size): every epoch a new permutation, its rest left.

        Raises ValueError if a batch is larger than the data.
        """
        if size > images:
            raise ValueError(f"batch_size should be at most the number of training images, {images}, got {size}")
        epoch, place = divmod(step, images // size)
        if self._epoch is None or self._epoch[0] != (epoch, images):
            orders = [generator(s, Purpose.BATCH, step=epoch).permutation(images) for s in self.distinct]
            self._epoch = (epoch, images), np.stack(orders)
        return self._to_cells(self._epoch[1][:, place * size : (place + 1) * size])

    def _to_cells(self, made: np.ndarray) -> Tensor:
        draws = torch.from_numpy(made).to(self.device)
        return draws if self._one_each else draws[self.place]
