"""What a cell draws: known ways through a planted model, the same images for all cells, nothing of the neighbours."""

from __future__ import annotations

import numpy as np
import pytest

import models.data
from models.cell import Cell
from models.draws.draws import Purpose, generator
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack
from tests.models.planted import LinearGaussian, stack_of

SHARP = LinearGaussian(a=0.8, gamma=0.5, b=(0.9, 0.7), s=(0.01, 0.01), w=(1.1,), tau=(0.01,))


def test_each_way_ends_where_the_planted_maps_lead():
    """x = 0.8 z₁, z₁ = 1.1 z₂ on the way down and z₁ = 0.9 x, z₂ = 0.7 z₁ on the way up, almost without noise."""
    x = np.array([[0.2], [0.9]])
    (drawn,) = draw_pictures(stack_of(SHARP, x), Evaluation(), 2)
    assert list(drawn) == ["images", "from z1", "from z2", "samples"]
    grey = {name: images[:, 0, 0] / 255 for name, images in drawn.items()}
    assert grey["images"] == pytest.approx(x[:, 0], abs=0.003)
    assert grey["from z1"] == pytest.approx(0.8 * 0.9 * x[:, 0], abs=0.04)
    assert grey["from z2"] == pytest.approx(0.8 * 1.1 * 0.7 * 0.9 * x[:, 0], abs=0.06)
    z = generator(0, Purpose.PICTURE_SAMPLE, layer=2).standard_normal((1, 2, 1), np.float32)[0, :, 0]
    assert grey["samples"] == pytest.approx(np.clip(0.8 * 1.1 * z, 0, 1), abs=0.04)


def test_one_layer_has_one_way_up():
    (drawn,) = draw_pictures(stack_of(LinearGaussian(1.2, 0.5, (0.6,), (0.4,))), Evaluation(), 3)
    assert list(drawn) == ["images", "from z1", "samples"] and drawn["samples"].shape == (3, 1, 1)


def test_pictures_of_a_cell_are_bitwise_those_it_draws_alone_and_leave_it_as_it_was():
    cells = [Cell(data="digits", latents="4-3", hidden="8", objective="ou", rho=rho, seed=seed, batch_size=8)
             for rho, seed in ((0.8, 0), (0.95, 1))]  # fmt: skip
    dataset = models.data.load("digits")
    stacks = [Stack(part, dataset) for part in (cells, cells[:1], cells[1:])]
    for stack in stacks:
        stack.train(3)
        before = {name: tensor.clone() for name, tensor in stack.tensors().items()}
        drawn = draw_pictures(stack, Evaluation(), 5)
        assert all((tensor == before[name]).all() for name, tensor in stack.tensors().items())
        if stack is stacks[0]:
            together = drawn
            assert (drawn[0]["images"] == drawn[1]["images"]).all() and set(np.unique(drawn[0]["images"])) == {0, 255}
            assert (drawn[0]["from z2"] != drawn[1]["from z2"]).any() and drawn[0]["from z2"].shape == (5, 8, 8)
        else:
            alone = together[stacks.index(stack) - 1]
            assert all((alone[name] == images).all() for name, images in drawn[0].items())
