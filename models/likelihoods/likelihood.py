"""The contract of a likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell import Cell
from models.cell.image_shape import ImageShape

Drawn = Callable[[Sequence[int]], Tensor]  # numbers of a shape without its cells, (cells, *shape)


class Likelihood(Protocol):
    """The distribution of an image, given a network's output for it: of the cells of a stack, whose numbers it holds.

    - `maps`: numbers that a network puts out per position of an image: per pixel, whatever its channels.
    """

    maps: int

    def __init__(self, cells: Sequence[Cell], shape: ImageShape, like: Tensor) -> None: ...

    def first_bias(self, mean_pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Where the output's bias starts, (maps × positions,), map by map: at the mean training image, (features,).

        Without it training starts some 30 nats behind on MNIST.
        """
        ...

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """log p(x) summed over features, nats, (cells, samples, batch).

        x: (cells, 1, batch, features); out: (cells, samples, batch, maps × positions).
        """
        ...

    def mean(self, out: Tensor) -> Tensor:
        """The mean image, (cells, samples, batch, features)."""
        ...

    def sample(self, out: Tensor, uniform: Drawn, normal: Drawn) -> Tensor:
        """Images drawn from it, (cells, samples, batch, features).

        `uniform`, `normal`: where their randomness comes from: each is called once, as two calls give the same numbers.
        """
        ...
