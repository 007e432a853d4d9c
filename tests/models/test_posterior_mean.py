"""The posterior of a scalar z on a grid: linear Gaussian models, whose posterior is known, and networks whose p(x) sums
to 1."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation import posterior_mean as module
from models.evaluation.evaluate import evaluate
from models.evaluation.posterior_mean import LISTS, SCALARS, on_grid
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack
from tests.models.planted import LinearGaussian, stack_of

X = 1.3
SCALAR = {
    "mlp": {"latents": "1", "hidden": "9"},
    "mlp_decoder": {"latents": "1", "hidden": "9", "decoder_layers": 2, "skip": "all"},
    "pixelcnn": {"latents": "1", "hidden": "9", "maps": 4, "decoder_layers": 2},
    "lstm": {
        "data": "synthetic_text", "likelihood": "categorical", "latents": "1", "hidden": "9", "embedding": 7,
        "initial_range": 0.5,
    },
}  # fmt: skip


def posterior(a, g2, x=X):
    """Mean and variance of p(z|x), and log p(x), of x|z ~ N(a z, g²)."""
    variance = a**2 + g2
    return a * x / variance, g2 / variance, -0.5 * math.log(2 * math.pi * variance) - x**2 / (2 * variance)


def log_weight(a, g2, x=X):
    """log p(z) p(x|z) of one image."""

    def at(z, places):
        log_w = -0.5 * z.square() - 0.5 * (x - a * z).square() / g2 - math.log(2 * math.pi) - 0.5 * math.log(g2)
        return log_w[:, None].expand(-1, len(places))

    return at


def alone(number):
    return torch.tensor([number], dtype=torch.float64)


@pytest.mark.parametrize(
    ("a", "g2", "stride", "of_mean", "of_log_p"),
    [
        (1.2, 0.25, 0.1, 0.0, 0.0),
        (1.2, 0.01, 0.1, 1e-6, 1e-7),
        (1.2, 0.001, 0.1, 0.017, 0.21),
        (1.2, 0.001, 0.01, 0.0, 0.0),
        (5.0, 1e-4, 0.01, None, 0.69),
        (5.0, 1e-4, 0.1, None, 200.0),
    ],
)
def test_a_grid_of_fixed_stride_is_wrong_as_soon_as_it_is_coarser_than_the_posterior(a, g2, stride, of_mean, of_log_p):
    """Errors of sums over [−20, 20] as they were found elsewhere, to the digits given."""
    z = torch.arange(-round(20 / stride), round(20 / stride) + 1, dtype=torch.float64) * stride
    log_p, mean, _ = module._sums(z, log_weight(a, g2)(z, torch.arange(1)), alone(0.0), alone(1.0))
    exact, _, log_px = posterior(a, g2)
    assert abs(float(log_p) - log_px) == pytest.approx(of_log_p, rel=0.4, abs=1e-12)
    if of_mean is not None:
        assert abs(float(mean) - exact) == pytest.approx(of_mean, rel=0.5, abs=1e-12)


@pytest.mark.parametrize(("a", "g2"), [(1.2, 0.25), (1.2, 0.01), (1.2, 0.001), (5.0, 1e-4), (0.1, 1.0), (0.0, 1.0)])
def test_halving_finds_mean_log_p_and_gap_of_a_linear_gaussian(a, g2):
    """From deviations of 1 down to 0.002, under a q that misses the posterior."""
    mean, variance, log_px = posterior(a, g2)
    m, s = 0.4 * mean, 0.3
    found = on_grid(log_weight(a, g2), alone(m), alone(s))
    gap = 0.5 * ((s**2 + (m - mean) ** 2) / variance - 1 - math.log(s**2 / variance))
    assert float(found.mean) == pytest.approx(mean, abs=1e-8) and float(found.log_px) == pytest.approx(log_px, abs=1e-8)
    assert float(found.gap) == pytest.approx(gap, rel=1e-7, abs=1e-9)
    # No coarser than the posterior, and no finer than a grid that is halved once more than it takes.
    assert module.MIN_STRIDE <= float(found.stride) <= max(math.sqrt(variance), module.MIN_STRIDE)
    assert float(found.stride) >= min(math.sqrt(variance) / 5, 0.125)


def test_the_numbers_of_the_table():
    """a = 1.2: g² = 0.25 has its mean at 0.923077 and log p(x) = −1.681303, g² = 0.01 at 1.075862."""
    first, second = (on_grid(log_weight(1.2, g2), alone(0.0), alone(1.0)) for g2 in (0.25, 0.01))
    assert (round(float(first.mean), 6), round(float(first.log_px), 6)) == (0.923077, -1.681303)
    assert round(float(second.mean), 6) == 1.075862


def test_q_itself_may_be_narrower_than_the_posterior():
    """The grid is then as fine as q, also at a mean that every grid has a point at, where no halving shows it."""
    found = on_grid(log_weight(0.1, 1.0, 0.0), alone(0.0), alone(0.01))
    variance = 1 / 1.01
    gap = 0.5 * (1e-4 / variance - 1 - math.log(1e-4 / variance))
    assert float(found.gap) == pytest.approx(gap, abs=1e-7) and float(found.stride) < 0.01


def test_the_grid_grows_where_the_posterior_or_q_reaches_beyond_it():
    """Image by image; of a q beyond the widest grid there is a posterior and no gap."""
    far = on_grid(log_weight(0.1, 0.001, 1.32), alone(0.0), alone(1.0))  # its mean is 12
    mean, _, log_px = posterior(0.1, 0.001, 1.32)
    assert mean == pytest.approx(12.0) and float(far.mean) == pytest.approx(mean, abs=1e-8)
    assert float(far.log_px) == pytest.approx(log_px, abs=1e-8)
    means = torch.tensor([0.0, 20.0, 100.0, math.nan], dtype=torch.float64)
    found = on_grid(log_weight(1.2, 0.25), means, torch.ones_like(means))
    exact, variance, _ = posterior(1.2, 0.25)
    gaps = [0.5 * ((1 + (m - exact) ** 2) / variance - 1 + math.log(variance)) for m in (0.0, 20.0)]
    assert found.gap[:2].tolist() == pytest.approx(gaps, rel=1e-9) and found.gap[2:].isnan().all()
    assert found.mean.tolist() == pytest.approx([exact] * 4, abs=1e-9)


def test_the_columns_of_a_planted_network():
    """Exact inference has no gap, and then the importance-weighted bound is log p(x), whatever is drawn; a dead q has
    no spread while the model's posterior has its own; a model that ignores z has the prior for every image."""
    images = np.linspace(-2, 2, 9)[:, None]
    seen = images.astype(np.float32).astype(np.float64)[:, 0]
    settings = Evaluation(importance_samples=3, posterior_mean=9)

    def row(model):
        return evaluate(stack_of(model, images), settings)[0]

    plain = LinearGaussian(1.2, 0.5, (0.6,), (0.4,))
    exact = row(plain.exact())
    slope, _, _ = posterior(1.2, 0.25, 1.0)
    assert exact["posterior_mean_model"] == pytest.approx((slope * seen).tolist(), abs=1e-9)
    assert exact["posterior_mean_model"] == pytest.approx(exact["posterior_mean_inference"], abs=1e-6)
    assert exact["nll_exact"] == pytest.approx(-np.mean([plain.log_p(x) for x in seen]), abs=1e-9)
    assert exact["posterior_gap"] == pytest.approx(0.0, abs=1e-9)
    assert exact["nll_exact_iw"] == pytest.approx(exact["nll_exact"], abs=1e-6)
    assert exact["nll_exact_iw"] == pytest.approx(-exact["iw_bound"], abs=1e-6)
    lagging = row(LinearGaussian(1.2, 0.5, (0.0,), (1.0,)))
    assert np.std(lagging["posterior_mean_inference"]) == 0.0
    assert np.std(lagging["posterior_mean_model"]) == pytest.approx(slope * seen.std(), abs=1e-9)
    assert lagging["posterior_gap"] > 1 and lagging["nll_exact_iw"] > lagging["nll_exact"]
    dead = row(LinearGaussian(0.0, 0.5, (0.0,), (1.0,)))
    assert dead["posterior_mean_model"] == pytest.approx([0.0] * 9, abs=1e-9)
    assert dead["nll_exact"] == pytest.approx(-dead["elbo"], abs=1e-6) and dead["posterior_gap"] < 1e-6


@pytest.mark.parametrize("network", ["mlp", "mlp_decoder", "pixelcnn"])
def test_p_of_x_on_the_grid_sums_to_1_over_all_images(network):
    """All 64 binary images of 2×3 pixels."""
    images = ((np.arange(64)[:, None] >> np.arange(6)) & 1).astype(np.uint8)
    usual = {"data": "digits", "network": network, "batch_size": 8, "precision": "float64", "seed": 0}
    cell = Cell.of(usual | SCALAR[network] | {"learning_rate": 0.01})
    stack = Stack([cell], Dataset("all", images, images, images, 1, ImageShape(1, 2, 3)))
    stack.train(30)
    _, params = stack.part(slice(0, 1))
    x = torch.from_numpy(images).double()[None, None]
    with torch.no_grad():
        at = module._log_weight(stack.network, params, x)
        found = on_grid(at, torch.zeros(64, dtype=torch.float64), torch.ones(64, dtype=torch.float64))
    assert float(found.log_px.exp().sum()) == pytest.approx(1.0, abs=1e-9)
    row = evaluate(stack, Evaluation(importance_samples=2, posterior_mean=64))[0]
    assert row["nll_exact"] == pytest.approx(-float(found.log_px.mean()), abs=1e-8)


@pytest.mark.parametrize("network", SCALAR)
def test_the_importance_weighted_bound_approaches_it_from_below(network, fitting):
    """What the bound of K = 300 gives is −log p(x) within its error, and what that of K = 1 gives lies above it by the
    gap."""
    cell = Cell.of({"data": "digits", "network": network, "batch_size": 16, "seed": 0} | SCALAR[network])
    stack = Stack([cell], fitting(network))
    stack.train(25)
    (row,) = evaluate(stack, Evaluation(importance_samples=300, images=30, posterior_mean=30))
    assert all(len(row[name]) == 30 for name in LISTS) and row["posterior_gap"] > 0
    assert row["nll_exact_iw"] == pytest.approx(row["nll_exact"], abs=4 * row["nll_exact_iw_se"] + 1e-4)
    (rough,) = evaluate(stack, Evaluation(importance_samples=1, images=30, posterior_mean=30))
    assert rough["nll_exact"] == row["nll_exact"]
    above = rough["nll_exact_iw"] - rough["nll_exact"]  # on average the gap
    assert above == pytest.approx(row["posterior_gap"], abs=4 * rough["nll_exact_iw_se"])


@pytest.mark.parametrize("network", SCALAR)
def test_a_cells_numbers_are_those_of_the_cell_alone(network, fitting):
    """Bit for bit, and they disturb no other column."""
    usual = {"data": "digits", "network": network, "batch_size": 16} | SCALAR[network]
    stack = Stack([Cell.of(usual | {"seed": seed}) for seed in range(3)], fitting(network))
    stack.train(3)
    settings = Evaluation(importance_samples=3, images=20)
    asked = replace(settings, posterior_mean=15)
    together, (alone_,) = evaluate(stack, asked), evaluate(stack.cut([1]), asked)
    (plain,) = evaluate(stack.cut([1]), settings)
    assert repr(together[1]) == repr(alone_) and together[0]["nll_exact"] != alone_["nll_exact"]
    assert list(alone_) == [*plain, *LISTS, *SCALARS]
    assert repr({name: alone_[name] for name in plain}) == repr(plain)


def test_semi_amortised_cells_are_measured_at_their_refined_numbers(images):
    """They lie closer to the posterior than what the refinement starts from."""
    fields = {
        "data": "digits",
        "latents": "1",
        "hidden": "9",
        "batch_size": 16,
        "procedure": "semi_amortized",
        "seed": 0,
    }
    stack = Stack([Cell.of(fields | {"svi_steps": 20, "svi_rate": 0.05})], images)
    stack.train(20)
    joint = Stack([Cell.of(fields | {"procedure": "joint"})], images)
    joint.load({name: tensor.clone() for name, tensor in stack.tensors().items()}, 20)
    settings = Evaluation(importance_samples=5, posterior_mean=40)
    (refined,), (amortised,) = evaluate(stack, settings), evaluate(joint, settings)
    assert refined["nll_exact"] == pytest.approx(amortised["nll_exact"], abs=1e-4)
    assert 0 < refined["posterior_gap"] < amortised["posterior_gap"]


@pytest.mark.parametrize("fields", [{"latents": "2"}, {"latents": "1-1"}, {"latents": "1", "posterior": "planar"}])
def test_other_latent_variables_have_no_such_columns(images, fields):
    """Several of them, several layers, or q that is no Gaussian."""
    stack = Stack([Cell.of({"data": "digits", "hidden": "5", "batch_size": 16, "seed": 0} | fields)], images)
    (row,) = evaluate(stack, Evaluation(importance_samples=3, posterior_mean=10))
    assert [row[name] for name in (*LISTS, *SCALARS)] == [None] * 8
