"""The cells that are timed: the paper's 40-40-40-40 VAE, and the quickstart's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from models.cell import Cell
from models.data.dataset import Dataset

if TYPE_CHECKING:
    from models.training import Stack

MODELS: dict[str, dict[str, Any]] = {
    "4x40": dict(data="mnist", latents="40-40-40-40", hidden="200-200"),
    "quickstart": dict(data="digits", latents="10-10-10", hidden="64-64"),
}
SIDE = {"4x40": 28, "quickstart": 8}


def cells(model: str, count: int, **fields: Any) -> list[Cell]:
    """`count` cells that differ in their seeds; smoothed with S = 5 at ρ = 0.9 unless `fields` say otherwise."""
    smoothed: dict[str, Any] = dict(objective="ou", rho=0.9, smoothing_samples=5)
    chosen = smoothed | MODELS[model] | fields
    return [Cell(**chosen, seed=seed) for seed in range(count)]


@cache
def images(model: str, count: int = 10_000) -> Dataset:
    """Random grey images of the model's size: what they show changes no timing, and no file is needed."""
    rng = np.random.default_rng(0)
    pixels = SIDE[model] ** 2
    grey = rng.integers(0, 256, (count, pixels), dtype=np.uint8)
    return Dataset("random", grey, grey[:1000], grey[:1000], levels=255, image_shape=(SIDE[model], SIDE[model]))


def advance(stack: Stack, steps: int) -> Callable[[], None]:
    """What trains the stack `steps` further, each time it is called."""
    return lambda: stack.train(stack.step + steps)
