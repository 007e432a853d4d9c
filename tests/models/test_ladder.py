"""The Ladder VAE: its merge, its KLs, and a scalar model whose posterior and bounds are known.

    z₂ ~ N(0, 1),   z₁ | z₂ ~ N(w z₂, τ²),   x | z₁ ~ N(a z₁, γ²);      a, w, τ, γ, x = 1.2, .9, .6, .5, 1.3

A linear network (`activation: identity`) with one hidden unit computes it, and q as given below. Its terms are
polynomials of degree 2 in the noise: its corners, ±1 with equal weights, integrate them exactly.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from models.cell import Cell, CellError, Entry, cell_size
from models.cell.image_shape import ImageShape
from models.cell.registry import POSTERIORS, PRIORS
from models.data.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.kernels import plain
from models.kernels.densities import SIGMA_FLOOR
from models.kernels.features import FeaturePerceptron
from models.kernels.merge import merged, normal_kl_between
from models.kernels.plain import hidden_layers
from models.networks.network import Terms
from models.objectives.smoothing import perturb
from models.stack.stack import Stack
from models.trained import TrainedModel

A, W, TAU, GAMMA, X = 1.2, 0.9, 0.6, 0.5, 1.3
LOG_P = -1.685678
EXACT = dict(top=(0.725656, 0.397147), first=(X / A, (GAMMA / A) ** 2))  # means and variances of μ̂ and σ̂² by layer
ELSEWHERE = dict(top=(0.5, 0.6), first=(0.9, 0.3))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(top: tuple[float, float], first: tuple[float, float], **fields: object) -> Stack:
    """A stack of one cell with the planted model, and heads that say `top` and `first` (mean, variance) of any x."""
    one = np.zeros((4, 1), np.float32)
    cell = Cell(
        "digits", "1-1", 0, network="ladder", hidden="1", activation="identity", likelihood="gaussian",
        decoder_variance=GAMMA**2, precision="float64", batch_size=4, **fields,
    )  # fmt: skip
    stack = Stack([cell], Dataset("one", one, one, one, 0, ImageShape(1, 1, 1)))

    def raw(deviation: float) -> float:
        return math.log(math.expm1(deviation - SIGMA_FLOOR)) - math.log(math.e - 1)

    planted = {
        "inference.1.mean.bias": first[0], "inference.1.deviation.bias": raw(first[1] ** 0.5),
        "inference.2.mean.bias": top[0], "inference.2.deviation.bias": raw(top[1] ** 0.5),
        "generative.2.0.weight": 1.0, "generative.2.mean.weight": W, "generative.2.deviation.bias": raw(TAU),
        "generative.1.0.weight": 1.0, "generative.1.mean.weight": A,
    }  # fmt: skip
    if fields.get("shared_top_down") == "no":
        planted |= {f"inference_down{name[10:]}": value for name, value in planted.items() if "generative.2" in name}
    with torch.no_grad():
        for name, param in stack.params.items():
            param.fill_(planted.get(name, 0.0))
    return stack


def terms_at(stack: Stack, noise: torch.Tensor) -> Terms:
    """The terms of x = 1.3 at noise of (z₁, z₂), (chains, 2)."""
    x = tensor(X).view(1, 1, 1, 1)
    with torch.no_grad():
        return stack.network.terms(stack.params, x, [noise[:, i].view(1, -1, 1, 1) for i in (0, 1)])


CORNERS = tensor(*(each for corner in product((-1.0, 1.0), repeat=2) for each in corner)).view(4, 2)


def log_weight(terms: Terms) -> torch.Tensor:
    return (terms.log_px + sum(layer.log_p - layer.log_q for layer in terms.layers)).flatten()


def test_two_gaussians_merge_by_their_precisions():
    """μ̂, σ̂² = .5, .4 and μ_p, σ_p² = −.3, .9: mean, variance and KL to p as computed by hand."""
    p = tensor(-0.3), tensor(0.9).sqrt()
    mean, deviation = merged(tensor(0.5), tensor(0.4).sqrt(), *p)
    assert float(mean) == pytest.approx(0.253846, abs=1e-6)
    assert float(deviation.square()) == pytest.approx(0.276923, abs=1e-6)
    assert float(normal_kl_between(mean, deviation, *p)) == pytest.approx(0.413588, abs=1e-6)


def test_a_merge_takes_any_deviations():
    """In float32, up to twelve orders of magnitude apart, where one precision is 1e12: the surer one decides."""
    for narrow, wide in ((1e-6, 1e6), (1e-6, 1.0), (1.0, 1e6)):
        mean, deviation = merged(*(torch.tensor([each]) for each in (0.5, narrow, -0.3, wide)))
        assert float(mean) == pytest.approx(0.5) and float(deviation) == pytest.approx(narrow)
        mean, deviation = merged(*(torch.tensor([each]) for each in (0.5, wide, -0.3, narrow)))
        assert float(mean) == pytest.approx(-0.3) and float(deviation) == pytest.approx(narrow)


@pytest.mark.parametrize("chains", [1, 3])
def test_the_kernels_are_the_plain_lines(chains):
    """Values and gradients, also where one pair of numbers is the same on every chain."""
    numbers = [
        torch.randn(2, 1, 5, 4, dtype=torch.float64), torch.rand(2, 1, 5, 4, dtype=torch.float64) + 0.1,
        torch.randn(2, chains, 5, 4, dtype=torch.float64), torch.rand(2, chains, 5, 4, dtype=torch.float64) + 0.1,
    ]  # fmt: skip
    for each in numbers:
        each.requires_grad_()
    for kernel, twin in ((merged, plain.merged), (normal_kl_between, plain.normal_kl_between)):
        both = []
        for function in (kernel, twin):
            out = function(*numbers)
            out = out if isinstance(out, tuple) else (out,)
            weighed = sum((each * (place + 1.5)).sin().sum() for place, each in enumerate(out))
            both.append([*out, *torch.autograd.grad(weighed, numbers)])
        for one, other in zip(*both, strict=True):
            torch.testing.assert_close(one, other)


def test_the_exact_posterior_gives_log_p():
    """q(z₁|x, z₂) ∝ N(x; a z₁, γ²) N(z₁; w z₂, τ²) is a merge: the ELBO is log p(x) in its three parts, and all
    importance weights are equal."""
    terms = terms_at(scalar(**EXACT), CORNERS)
    assert float(terms.log_px.mean()) == pytest.approx(-0.717617, abs=2e-6)
    assert [float(layer.term().mean()) for layer in terms.layers] == pytest.approx([0.544475, 0.423587], abs=2e-6)
    assert float(terms.log_px.mean() - sum(layer.term().mean() for layer in terms.layers)) == pytest.approx(
        LOG_P, abs=2e-6
    )
    weights = log_weight(terms_at(scalar(**EXACT), torch.randn(50, 2, dtype=torch.float64)))
    assert weights.tolist() == pytest.approx([LOG_P] * 50, abs=5e-6)


@pytest.mark.parametrize("shared", ["yes", "no"])
def test_elsewhere_the_bound_is_what_it_is(shared):
    """Of another q: reconstruction, KL₁ and KL₂; also where q's way down has parameters of its own with p's values."""
    terms = terms_at(scalar(**ELSEWHERE, shared_top_down=shared), CORNERS)
    found = [float(terms.log_px.mean()), *(-float(layer.term().mean()) for layer in terms.layers)]
    assert found == pytest.approx([-1.419550, -0.406006, -0.180413], abs=2e-6)
    assert sum(found) == pytest.approx(-2.005968, abs=2e-6)
    sampled = [float((layer.log_q - layer.log_p).mean()) for layer in terms.layers]
    assert sampled == pytest.approx([0.406006, 0.180413], abs=2e-6)  # the same in expectation


def test_own_maps_down_change_q_and_leave_p():
    """Unshared, another map of q's own moves q(z₁|x, z₂) and no p(z₁|z₂); with shared maps there is none."""
    stack = scalar(**ELSEWHERE, shared_top_down="no")
    before = terms_at(stack, CORNERS)
    with torch.no_grad():
        stack.params["inference_down.2.mean.bias"].add_(1.0)
    after = terms_at(stack, CORNERS)
    share = 0.3 / (0.3 + TAU**2)  # of what comes from above in q's mean
    torch.testing.assert_close(after.layers[0].q_mean, before.layers[0].q_mean + share)
    torch.testing.assert_close(after.layers[0].q_deviation, before.layers[0].q_deviation)
    p_mean = W * before.layers[1].z.flatten()
    for terms in (before, after):
        z = terms.layers[0].z.flatten()
        expected = -0.5 * ((z - p_mean) / TAU) ** 2 - math.log(TAU) - 0.5 * math.log(2 * math.pi)
        torch.testing.assert_close(terms.layers[0].log_p.flatten(), expected)
    assert not any("down" in name for name in scalar(**ELSEWHERE).params)


def test_importance_weights_take_sampled_terms():
    """K = 100: the bound lies between the ELBO and log p(x); with analytic KLs in the weights it would be above."""
    noise = torch.randn(4000 * 100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    terms = terms_at(scalar(**ELSEWHERE), noise)

    def bound(log_w: torch.Tensor) -> float:
        return float((log_w.flatten().view(4000, 100).logsumexp(1) - math.log(100)).mean())

    assert bound(log_weight(terms)) == pytest.approx(-1.6875, abs=2e-3)
    wrong = terms.log_px - sum(layer.term() for layer in terms.layers)
    assert bound(wrong) == pytest.approx(-1.3196, abs=4e-3)


@pytest.mark.parametrize(
    ("rho", "samples", "expected"), [(1.0, 1, 0.406006), (0.8, 1, 0.528733), (0.5, 1, 0.712824), (0.8, 5, 0.334333)]
)
def test_why_it_is_not_smoothed(rho, samples, expected):
    """KL₁ with p smoothed and q not, at fixed parameters: S = 1 is not the plain 0.4060."""
    mean, deviation = tensor(0.5), tensor(0.6).sqrt()
    corners = tensor(*(e for corner in product((-1.0, 1.0), repeat=1 + samples) for e in corner)).view(-1, 1 + samples)
    z = mean + deviation * corners[:, :1]
    moved = perturb(z, mean, deviation, tensor(rho), corners[:, 1:])
    q = merged(tensor(0.9), tensor(0.3).sqrt(), W * z, tensor(TAU))
    smoothed = normal_kl_between(*q, W * moved.mean(1, keepdim=True), tensor(TAU))
    assert float(smoothed.mean()) == pytest.approx(expected, abs=2e-6)


def test_a_smoothed_objective_is_refused_with_the_reason():
    """When the cell is made, and by the network should anything ask it for smoothed maps."""
    with pytest.raises(CellError, match=r"z_i is drawn given z_\{i\+1\} itself.*train it with objective vae"):
        Cell("digits", "5-3", 0, network="ladder", objective="ou", rho=0.8)
    stack = scalar(**ELSEWHERE)
    with pytest.raises(ValueError, match="a ladder is not smoothed"):
        stack.network.terms(stack.params, tensor(X).view(1, 1, 1, 1), [CORNERS[None, :, None, :1]] * 2, smoothing=True)


def test_what_a_ladder_does_not_go_with_is_refused(monkeypatch):
    """Posteriors and priors that are registered beside those that it takes, by the field and with the reason."""
    for role, parts, why in (("posterior", POSTERIORS, "precisions"), ("prior", PRIORS, "whole way up")):
        monkeypatch.setitem(parts, "other", Entry("nowhere:Other"))
        with pytest.raises(CellError, match=f"{role} should be .* with network ladder, got other, because .*{why}"):
            Cell("digits", "5-3", 0, network="ladder", **{role: "other"})


def test_features_are_hidden_layers_with_their_gradients():
    """What the layers compute as torch writes it, and its gradient where heads and a further map both see them."""
    at = FeaturePerceptron("up", (4, 6, 5, 3), "tanh", 1, 0, "inference")
    params = {
        p.name: torch.randn(2, *p.shape, dtype=torch.float64, requires_grad=True) for p in at.parameters()
    }  # fmt: skip
    x = torch.randn(2, 3, 7, 4, dtype=torch.float64, requires_grad=True)
    d = at.features(params, x)
    mean, deviation = at.heads(params, d)
    weights, biases = ([params[f"up.{i}.{kind}"] for i in (0, 1)] for kind in ("weight", "bias"))
    straight = hidden_layers(x, weights, biases, "tanh")
    torch.testing.assert_close(d, straight)

    def value(d: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return d.sin().sum() + mean.square().sum()

    straight_mean = straight @ params["up.mean.weight"][:, None] + params["up.mean.bias"][:, None, None]
    torch.testing.assert_close(mean, straight_mean)
    assert (deviation > 0).all() and deviation.shape == mean.shape == (2, 3, 7, 3)
    wanted = [x, *weights, *biases]
    found, known = (torch.autograd.grad(value(*each), wanted) for each in ((d, mean), (straight, straight_mean)))
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one, other)


def test_features_go_up_and_nothing_else():
    """The means of layer 1 do not reach layer 2: its numbers stay when those heads change."""
    stack = Stack([Cell("digits", "4-3", 0, network="ladder", hidden="8-6", batch_size=4)], grey())
    x = torch.rand(1, 1, 5, 36)
    with torch.no_grad():
        before = stack.network.terms(stack.params, x, [torch.zeros(1, 1, 5, units) for units in (4, 3)])
        stack.params["inference.1.mean.weight"].mul_(2.0)
        after = stack.network.terms(stack.params, x, [torch.zeros(1, 1, 5, units) for units in (4, 3)])
    assert torch.equal(before.layers[1].q_mean, after.layers[1].q_mean)
    assert not torch.allclose(before.layers[0].q_mean, after.layers[0].q_mean)
    assert before.layers[1].q_mean.shape == (1, 1, 5, 3) and len(stack.params["inference.2.0.weight"][0]) == 6


def grey(side: int = 6) -> Dataset:
    images = np.random.default_rng(0).integers(0, 17, (300, side**2)).astype(np.uint8)
    return Dataset("grey", images[:200], images[200:240], images[240:], 16, ImageShape(1, side, side))


def test_five_layers_of_table_3_train_and_have_the_size_that_planning_says():
    """Latents 64-32-16-8-4 with two-layer maps that halve; parameters as a sum over maps, and a step that is finite."""
    cell = Cell(
        "digits", "64-32-16-8-4", 0, network="ladder", hidden="512-512/256-256/128-128/64-64/32-32",
        activation="leaky_relu", batch_size=8,
    )  # fmt: skip
    stack = Stack([cell], grey(8))
    stack.train(3)
    assert bool(stack.active.all()) and len(stack.network.latents) == 5
    assert cell_size(cell).parameters == stack.parameters_per_cell
    (row,) = evaluate(stack, Evaluation(importance_samples=5, images=20), quick=True)
    assert len(row["kl_per_layer"]) == 5 and min(row["kl_per_layer"]) > 0  # every one is a KL divergence


@pytest.mark.parametrize(
    "fields", [dict(shared_top_down="no"), dict(chains=3, activation="leaky_relu"), dict(latents="5-4-3", hidden="9-7")]
)
def test_a_cell_of_a_stack_has_the_bits_it_has_alone(fields):
    """On one thread: with q's own maps down, several chains per image, another activation, more layers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        given = dict(network="ladder", latents="5-3", hidden="13-9/11", batch_size=10) | fields
        cells = [Cell("digits", seed=seed, **given) for seed in range(3)]
        together = Stack(cells, grey())
        together.train(6)
        for place, cell in enumerate(cells):
            alone = Stack([cell], grey())
            alone.train(6)
            theirs = together.tensors()
            assert all(torch.equal(t[0], theirs[name][place]) for name, t in alone.tensors().items())
    finally:
        torch.set_num_threads(threads)


def test_its_options_are_options_of_a_ladder_alone():
    """And its size is that of either kind of sharing: torch's own count is in `test_sizes.py`."""
    with pytest.raises(CellError, match="shared_top_down is an option of network ladder"):
        Cell("digits", "5-3", 0, shared_top_down="no")
    words = [Cell("digits", "5-3", 0, network="ladder", shared_top_down=each).architecture for each in ("yes", "no")]
    assert words == ["ladder 5-3 (200-200)", "ladder 5-3 (200-200) unshared"]


def test_a_trained_ladder_encodes_decodes_and_samples():
    """Top-down inference from a script: the top layer's numbers are the same on every chain, those below differ; terms
    are the bound's, every layer's a KL; a way down from any layer ends at an image."""
    cell = Cell("digits", "4-3-2", 0, network="ladder", hidden="12", batch_size=20, learning_rate=0.01)
    stack = Stack([cell], grey(8))
    stack.train(50)
    tensors = {name: param[0].detach().numpy() for name, param in stack.params.items()}
    model, x = TrainedModel(cell, tensors, 50, features=64), np.random.default_rng(1).random((7, 64)).round()
    encoded = model.encode(x, samples=3)
    assert [each.shape for each in encoded.mean] == [(3, 7, 4), (3, 7, 3), (3, 7, 2)]
    assert (encoded.mean[2] == encoded.mean[2][:1]).all() and (encoded.deviation[2] == encoded.deviation[2][:1]).all()
    assert all((np.abs(each - each[:1]).max((1, 2))[1:] > 1e-4).all() for each in encoded.mean[:2])
    bound = model.terms(x, samples=3)
    assert all(term.shape == (3, 7) and (term >= 0).all() for term in bound.kl)
    assert bound.kl_top_per_unit.shape == (3, 7, 2)
    np.testing.assert_allclose(bound.kl_top_per_unit.sum(-1), bound.kl[2], rtol=1e-5)
    many = model.terms(x, samples=4000)
    for q, p, kl in zip(many.log_q, many.log_p, many.kl, strict=True):
        difference = (q - p - kl).mean(0)
        assert (np.abs(difference) < 5 * (q - p - kl).std(0) / 4000**0.5).all()
    for layer in (1, 2, 3):
        image = model.decode(encoded.z[layer - 1], layer=layer)
        assert image.shape == (3, 7, 64) and (image > 0).all() and (image < 1).all()
    assert model.sample(5).shape == (5, 64)


def test_a_collapsed_top_layer_reads_as_no_information():
    """Where the heads of layer L ignore the image and say N(0, 1), kl_top is 0, and no unit of it is active."""
    stack = Stack([Cell("digits", "4-3", 0, network="ladder", hidden="8", batch_size=20)], grey())
    with torch.no_grad():
        for name in ("mean", "deviation"):
            stack.params[f"inference.2.{name}.weight"].zero_()
            stack.params[f"inference.2.{name}.bias"].zero_()
    (row,) = evaluate(stack, Evaluation(importance_samples=20, images=60))
    assert row["kl_top"] == pytest.approx(0, abs=1e-5) and row["active_units"][1] == 0
    assert row["activity_noise"][1] == pytest.approx([0] * 3, abs=1e-12)  # no noise is in its condition
    assert min(row["activity_noise"][0]) > 1e-4  # of layer 1's there is: z₂
