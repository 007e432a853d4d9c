"""The null model: layers above independent noise, whatever the images are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack


def images(seed: int) -> Dataset:
    grey = np.random.default_rng(seed).integers(0, 17, (300, 36)).astype(np.uint8)
    return Dataset("grey", grey[:100], grey[100:200], grey[200:], 16, ImageShape(1, 6, 6))


def trained(seed: int, rho: float = 0.7, steps: int = 400) -> Stack:
    cell = Cell("digits", "4-3", 0, network="null_mlp", hidden="16", objective="ou", rho=rho, learning_rate=0.01)
    stack = Stack([cell], images(seed))
    stack.train(steps)
    return stack


def test_no_image_enters():
    """Trained on other images of other mean, every number is the same, and no parameter belongs to layer 1."""
    one, other = trained(0, steps=50), trained(1, steps=50)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))
    assert {name.split(".")[1] for name in one.params} == {"2"}


def test_its_top_layer_describes_the_noise_and_nothing_else():
    """Smoothed, the top layer keeps nats, and one pass calls its units active; over whole chains none is. All bounds
    are of log 1, and lie below 0."""
    (row,) = evaluate(trained(0), Evaluation(importance_samples=50))
    assert row["kl_top"] > 0.5 and row["reconstruction"] == 0
    assert max(row["active_units_one_pass"]) >= 3 and row["active_units"] == [0, 0]
    assert row["elbo"] < row["iw_bound"] < 3 * row["iw_se"]


def test_without_smoothing_it_collapses():
    """At ρ = 1 independent units are best left alone."""
    (row,) = evaluate(trained(0, rho=1.0), Evaluation(importance_samples=10), quick=True)
    assert 0 <= row["kl_top"] < 0.2 and row["elbo"] == pytest.approx(0, abs=0.3)


def test_one_layer_leaves_nothing():
    with pytest.raises(ValueError, match="two layers or more"):
        Stack([Cell("digits", "4", 0, network="null_mlp")], images(0))
