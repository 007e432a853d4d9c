"""What planning thinks a cell needs is what its training does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from models.cell import Cell, cell_size
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.evaluate import NUMBERS, evaluate
from models.evaluation.settings import Evaluation
from models.networks.mlp import HierarchicalMLP
from models.stack.stack import Stack

OU = dict(latents="5-3-4", hidden="13-9", rho=0.9, smoothing_samples=3)
ALL = dict(smooth_posterior="yes", smooth_output="yes")
VARIANTS = [
    dict(OU, objective="ou", chains=3),
    dict(OU, objective="ou", **ALL),
    dict(OU, objective="ou", smoothing="ratio", chains=2, **ALL),
    dict(latents="6", hidden="7-8", objective="ou", rho=0.9, smooth_output="yes"),
    *(dict(latents="5-3-4", hidden="13", objective="iwae", chains=3, gradient_estimator=e) for e in ("dreg", "stl")),
    *(dict(OU, objective="ou_iwae", chains=k, gradient_estimator=e, **more)
      for k in (1, 3) for e in ("plain", "dreg", "stl") for more in ({}, ALL)),
    *(dict(OU, objective="ou_iwae", network="null_mlp", gradient_estimator=e, smooth_posterior="yes", chains=2)
      for e in ("dreg", "stl")),
]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        *VARIANTS,
        dict(latents="6", hidden="7"),
        dict(latents="5-3", hidden="13-9/11"),
        dict(latents="5-3-4", hidden="13-9", objective="ou", rho=0.9, smoothing_samples=3),
        dict(latents="5-3-4", hidden="13-9", objective="ou", rho=0.9, smoothing="ratio"),
        dict(latents="5-3", hidden="13", chains=3),
        dict(latents="5-3-4", hidden="13-9", objective="ou", rho=0.9, network="null_mlp"),
        dict(latents="5-3-4", hidden="13-9/11/8-7", network="ladder", chains=3),
        dict(latents="5-3-4", hidden="13-9", network="ladder", shared_top_down="no"),
    ],
)
def test_operations_and_parameters_are_those_of_a_step(fields):
    """torch's own count of a step's matrix products, with several chains per image too."""
    images = np.zeros((8, 64), np.uint8)
    cell = Cell(data="digits", seed=0, batch_size=4, **fields)
    stack = Stack([cell], Dataset("zeros", images, images, images, 16, ImageShape(1, 8, 8)))
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == counted.get_total_flops()
    assert cell_size(cell).parameters == stack.parameters_per_cell


def test_memory_is_the_state_and_what_a_step_or_a_checkpoint_takes():
    """State is 16 bytes a parameter, of which a checkpoint copies 12; a large batch keeps more than that for a step."""
    cell = Cell(data="mnist", latents="40-40-40-40", hidden="200-200", seed=0)
    size = cell_size(cell)
    assert size.memory_bytes == 28 * size.parameters
    large = cell_size(replace(cell, batch_size=4096)).memory_bytes
    assert large > 5 * size.memory_bytes
    assert cell_size(replace(cell, precision="float64")).memory_bytes == 2 * size.memory_bytes


def test_an_evaluation_takes_few_cells_at_a_time(monkeypatch):
    """So that its memory does not grow with the stack; every cell has its turn."""
    images = np.zeros((300, 64), np.uint8)
    cells = [Cell(data="digits", latents="3-2", hidden="600", seed=i) for i in range(5)]
    stack, seen = Stack(cells, Dataset("zeros", images, images, images, 16, ImageShape(1, 8, 8))), []
    terms = HierarchicalMLP.terms
    monkeypatch.setattr(
        HierarchicalMLP, "terms", lambda net, params, x, *more: seen.append(len(x)) or terms(net, params, x, *more)
    )
    rows = evaluate(stack, Evaluation(importance_samples=10, images=100), quick=True)
    monkeypatch.setitem(NUMBERS, "cpu", 1 << 30)
    assert evaluate(stack, Evaluation(importance_samples=10, images=100), quick=True) == rows
    assert seen == [1] * 5 + [5]
