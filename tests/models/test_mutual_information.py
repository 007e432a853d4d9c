"""Mutual information on linear Gaussian models, whose values are known, and at both of its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.evaluation.aggregate_posterior import log_densities
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.posteriors.posterior import Drawn
from tests.models.planted import LinearGaussian, stack_of


def measured(model, images, seed=0, posterior=None):
    """The columns of a planted model at all of the images."""
    made = stack_of(model, images, units=images.shape[1])
    if posterior is not None:
        made.network.posterior = posterior
    settings = Evaluation(importance_samples=1, mutual_information=len(images), seed=seed)
    return evaluate(made, settings, quick=True)[0]


def gaussian(images, units, seed=0):
    return np.random.default_rng(seed).standard_normal((images, units))


def one(units, information, images):
    """A row of q(z|x) = N(√(1−s²) x, s²) at x ~ N(0, I): the aggregate is the prior, and MI = KL = −units log s."""
    s = math.exp(-information / units)
    return measured(LinearGaussian(1.0, 0.5, ((1 - s * s) ** 0.5,), (s,)), gaussian(images, units))


@pytest.mark.parametrize(
    ("units", "information", "images", "bias"),
    [
        (1, 1.0, 2000, -0.001),
        (10, 1.0, 500, -0.01),
        (10, 3.0, 2000, -0.03),
        (10, 5.0, 500, -0.55),
        (32, 8.0, 500, -2.4),
    ],
)
def test_the_population_value_less_the_known_bias_of_n_images(units, information, images, bias):
    """Biases as measured for this estimator over many draws of images, four standard errors around them."""
    row = one(units, information, images)
    error = 4 * row["mi_se"][0] + 0.04  # the images of the table were others
    assert row["mutual_information"][0] == pytest.approx(information + bias, abs=error) and row["mi_se"][0] < 0.06
    assert row["mi_samples"] == images and row["mi_cap"] == math.log(images)
    assert row["kl_aggregate"] == pytest.approx(row["kl_top"] - row["mutual_information"][0], abs=0.06)


@pytest.mark.parametrize(
    ("units", "information", "images", "bias"),
    [(1, 1.0, 500, 0.002), (10, 1.0, 500, 0.01), (10, 3.0, 500, 0.11), (10, 5.0, 2000, 0.19), (32, 3.0, 500, 0.12)],
)
def test_the_leave_one_out_bound_lies_as_far_above(units, information, images, bias):
    """Biases as measured for this estimator over many draws of images."""
    row = one(units, information, images)
    assert row["mi_upper"][0] == pytest.approx(information + bias, abs=4 * row["mi_se"][0] + 0.04)
    assert row["mi_upper"][0] > row["mutual_information"][0]


def test_an_upper_bound_needs_q_itself():
    """Layer 1 has it in a hierarchy too; above, where q(z|x) is known from chains alone, there is none."""
    images = gaussian(300, 3)
    alone = measured(LinearGaussian(1.0, 0.5, (0.8,), (0.6,)), images)
    row = measured(LinearGaussian(1.0, 0.5, (0.8, 0.7), (0.6, 0.5), (0.5,), (0.5,)), images)
    assert row["mi_upper"][0] == pytest.approx(alone["mi_upper"][0], abs=4 * alone["mi_se"][0])
    assert math.isnan(row["mi_upper"][1])


def test_a_dead_layer_has_none():
    """Where q(z|x) is the prior, to rounding."""
    row = measured(LinearGaussian(1.0, 0.5, (0.0,), (1.0,)), gaussian(300, 7))
    assert row["mi_upper"][0] == pytest.approx(0.0, abs=1e-12)
    assert row["mutual_information"][0] == pytest.approx(0.0, abs=1e-12)
    assert row["kl_aggregate"] == pytest.approx(0.0, abs=1e-12)


def test_a_kl_that_is_the_aggregates_own_is_no_information():
    """q(z|x) is the same for every x and not the prior: all of the KL is that of the aggregate."""
    row = measured(LinearGaussian(1.0, 0.5, (0.0,), (0.3,)), gaussian(300, 7))
    kl = 7 * 0.5 * (0.09 - 1 - math.log(0.09))
    assert row["mutual_information"][0] == pytest.approx(0.0, abs=1e-12)
    assert row["kl_top"] == pytest.approx(kl, rel=1e-9) and row["kl_aggregate"] == pytest.approx(kl, rel=1e-9)


def test_images_without_doubt_told_apart_have_the_cap():
    """log N to 1e-12, as each bracket has it."""
    row = measured(LinearGaussian(1.0, 0.5, (1.0,), (1e-3,)), np.arange(700.0)[:, None])
    assert row["mi_cap"] == math.log(700) == pytest.approx(row["mutual_information"][0], abs=1e-12)


def test_the_second_layer_is_marginalised_over_the_first():
    """I(x; z₂) = ½ log(1 + v²b² / (v²s₁² + s₂²)) per unit, and not I(z₁; z₂), which is larger."""
    b, v, s1, s2, units = 0.8, 0.7, 0.6, 0.5, 5
    row = measured(LinearGaussian(1.0, 0.5, (b, v), (s1, s2), (0.5,), (0.5,)), gaussian(2000, units))
    first = units * 0.5 * math.log1p(b**2 / s1**2)
    second = units * 0.5 * math.log1p((v * b) ** 2 / ((v * s1) ** 2 + s2**2))
    one_pass = units * 0.5 * math.log1p(v**2 * (b**2 + s1**2) / s2**2)
    assert one_pass > second + 0.9
    for value, error, exact, bias in zip(
        row["mutual_information"], row["mi_se"], (first, second), (0.02, 0.08), strict=True
    ):
        assert exact - bias - 4 * error < value < exact + 4 * error and error < 0.03


def test_noise_passed_upward_is_no_information():
    """z₁ ignores x, z₂ copies z₁: a KL of 11 nats, and no word on the image."""
    row = measured(LinearGaussian(1.0, 0.5, (0.0, 0.99), (1.0, 0.1), (0.5,), (0.5,)), gaussian(1000, 5))
    assert row["kl_top"] > 11 and row["mutual_information"] == pytest.approx([0.0, 0.0], abs=0.01)
    assert row["kl_aggregate"] == pytest.approx(0.0, abs=0.01)


def test_of_live_units_a_few_chains_cost_little():
    """40 units that get as much noise as signal: below the truth by less than 1/30 nat per unit, not above it."""
    b, s1, s2, units = 0.25, 1.0, 1e-3, 40
    row = measured(LinearGaussian(1.0, 0.5, (b, 1.0), (s1, s2), (0.5,), (0.5,)), gaussian(2000, units))
    exact = units * 0.5 * math.log1p(b**2 / (s1**2 + s2**2))
    assert exact - units / 30 - 0.05 < row["mutual_information"][1] < exact + 0.08
    assert row["mutual_information"][0] == pytest.approx(exact, abs=0.1)


def test_the_control_variate_takes_noise_and_no_value(monkeypatch):
    """Over seeds: the same mean, at MI = 1 a spread of less than half that of the plain brackets."""
    images = gaussian(100, 10)
    s = math.exp(-0.1)
    model = LinearGaussian(1.0, 0.5, ((1 - s * s) ** 0.5,), (s,))
    with_it = [measured(model, images, seed)["mutual_information"][0] for seed in range(20)]
    for module in ("aggregate_posterior", "mutual_information"):
        monkeypatch.setattr(f"models.evaluation.{module}.controlled", lambda values, control: values)
    without = [measured(model, images, seed)["mutual_information"][0] for seed in range(20)]
    assert np.mean(with_it) == pytest.approx(np.mean(without), abs=4 * np.std(without) / 20**0.5)
    assert np.std(with_it) < 0.5 * np.std(without)


# Posteriors that are not Gaussian.


class Stretched:
    """z = sinh of a Gaussian: a monotone map, under which mutual information stays what it was."""

    gaussian = False

    def outputs(self, units):
        return 0

    def parameters(self, units):
        return []

    def draw(self, mean, deviation, noise):
        return Drawn(mean + deviation * noise, mean, deviation, noise)

    def transform(self, params, drawn, outputs):
        z = torch.sinh(drawn.z)
        return drawn._replace(z=z, log_determinant=0.5 * torch.log1p(z.square()).sum(-1))

    def log_prob(self, drawn):
        return self.density(drawn)(drawn.z[:, 0])[:, :, 0].diagonal(dim1=1, dim2=2).unsqueeze(1)

    def density(self, drawn):
        normal = torch.distributions.Normal(drawn.mean.unsqueeze(1), drawn.deviation.unsqueeze(1))

        def at(z):
            points = z[:, :, None, None]
            slope = 0.5 * torch.log1p(points.square())
            return (normal.log_prob(torch.asinh(points)) - slope).sum(-1)

        return at


class Hidden(Stretched):
    """The same, of which no density is known."""

    def log_prob(self, drawn):
        return torch.zeros(drawn.z.shape[:3], dtype=drawn.z.dtype)

    def density(self, drawn):
        return None


def test_a_monotone_map_of_the_latents_changes_nothing():
    """The brackets of a posterior that is not Gaussian are those of the Gaussian behind it."""
    model, images = LinearGaussian(1.0, 0.5, (0.9,), (0.5,)), gaussian(300, 3)
    usual, stretched = measured(model, images), measured(model, images, posterior=Stretched())
    assert stretched["mutual_information"] == pytest.approx(usual["mutual_information"], abs=4 * usual["mi_se"][0])
    assert stretched["mutual_information"][0] == pytest.approx(3 * 0.5 * math.log1p(0.81 / 0.25), abs=0.3)


def test_without_a_density_there_is_no_number():
    row = measured(LinearGaussian(1.0, 0.5, (0.9,), (0.5,)), gaussian(50, 3), posterior=Hidden())
    assert (
        row["mutual_information"] is row["mi_se"] is row["mi_upper"] is row["kl_aggregate"] is None
        and row["mi_samples"] == 50
    )


def test_the_gaussian_posterior_has_the_same_density_spelled_out():
    """`Gaussian.density` against the two matrix products."""
    rng = np.random.default_rng(1)
    mean, deviation, z = (torch.tensor(rng.normal(size=(1, 1, 8, 4))) for _ in range(3))
    deviation = deviation.abs() + 0.1
    made = stack_of(LinearGaussian(1.0, 0.5, (0.9,), (0.5,)), gaussian(4, 1)).network.posterior
    each = made.density(Drawn(z, mean, deviation, z))(z[:, 0])[0, :, 0]  # (points, images)
    own, aggregate, others = log_densities(z[0, 0], mean[0, 0], deviation[0, 0].square())
    assert torch.allclose(own, each.diagonal(), rtol=1e-12)
    assert torch.allclose(aggregate, each.logsumexp(1) - math.log(8), rtol=1e-12)
    assert torch.allclose(
        others, each.masked_fill(torch.eye(8).bool(), -math.inf).logsumexp(1) - math.log(7), rtol=1e-12
    )
