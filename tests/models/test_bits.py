"""Bits per dimension: known conversions, and which cells have them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.bits import bits_per_dim
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.likelihoods import discretised_logistic
from models.stack.stack import Stack
from models.trained import TrainedModel

CIFAR10 = ImageShape(3, 32, 32)


def cells(likelihood: str, count: int = 2, **fields: object) -> list[Cell]:
    shared = {"likelihood": likelihood, "hidden": "8", "batch_size": 20} | fields
    return [Cell("cifar10", "4-3", seed, **shared) for seed in range(count)]


@pytest.mark.parametrize(
    ("bits", "nats"),
    [(1, 2129.348138680), (3.39, 7218.49), (3.42, 7282.37), (3.43, 7303.66), (3.46, 7367.54), (3.50, 7452.72)],
)
def test_known_conversions_of_cifar10(bits, nats):
    """As published numbers are converted; 7,651 nats are 3.5931 bits."""
    assert bits_per_dim(-nats, CIFAR10.features) == pytest.approx(bits, abs=1e-5)
    assert bits_per_dim(-7651, CIFAR10.features) == pytest.approx(3.5931, abs=1e-4)


def test_equally_probable_levels_have_eight_bits():
    """And nothing is added for their number; a logistic so wide that they are nearly so has them too."""
    assert bits_per_dim(-3072 * math.log(256), 3072) == pytest.approx(8, abs=1e-12)
    assert bits_per_dim(-17034.785, 3072) == pytest.approx(8, abs=1e-6)
    place = torch.tensor(0.0, dtype=torch.float64), torch.tensor(-1.2, dtype=torch.float64)
    log_p = discretised_logistic.log_prob(torch.arange(256, dtype=torch.float64), *place)
    assert 7.9 < bits_per_dim(float(log_p.mean()), 1) < 9  # of levels that are equally frequent at most 8 are needed


def test_a_row_has_them_of_both_bounds_and_a_history_row_has_the_elbos(colour):
    stack = Stack(cells("logistic"), colour)
    stack.train(5)
    for quick in (False, True):
        for row in evaluate(stack, Evaluation(importance_samples=6), quick=quick):
            assert row["bits_per_dim"] == -row["elbo"] / (105 * math.log(2))
            assert row["bits_per_dim_iw"] == -row["iw_bound"] / (105 * math.log(2))
            assert row["bits_per_dim_iw"] < row["bits_per_dim"] < 10
            assert row["elbo_se_binarisation"] is None


def test_pixels_and_densities_have_none(colour, images):
    """Binarised pixels, whose bounds the literature gives in nats, and a Gaussian of levels."""
    grey = Stack([Cell("digits", "4", 0, hidden="8", batch_size=20)], images)
    density = Stack(cells("gaussian"), colour)
    for stack in (grey, density):
        assert not any("bits" in name for name in evaluate(stack, Evaluation(importance_samples=2))[0])


def test_an_untrained_cell_begins_near_a_logistic_around_the_mean_image():
    """On images of one colour per image, whose levels are spread as in photographs: near 8 bits, not far above."""
    rng = np.random.default_rng(0)
    levels = rng.normal(120, 62, (300, 12)).round().clip(0, 255).astype(np.uint8)
    data = Dataset("some", levels[:200], levels[200:250], levels[250:], 255, ImageShape(3, 2, 2), probabilities=False)
    for likelihood in ("logistic", "logistic_mixture"):
        row = evaluate(Stack(cells(likelihood, 1), data), Evaluation(importance_samples=1), quick=True)[0]
        assert 7.5 < bits_per_dim(row["reconstruction"], 12) < 8.6


@pytest.mark.parametrize("likelihood", ["logistic", "logistic_mixture", "gaussian"])
def test_pictures_are_in_colour_and_show_the_images_themselves(colour, likelihood):
    stack = Stack(cells(likelihood), colour)
    drawn = draw_pictures(stack, Evaluation(), 4)
    assert [set(each) for each in drawn] == [{"images", "from z1", "from z2", "samples"}] * 2
    assert all(picture.shape == (4, 3, 5, 7) and picture.dtype == np.uint8 for picture in drawn[0].values())
    assert np.array_equal(drawn[0]["images"], colour.test[:4].reshape(4, 3, 5, 7))


def test_a_trained_model_takes_and_gives_images_in_colour(colour, monkeypatch):
    """As rows or as (channels, height, width), whose order is that of a row; samples are levels / 255."""
    (cell,) = cells("logistic_mixture", 1, components=3)
    stack = Stack([cell], colour)
    monkeypatch.setattr("models.data.data_of", lambda cell: colour)
    monkeypatch.setattr("models.cell.cell.Cell.data_shape", property(lambda self: colour.shape))
    model = TrainedModel(cell, {name: each[0].detach().numpy() for name, each in stack.params.items()}, 0)
    assert model.image_shape == (3, 5, 7)
    x = model.data(images=6)
    assert set(np.round(x * 255, 4).ravel()) <= set(range(256)) and x.shape == (6, 105)
    both = model.terms(x), model.terms(x.reshape(6, 3, 5, 7))
    assert np.array_equal(both[0].elbo, both[1].elbo)
    assert model.decode(model.encode(x).z[0]).shape == (1, 6, 105)
    mean, drawn = model.sample(50), model.sample(50, pixels=True)
    assert mean.shape == drawn.shape == (50, 105) and np.allclose(np.round(drawn * 255), drawn * 255, atol=1e-4)
    assert 0 <= drawn.min() < 0.1 and 0.9 < drawn.max() <= 1
    assert abs(drawn.mean() - mean.mean()) < 0.02
    for bad, said in (
        (x.reshape(6, 5, 7, 3), r"\(n, 105\) or \(n, 3, 5, 7\), got \(6, 5, 7, 3\)"),
        (x.reshape(6, 15, 7), r"\(n, 3, 5, 7\), got \(6, 15, 7\)"),
        (x * 255, r"pixels should be in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=said):
            model.terms(bad)
