"""Variance of the gradient: exact values of the scalar model, of every part of its noise."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from tests.models.planted import TWO, Flow, LinearGaussian, stack_of

X, IMAGES, DRAWS = 1.3, 2000, 25
A = -(1.2**2 / 0.25 + (1 - 0.63) ** 2 / 0.36 + 0.49)  # g = A z₁ + B η + a constant
B = (1 - 0.63) * 0.9 * 0.5 / 0.36
PLAIN = A**2 * 0.16 + B**2
WITHIN = 3 * (2 / (IMAGES * DRAWS)) ** 0.5  # relative: three standard errors of a variance of normal numbers


def measured(model=TWO, images=None, draws=DRAWS, **fields):
    images = np.full((IMAGES, 1), X) if images is None else images
    made = stack_of(model, images, batch_size=len(images), **fields)
    settings = Evaluation(importance_samples=1, gradient_variance=draws)
    return evaluate(made, settings, quick=True)[0]


@pytest.mark.parametrize(("rho", "known"), [(0.9, 7.215086), (0.8, 7.185995), (0.5, 7.119256)])
def test_smoothed_gradients_have_the_known_variance(rho, known):
    """Their variance, and its parts: η from z has B²ρ² of it, from smoothing B²(1 − ρ²)/S."""
    row = measured(objective="ou", rho=rho, smoothing_samples=5)
    assert pytest.approx(known, abs=1e-6) == A**2 * 0.16 + B**2 * (rho**2 + (1 - rho**2) / 5)
    assert row["gradient_variance"] == pytest.approx(known, rel=WITHIN)
    assert row["gradient_variance_plain"] == pytest.approx(7.247600, rel=WITHIN)
    assert row["gradient_variance_smoothing"] == pytest.approx(B**2 * (1 - rho**2) / 5, rel=WITHIN)
    parts = row["gradient_variance_latent"] + row["gradient_variance_smoothing"]
    assert parts == pytest.approx(row["gradient_variance"], rel=1e-12)
    # The noise of z is shared, so that the difference is surer than either.
    assert row["gradient_variance_plain"] - row["gradient_variance"] == pytest.approx(PLAIN - known, abs=0.02)
    assert row["gradient_draws"] == DRAWS and row["gradient_images"] == IMAGES


def test_the_plain_objective_has_no_part_of_smoothing():
    row = measured(objective="vae")
    assert pytest.approx(7.247600, abs=1e-6) == PLAIN
    assert row["gradient_variance"] == row["gradient_variance_plain"] == row["gradient_variance_latent"]
    assert row["gradient_variance"] == pytest.approx(PLAIN, rel=WITHIN) and row["gradient_variance_smoothing"] == 0.0


@pytest.mark.parametrize("rho", [0.9, 0.3])
def test_one_sample_of_smoothing_is_the_plain_variance(rho):
    """S = 1 is the plain model in law, whatever ρ."""
    assert measured(objective="ou", rho=rho, smoothing_samples=1)["gradient_variance"] == pytest.approx(
        PLAIN, rel=WITHIN
    )


def test_many_samples_come_to_the_limit():
    """ρ = 0 and S large: what is left is the noise of z₁."""
    row = measured(objective="ou", rho=0.0, smoothing_samples=100)
    assert pytest.approx(7.033693, abs=1e-6) == A**2 * 0.16
    assert row["gradient_variance"] == pytest.approx(A**2 * 0.16 + B**2 / 100, rel=WITHIN)


def test_it_is_the_variance_of_an_image_and_not_of_the_batchs_mean():
    """A batch of another size, and units of a layer: sums over units, means over images."""
    few = measured(images=np.full((100, 1), X), draws=60)
    assert few["gradient_variance"] == pytest.approx(PLAIN, rel=3 * (2 / 6_000) ** 0.5)
    made = stack_of(TWO, np.full((200, 3), X), units=3, batch_size=200)
    row = evaluate(made, Evaluation(importance_samples=1, gradient_variance=40), quick=True)[0]
    assert row["gradient_variance"] == pytest.approx(3 * PLAIN, rel=3 * (2 / 24_000) ** 0.5)


def test_weights_and_several_chains_are_those_of_training():
    """β = 0: only the likelihood's a²/γ² z₁ is left, exactly so in one layer; K chains: a mean, 1/K of its variance."""
    one = LinearGaussian(1.2, 0.5, (0.6,), (0.4,))
    alone = (1.2**2 / 0.25) ** 2 * 0.16
    assert measured(one, kl_weight=0.0)["gradient_variance"] == pytest.approx(alone, rel=WITHIN)
    assert measured(one, kl_weight=0.0, chains=4)["gradient_variance"] == pytest.approx(alone / 4, rel=WITHIN)


def test_no_number_where_the_first_numbers_are_no_gaussians_mean():
    """A posterior that is not Gaussian."""
    made = stack_of(LinearGaussian(1.2, 0.5, (0.6,), (0.4,)), np.full((10, 1), X), batch_size=5)
    made.network.posterior = Flow(made.cells, made.block.values)
    row = evaluate(made, Evaluation(importance_samples=1, gradient_variance=4), quick=True)[0]
    assert row["gradient_variance"] is row["gradient_variance_plain"] is None and row["gradient_draws"] == 4
