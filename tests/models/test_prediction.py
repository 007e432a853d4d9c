"""The smoothed objective of trained weights at any ρ, against the closed form of a linear hierarchy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.prediction import CHAINS, noise_seed, smoothed_objective
from models.stack.stack import Stack
from tests.models.planted import THREE, TWO, LinearGaussian, stack_of

X, RHO = 1.3, (0.0, 0.7, 0.95, 1.0)


def batches(stack, count, rho=RHO, samples=5, ratio=False, seed=0):
    """(batches, points), of the stack's only cell."""
    images = stack.dataset.validation
    return np.array([smoothed_objective(stack, images, rho, samples, seed, b, ratio)[0].numpy() for b in range(count)])


@pytest.mark.parametrize("model", [TWO, THREE], ids=["two", "three"])
def test_it_is_the_closed_form_at_every_rho(model):
    """20 batches on 500 equal images; the noise is shared over ρ, so differences are surer than values."""
    stack = stack_of(model, np.full((500, 1), X))
    before = {name: tensor.clone() for name, tensor in stack.tensors().items()}
    found = batches(stack, 20)
    expected = np.array([model.objective(X, rho, 5) for rho in RHO])
    assert np.ptp(expected) > 0.1
    for each, wanted, most in ((found, expected, 0.08), (found - found[:, -1:], expected - expected[-1], 0.06)):
        errors = each.std(0, ddof=1) / 20**0.5
        assert errors.max() < most and (np.abs(each.mean(0) - wanted) <= 4 * errors).all()
    assert all((tensor == before[name]).all() for name, tensor in stack.tensors().items())


def test_the_plain_objective_of_a_batch_has_ten_chains_per_image():
    """Its variance is a tenth of that of a chain, by the closed form's own noise: all images are equal."""
    stack = stack_of(TWO, np.full((50, 1), X))
    found = batches(stack, 300, rho=(1.0,))[:, 0]
    noise = [torch.randn(1, 1, 200_000, 1, dtype=torch.float64) for _ in range(2)]
    terms = stack.network.terms(stack.params, torch.full((1, 1, 200_000, 1), X, dtype=torch.float64), noise)
    one = (terms.log_px - sum(layer.term() for layer in terms.layers)).var().item()
    assert found.var(ddof=1) == pytest.approx(one / (50 * CHAINS), rel=0.3)


def test_a_layer_alone_has_nothing_to_smooth_and_the_ratio_of_a_constant_deviation_is_the_same():
    one = stack_of(LinearGaussian(1.2, 0.5, (0.6,), (0.4,)), np.full((100, 1), X))
    (values,) = batches(one, 1)
    assert (values == values[0]).all()
    two = stack_of(TWO, np.full((100, 1), X))
    plain, ratio = (batches(two, 1, samples=3, ratio=ratio) for ratio in (False, True))
    assert ratio == pytest.approx(plain, rel=1e-9)


def test_draws_are_the_batch_s_own_and_the_seed_s_own():
    """The same batch of the same seed is the same to the bit; any other errs independently, its binarisation too."""
    images = np.full((200, 6), 8, np.uint8)
    cell = Cell(data="digits", latents="3-2", hidden="7", seed=0, batch_size=16)
    stack = Stack([cell], Dataset("grey", images, images, images, 16, ImageShape(1, 2, 3)))
    first, again = (batches(stack, 40, rho=(0.8, 1.0)) for _ in range(2))
    assert (first == again).all()
    other = batches(stack, 40, rho=(0.8, 1.0), seed=noise_seed(0, 1))
    everything = np.concatenate([first, other])[:, 0]
    assert len(np.unique(everything)) == 80
    assert (
        abs(np.corrcoef(first[:, 0], other[:, 0])[0, 1]) < 0.5
        and abs(np.corrcoef(first[1:, 0], first[:-1, 0])[0, 1]) < 0.5
    )
    assert len({noise_seed(e, s) for e in range(20) for s in range(20)}) == 400
