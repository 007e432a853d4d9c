"""The cells that are timed: the paper's 40-40-40-40 VAE, a wider pyramid, the quickstart's small ones, and those of
`studies/phase_conv_digits.yaml` and `studies/phase_conv_mnist.yaml`; LSTMs on synthetic text; and PixelCNNs, as of
`studies/decoder_depth.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from models.cell import UNSMOOTHED, Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset

if TYPE_CHECKING:
    from models.stack.stack import Stack

MODELS: dict[str, dict[str, Any]] = {
    "4x40": dict(data="mnist", latents="40-40-40-40", hidden="200-200"),
    "64-32-16-8": dict(data="mnist", latents="64-32-16-8", hidden="200-200"),
    "2x10": dict(data="digits", latents="10-10", hidden="64-64"),
    "quickstart": dict(data="digits", latents="10-10-10", hidden="64-64"),
}
CONVOLUTIONAL: dict[str, dict[str, Any]] = {
    "conv_digits": dict(
        data="digits", network="resnet", latents="4x4x4-4x4x4-4x4x4-4x4x4", maps=8, blocks=1, batch_size=32
    ),
    "conv_mnist": dict(data="mnist", network="resnet", latents="8x7x7-8x7x7-8x7x7", maps=16, blocks=1, batch_size=32),
}
_TEXT: dict[str, Any] = dict(
    data="synthetic_text", network="lstm", likelihood="categorical", latents="4", embedding=16, hidden="32",
    learning_rate=3e-3, gradient_clip=5.0,
)  # fmt: skip
LSTMS: dict[str, dict[str, Any]] = {
    "lstm": _TEXT,
    "lstm_aggressive": _TEXT | dict(procedure="aggressive", inner_updates=10, aggressive_steps=10**6),
    "lstm_semi_amortized": _TEXT | dict(procedure="semi_amortized", svi_steps=5),
    "lstm_100": _TEXT | dict(hidden="100"),
    "lstm_512": _TEXT | dict(hidden="512", embedding=256),
    "lstm_1024": _TEXT | dict(hidden="1024", embedding=512),
}
_PIXELS: dict[str, Any] = dict(
    data="digits", network="pixelcnn", latents="8", encoder="mlp", hidden="128-128", maps=16, batch_size=32,
)  # fmt: skip
PIXELCNNS: dict[str, dict[str, Any]] = {
    "pixelcnn": _PIXELS | dict(decoder_layers=2),
    "pixelcnn_skip": _PIXELS | dict(decoder_layers=4, skip="all"),
}
AUTOREGRESSIVE = LSTMS | PIXELCNNS
SIDE = {"digits": 8, "mnist": 28}  # of a data set's images
RHOS = 21  # of a phase diagram: so many cells share a seed, and with it their draws


def cells(model: str, count: int, **fields: Any) -> list[Cell]:
    """The first `count` cells of a phase diagram: `RHOS` values of ρ for each seed, smoothed with S = 5.

    `fields` come on top: where nothing is smoothed, the cells of a seed differ in their learning rates instead.
    """
    smoothed: dict[str, Any] = dict(objective="ou", smoothing_samples=5)
    chosen = smoothed | (MODELS | CONVOLUTIONAL)[model] | fields
    found = []
    for number in range(count):
        seed, place = divmod(number, RHOS)
        own = (
            dict(learning_rate=1e-3 * (1 - 0.01 * place))
            if chosen["objective"] not in UNSMOOTHED
            else dict(rho=0.99 - 0.02 * place)
        )
        found.append(Cell(**(dict(seed=seed) | own | chosen)))
    return found


@cache
def images(model: str, count: int = 10_000) -> Dataset:
    """Random grey images of the model's size: what they show changes no timing, and no file is needed."""
    rng = np.random.default_rng(0)
    side = SIDE[(MODELS | CONVOLUTIONAL)[model]["data"]]
    grey = rng.integers(0, 256, (count, side**2), dtype=np.uint8)
    return Dataset("random", grey, grey[:1000], grey[:1000], levels=255, shape=ImageShape(1, side, side))


def workload(model: str, count: int, **fields: Any) -> tuple[list[Cell], Dataset]:
    """Cells of one model and their data: LSTMs and PixelCNNs of so many seeds, or those of `cells`."""
    if model not in AUTOREGRESSIVE:
        return cells(model, count, **fields), images(model)
    from models.data import load

    chosen = AUTOREGRESSIVE[model]
    return [Cell.of(chosen | fields | dict(seed=seed)) for seed in range(count)], load(chosen["data"])


def as_in_a_worker(threads: int = 1) -> None:
    """Set this process up as `sweeper.driver.retries` does a worker's."""
    import torch

    from models.stack.heap import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()


def advance(stack: Stack, steps: int) -> Callable[[], None]:
    """What trains the stack `steps` further, each time it is called."""
    return lambda: stack.train(stack.step + steps)
