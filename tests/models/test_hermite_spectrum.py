"""Hermite weights of functions whose expansion is known, and of maps in a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.evaluation import hermite_spectrum as module
from models.evaluation.evaluate import evaluate
from models.evaluation.hermite_spectrum import spectrum_of, weights_of
from models.evaluation.settings import Evaluation
from tests.models.planted import THREE, Flow, LinearGaussian, stack_of

T = torch.tensor([0.3, -0.4], dtype=torch.float64)  # |t| = .5


def powers(function, images=20_000, units=1, seed=0):
    """The coefficients of a function of standard normal units, (…, units) → (…, outputs)."""
    ends = torch.tensor(np.random.default_rng(seed).standard_normal((1, 2, images, units)))
    return (module._powers(function(module._circle(ends)[0])) / images).numpy()


KNOWN = {  # function, units, W_0 … W_3, variance
    "exp": (lambda z: (z @ T).exp().unsqueeze(-1), 2, (1.284025, 0.321006, 0.040126, 0.003344), 0.364696),
    "tanh": (torch.tanh, 1, (0.0, 0.366879, 0.0, 0.022034), 0.394294),
    "tanh 2z": (lambda z: torch.tanh(2 * z), 1, (0.0, 0.532137, 0.0, 0.062829), 0.635261),
    "softplus": (
        lambda z: torch.nn.functional.softplus(z + math.log(math.e - 1)), 1,
        (1.224949, 0.372373, 0.019544, 0.000172), None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_the_weights_of_known_functions(name):
    """Of degrees 0 … 3, the variance, and what is beyond, to four standard errors or so of 20,000 circles."""
    function, units, weights, variance = KNOWN[name]
    found, measured = spectrum_of(powers(function, units=units))
    assert found[:2] == pytest.approx(weights[:2], rel=0.03, abs=2e-5)
    assert found[2:4] == pytest.approx(weights[2:], rel=0.09, abs=2e-5)  # heavier tails
    if variance is not None:
        assert measured == pytest.approx(variance, rel=0.02)
        assert found[4] == pytest.approx(variance - sum(weights[1:]), rel=0.15, abs=4e-4)


def test_the_sign_of_a_number():
    """A jump, whose weights fall off slowly: what 32 angles cannot tell apart is in degrees 3 and beyond."""
    found, variance = spectrum_of(powers(torch.sign))
    assert found[:3] == pytest.approx([0.0, 0.636620, 0.0], abs=0.02) and found[3] == pytest.approx(0.106103, rel=0.2)
    assert variance == pytest.approx(1.0, abs=1e-9) and sum(found) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("samples", "known"), [(5, 0.414826), (math.inf, 0.359719)])
def test_what_smoothing_leaves_follows_from_the_weights(samples, known):
    """tanh 2z at ρ = .8: Var U_ρ f = Σ W_k (ρ^{2k} + (1 − ρ^{2k}) / S)."""
    weights = weights_of(powers(lambda z: torch.tanh(2 * z)))
    damped = 0.8 ** (2 * np.arange(len(weights)))
    assert weights[1:] @ (damped + (1 - damped) / samples)[1:] == pytest.approx(known, rel=0.02)


def test_a_polynomial_has_no_weight_beyond_its_degree():
    """z² − 1 over two units and their product, of many outputs: degree 2 alone, the mean square apart."""
    found, variance = spectrum_of(powers(lambda z: torch.stack([z[..., 0] ** 2, z[..., 0] * z[..., 1]], -1), units=2))
    assert found == pytest.approx([1.0, 0.0, 3.0, 0.0, 0.0], abs=0.1) and found[1] < 1e-9 and found[3] < 1e-9
    assert variance == pytest.approx(found[2], abs=1e-9)


def test_a_noisy_estimate_is_not_biased():
    """The mean over many small samples is the known value: nothing is squared that has an error of its own."""
    several = np.mean([powers(torch.tanh, images=20, seed=seed) for seed in range(300)], axis=0)
    assert spectrum_of(several)[0][1] == pytest.approx(0.366879, rel=0.03)


# Maps of a network.


def measured(model, images, **fields):
    made = stack_of(model, images, **fields)
    settings = Evaluation(importance_samples=1, hermite_spectrum=len(images))
    return evaluate(made, settings, quick=True)[0]


def test_linear_maps_are_of_degree_one_over_their_own_q():
    """Of z_{i}: w² s_i² per unit, about w E[μ_i]; q is each image's own, so the spread of its mean over images is W_0.

    Layer 1 goes to x, and has no deviation; the deviations of the others are constant.
    """
    images = np.random.default_rng(0).normal(1.0, 1.0, (2000, 1))
    row = measured(THREE, images)
    a, w, s = (0.8,), THREE.w, THREE.s
    slopes = (*a, *w)
    mean = [0.9 * images.mean(), 0.9 * -0.5 * images.mean(), 0.9 * -0.5 * 0.6 * images.mean()]
    spread = [(0.9 * images.std()) ** 2]
    for b, before in zip((-0.5, 0.6), s, strict=False):
        spread.append(b**2 * (spread[-1] + before**2))
    for i in range(3):
        weights = row["hermite_mean"][i]
        assert weights[1] == pytest.approx((slopes[i] * s[i]) ** 2, rel=0.1)
        assert weights[0] == pytest.approx(slopes[i] ** 2 * (mean[i] ** 2 + spread[i]), rel=0.15)
        assert weights[2:] == pytest.approx([0.0] * 3, abs=1e-9)
        assert row["hermite_mean_variance"][i] == pytest.approx(weights[1], rel=1e-9)
    assert np.isnan(row["hermite_deviation"][0]).all() and np.isnan(row["hermite_deviation_variance"][0])
    for i, tau in enumerate(THREE.tau, start=1):
        assert row["hermite_deviation"][i] == pytest.approx([tau**2, 0, 0, 0, 0], rel=1e-6, abs=1e-12)
        assert row["hermite_deviation_variance"][i] == pytest.approx(0.0, abs=1e-12)
    assert row["hermite_images"] == 2000


def test_units_and_outputs_add_up():
    """Three copies of a model have three times its weights, but for noise."""
    images = np.full((1500, 3), 1.3)
    one, three = measured(THREE, images[:, :1]), measured(THREE, images, units=3)
    for layer in range(3):
        assert three["hermite_mean"][layer][1] == pytest.approx(3 * one["hermite_mean"][layer][1], rel=0.15)


def test_no_spectrum_without_a_gaussian():
    made = stack_of(LinearGaussian(1.2, 0.5, (0.6,), (0.4,)), np.full((10, 1), 1.3))
    made.network.posterior = Flow(made.cells, made.block.values)
    row = evaluate(made, Evaluation(importance_samples=1, hermite_spectrum=5), quick=True)[0]
    assert row["hermite_mean"] is row["hermite_deviation_variance"] is None and row["hermite_images"] == 5
