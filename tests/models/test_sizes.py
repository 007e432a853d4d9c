"""What planning thinks a cell needs is what its training does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from models import registry
from models.cell import Cell
from models.data.dataset import Dataset
from models.evaluation import CHAINS, IMAGES
from models.registry import Entry, cell_size
from models.sizes import EVALUATION_ROWS
from models.training import Stack


@pytest.mark.parametrize(
    "fields",
    [
        dict(latents="6", hidden="7"),
        dict(latents="5-3", hidden="13-9/11"),
        dict(latents="5-3-4", hidden="13-9", objective="ou", rho=0.9, smoothing_samples=3),
        dict(latents="5-3-4", hidden="13-9", objective="ou", rho=0.9, smoothing="ratio"),
        dict(latents="5-3", hidden="13", objective="vae_3"),
    ],
)
def test_operations_and_parameters_are_those_of_a_step(fields, monkeypatch):
    """torch's own count of a step's matrix products; `vae_3` has three chains an image."""
    monkeypatch.setitem(registry.OBJECTIVES, "vae_3", Entry("models.objectives.elbo:Vae", samples=3))
    images = np.zeros((8, 64), np.uint8)
    cell = Cell(data="digits", seed=0, batch_size=4, **fields)
    stack = Stack([cell], Dataset("zeros", images, images, images, 16, (8, 8)))
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == counted.get_total_flops()
    assert cell_size(cell).parameters == stack.parameters_per_cell


def test_memory_is_that_of_the_evaluation_where_training_takes_less():
    """40-40-40-40 on 784 pixels: 27 MB measured beside weights and moments, a row of numbers for each of the block."""
    assert EVALUATION_ROWS == IMAGES * CHAINS
    cell = Cell(data="mnist", latents="40-40-40-40", hidden="200-200", seed=0)
    size = cell_size(cell)
    assert 25e6 < size.memory_bytes - 12 * size.parameters < 30e6
    large = cell_size(replace(cell, batch_size=4096)).memory_bytes
    assert large > 5 * size.memory_bytes  # whose training takes more
