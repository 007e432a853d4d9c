"""The importance-weighted bound and the estimators of its gradient, against exact numbers of linear hierarchies."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from models.cell import Cell, CellError, cell_id
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.draws.draws import Purpose
from models.networks.mlp import HierarchicalMLP
from models.networks.network import Terms
from models.objectives.iwae import Iwae
from models.objectives.smoothing import Smoothing
from models.stack.stack import Stack
from tests.models.planted import THREE, TWO, LinearGaussian, corners, stack_of

ONE = LinearGaussian(a=1.2, gamma=0.5, b=(0.6,), s=(0.5,))
X = 1.3
NODES = {1: 60, 2: 60, 3: 40, 4: 16}  # of the quadrature, by its dimensions; the more, the fewer


def quadrature(chains, layers):
    """Noise of every layer, (1, K, points, 1), over a product grid of Gauss–Hermite nodes, and the points' weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES[chains * layers])
    grid = torch.tensor(np.array(list(product(nodes, repeat=chains * layers)))).T.reshape(layers, 1, chains, -1, 1)
    shares = [torch.tensor(weights / weights.sum())] * (chains * layers)
    return list(grid), torch.stack([g.flatten() for g in torch.meshgrid(*shares, indexing="ij")]).prod(0)


def slopes(stack, gradients, model):
    """Derivatives of an expectation with respect to the numbers of a planted model, from those of its parameters.

    A map's relu(z) and relu(−z) carry its slope and minus it; a deviation is softplus of its bias.
    """
    grads = dict(zip(stack.params, gradients, strict=True))

    def weight(name):
        plus, minus = grads[f"{name}.mean.weight"].flatten().tolist()
        return plus - minus

    def log_deviation(name, deviation):
        shifted = stack.params[f"{name}.deviation.bias"].detach() + math.log(math.e - 1)
        return (grads[f"{name}.deviation.bias"] / shifted.sigmoid()).item() * deviation

    found = {"a": weight("generative.1")}
    for i, s in enumerate(model.s, start=1):
        found |= {f"b{i}": weight(f"inference.{i}"), f"log s{i}": log_deviation(f"inference.{i}", s)}
    for i, tau in enumerate(model.tau, start=1):
        found |= {f"w{i}": weight(f"generative.{i + 1}"), f"log tau{i}": log_deviation(f"generative.{i + 1}", tau)}
    return found


def expectation(model, chains, estimator="plain", **fields):
    """L_K by quadrature, and the expectation of its estimated gradient."""
    stack = stack_of(model, objective="iwae", chains=chains, gradient_estimator=estimator, **fields)
    noise, weights = quadrature(chains, len(model.b))
    x = torch.full((1, 1, noise[0].shape[2], 1), X, dtype=torch.float64)
    terms = stack.network.terms(stack.params, x, noise, paths=stack.objective.paths())
    value = (stack.objective.bound(terms, 0)[0] * weights).sum()
    return value.item(), slopes(stack, torch.autograd.grad(value, list(stack.params.values())), model)


PRINTED = {  # K: L_K, and its slopes in b, log s and a
    1: (-1.833131, 1.257360, -0.690000, -0.064320),
    2: (-1.734610, 0.443898, -0.195722, 0.011287),
    3: (-1.713162, 0.256883, -0.107087, 0.010918),
}
STL = {1: (1.257360, -0.690000), 2: (0.925236, -0.435218), 3: (0.848881, -0.386851)}


@pytest.mark.parametrize("estimator", ["plain", "dreg", "stl"])
@pytest.mark.parametrize("chains", [1, 2, 3])
def test_a_single_layers_bound_and_gradient_are_the_exact_numbers(chains, estimator):
    """`plain` and `dreg` have the bound's own gradient for any K; `stl` has it at K = 1, and twice to six times as
    much of it beyond. The generative slope is the same for all."""
    value, found = expectation(ONE, chains, estimator)
    bound, b, log_s, a = PRINTED[chains]
    assert value == pytest.approx(bound, abs=1e-6) and value < ONE.log_p(X)
    expected = STL[chains] if estimator == "stl" else (b, log_s)
    assert (found["b1"], found["log s1"]) == pytest.approx(expected, abs=2e-6)
    assert found["a"] == pytest.approx(a, abs=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_dreg_is_exact_in_a_hierarchy_at_any_kl_weight(weight):
    """Two layers, K = 2, every number of the model: with β inside the weights the path has 1 − β + β w̃ of them.
    `stl` differs in what belongs to q alone."""
    plain, dreg, stl = (expectation(TWO, 2, each, kl_weight=weight)[1] for each in ("plain", "dreg", "stl"))
    assert dreg == pytest.approx(plain, abs=2e-5)
    for name, slope in stl.items():
        of_q = name.startswith(("b", "log s"))
        assert (abs(slope - plain[name]) > 0.005) == of_q, name


class OutputsDetached(HierarchicalMLP):
    """The shortcut: log q with its outputs detached, which cuts z₁ → μ(z₁) → log q(z₂|z₁)."""

    def _along(self, params, x, q, smoothing, given, paths):
        along, _ = super()._along(params, x, q, smoothing, given, paths)
        cut = [each._replace(mean=each.mean.detach(), deviation=each.deviation.detach()) for each in along]
        return along, [(-0.5 * ((e.z - e.mean) / e.deviation).square() - e.deviation.log()).sum(-1) for e in cut]


@pytest.mark.parametrize(
    ("estimator", "shortcut", "expected"),
    [("plain", False, (0.301, 0.043)), ("dreg", False, (0.3020, 0.0432)), ("dreg", True, (0.388, 0.065))],
)
def test_parameters_are_detached_and_never_outputs(estimator, shortcut, expected):
    """Two layers, K = 5, from noise: the slopes in b and log s₁; with outputs detached they are others."""
    stack = stack_of(TWO, objective="iwae", chains=5, gradient_estimator=estimator)
    if shortcut:
        stack.network.__class__ = OutputsDetached
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(10):
        noise = [torch.randn(1, 5, 20_000, 1, generator=generator, dtype=torch.float64) for _ in TWO.b]
        x = torch.full((1, 1, 20_000, 1), X, dtype=torch.float64)
        terms = stack.network.terms(stack.params, x, noise, paths=stack.objective.paths())
        gradient = torch.autograd.grad(stack.objective.value(terms, 0).sum(), list(stack.params.values()))
        each = slopes(stack, gradient, TWO)
        found.append((each["b1"], each["log s1"]))
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / 10**0.5
    assert (np.abs(mean - expected) < 3.5 * error + 6e-4).all(), (mean, error)
    assert error[0] < (0.01 if estimator == "plain" else 0.001)


def smoothed_terms(stack, samples, generator, points=20_000):
    """Terms of one planted cell at random noise, smoothed as its objective says; two layers."""
    chains, smoother = stack.samples, stack.objective.smoother

    def normal(*shape):
        return torch.randn(1, *shape, 1, generator=generator, dtype=torch.float64)

    noise = [normal(chains, points) for _ in TWO.b]
    down, output, up = (normal(samples, chains * points) for _ in range(3))
    smoothing = Smoothing(
        smoother.rho, [down], smoother.ratio, output if smoother.output else None, [up] if smoother.posterior else None
    )
    x = torch.full((1, 1, points, 1), X, dtype=torch.float64)
    return stack.network.terms(stack.params, x, noise, smoothing, paths=stack.objective.paths())


MORE = dict(smooth_posterior="yes", smooth_output="yes", smoothing="ratio", kl_weight=0.6)


@pytest.mark.parametrize("more", [{}, MORE], ids=["generative maps", "all maps, ratio, β"])
def test_dreg_has_the_gradient_of_the_smoothed_bound(more):
    """Though p depends on q's mean and deviation there: paired with `plain` at the same noise, within its error, which
    is small enough to see what a missing weight on one of the paths would do (0.04 to 0.18)."""
    found = {}
    for estimator in ("plain", "dreg"):
        fields = dict(objective="ou_iwae", rho=0.5, smoothing_samples=2, chains=3, gradient_estimator=estimator) | more
        stack, generator = stack_of(TWO, **fields), torch.Generator().manual_seed(1)
        found[estimator] = []
        for _ in range(12):
            value = stack.objective.value(smoothed_terms(stack, 2, generator), 0)
            gradient = torch.autograd.grad(value.sum(), list(stack.params.values()))
            found[estimator].append(list(slopes(stack, gradient, TWO).values()))
    difference = np.array(found["dreg"]) - found["plain"]
    error = difference.std(0, ddof=1) / 12**0.5
    assert (np.abs(difference.mean(0)) < 3.5 * error + 1e-9).all() and error.max() < 0.006


@pytest.mark.parametrize("model", [TWO.exact(), THREE.exact()])
@pytest.mark.parametrize("estimator", ["plain", "dreg", "stl"])
def test_the_bound_is_log_p_under_the_exact_posterior(model, estimator):
    """All weights are then equal, whatever K and whatever the noise; and `dreg` and `stl` then have no noise at all."""
    images = np.array([[0.3], [1.3]])
    expected = sum(model.log_p(x) for x in images[:, 0]) / 2
    rng = np.random.default_rng(0)
    for k in (1, 5):
        stack = stack_of(model, images, objective="iwae", chains=k, gradient_estimator=estimator)
        noise = [torch.from_numpy(rng.standard_normal((1, k, 2, 1))) for _ in model.b]
        x = torch.tensor(images).view(1, 1, 2, 1)
        terms = stack.network.terms(stack.params, x, noise, paths=stack.objective.paths())
        value = stack.objective.value(terms, 0)
        assert value.item() == pytest.approx(expected, abs=1e-5)
        gradient = slopes(stack, torch.autograd.grad(value.sum(), list(stack.params.values())), model)
        quiet = all(abs(each) < 1e-6 for name, each in gradient.items() if name.startswith(("b", "log s")))
        assert quiet == (estimator != "plain")


def bound_of(log_weights, **fields):
    """The bound of given log weights, all of them log p(x|z₁)."""
    cell = Cell(data="digits", latents="2", seed=0, objective="iwae", chains=len(log_weights), **fields)
    return Iwae([cell], log_weights).bound(Terms(log_weights.view(1, -1, 1), ()), 0)[0, 0]


def test_the_bound_is_a_log_mean_and_its_gradient_the_weights_shares():
    """log w = −1, −2, −4: −1.749600, and not Σ w̃ log w = −1.364854, which is too good by KL(w̃ ‖ uniform), nor the
    mean −2.333333; weights far below what exp can tell are no trouble."""
    log_w = torch.tensor([-1.0, -2.0, -4.0], dtype=torch.float64, requires_grad=True)
    bound = bound_of(log_w)
    (share,) = torch.autograd.grad(bound, log_w)
    assert bound.item() == pytest.approx(-1.749600, abs=1e-6)
    assert (share * log_w).sum().item() == pytest.approx(-1.364854, abs=1e-6)
    assert (share * log_w - share * (3 * share).log()).sum().item() == pytest.approx(bound.item(), rel=1e-12)
    assert log_w.mean().item() == pytest.approx(-2.333333, abs=1e-6)
    far = bound_of(log_w.detach().float() - 1e4)
    assert far.item() == pytest.approx(bound.item() - 1e4, abs=2e-3)


def test_a_weight_that_changes_no_bit_has_no_gradient_instead_of_a_denormal_one():
    """For which processors take many times as long; a weight of 1e-19 beside 1 keeps its own."""
    log_weights = torch.tensor([-5.0, -48.0, -95.0, -5.0], requires_grad=True)
    value = bound_of(log_weights)
    (gradient,) = torch.autograd.grad(value, log_weights)
    assert value == torch.logsumexp(log_weights.detach(), 0) - math.log(4)
    assert gradient.tolist() == [0.5, pytest.approx(0.5 * math.exp(-43), rel=1e-5), 0.0, 0.5]


@pytest.mark.parametrize(("rho", "samples", "printed"), [(0.7, 5, -1.6761), (0.9, 3, -1.7552)])
def test_one_smoothed_chain_has_the_smoothed_elbo(rho, samples, printed):
    """K = 1: its densities are sampled, and their expectation is the printed one of `ou`."""
    stack = stack_of(TWO, objective="ou_iwae", rho=rho, smoothing_samples=samples)
    latent, smooth = corners(1, 2, samples)
    x = torch.full_like(latent[0], X)
    terms = stack.network.terms(stack.params, x, latent, Smoothing(stack.objective.rho, smooth))
    assert stack.objective.value(terms, 0).item() == pytest.approx(printed, abs=5e-5)


def test_at_rho_one_and_with_a_single_layer_it_is_iwae():
    """One cell, one id, K and the estimator kept; `iwae` with one chain is another than `vae`, whose top KL is
    analytic."""
    plain = Cell(data="digits", latents="4-3", seed=0, objective="iwae", chains=5, gradient_estimator="dreg")
    fields = dict(data="digits", seed=0, objective="ou_iwae", chains=5, gradient_estimator="dreg")
    assert Cell(latents="4-3", rho=1.0, smoothing_samples=9, **fields).canonical() == plain
    assert Cell(latents="4", rho=0.5, **fields).canonical().objective == "iwae"
    assert Cell(latents="4-3", rho=0.5, **fields).canonical().objective == "ou_iwae"
    one = [Cell(data="digits", latents="4-3", seed=0, objective=o) for o in ("iwae", "vae")]
    assert cell_id(one[0]) != cell_id(one[1])


@pytest.mark.parametrize("objective", ["iwae", "ou_iwae"])
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (
            "free_bits",
            0.5,
            r"option of objective vae or ou: objective \w+ has none \(inside an importance ",
        ),
        ("free_bits_group", "unit", "objective vae or ou: .* has no KL term of its own"),
    ],
)
def test_free_bits_in_an_importance_weight_are_refused_with_the_reason(objective, name, value, why):
    """There is no term that could be held at λ."""
    with pytest.raises(CellError, match=why):
        Cell(data="digits", latents="4-3", seed=0, objective=objective, **{name: value})


def test_what_belongs_to_importance_weights_or_smoothing_alone_is_refused_elsewhere():
    """An estimator on `vae`, a ρ on `iwae`: they would file the same training under many ids."""
    with pytest.raises(CellError, match="gradient_estimator is an option of objective iwae or ou_iwae: objective vae"):
        Cell(data="digits", latents="4-3", seed=0, gradient_estimator="dreg")
    with pytest.raises(CellError, match="rho is an option of objective ou or ou_iwae: objective iwae has none"):
        Cell(data="digits", latents="4-3", seed=0, objective="iwae", rho=0.9)


@pytest.mark.parametrize("objective", ["ou", "ou_iwae"])
def test_chains_are_smoothed_each_with_noise_of_its_own(objective):
    """Three chains side by side are three passes with one chain and their parts of the noise; layer 1's mean, which the
    chains share, included."""
    grey = np.random.default_rng(0).integers(0, 17, (40, 12)).astype(np.uint8)
    fields = dict(data="digits", latents="4-3-2", hidden="9", seed=1, rho=0.6, smoothing_samples=2, precision="float64",
                  smooth_posterior="yes", smooth_output="yes", batch_size=5)  # fmt: skip
    stack = Stack(
        [Cell(objective=objective, chains=3, **fields)], Dataset("grey", grey, grey, grey, 16, ImageShape(1, 3, 4))
    )
    noise = [stack.draws.normal(Purpose.LATENT, (3, 5, units), 0, i) for i, units in enumerate((4, 3, 2), start=1)]
    smoothing = stack.objective.smoothing(stack.draws, 0, (4, 3, 2), 5)
    assert [tuple(each.shape) for each in smoothing.noise] == [(1, 2, 15, 3), (1, 2, 15, 2)]
    x = stack.minibatch(0)
    together = stack.network.terms(stack.params, x, noise, smoothing)
    for k in range(3):
        own = slice(5 * k, 5 * k + 5)
        part = replace(
            smoothing, noise=[each[:, :, own] for each in smoothing.noise], output=smoothing.output[:, :, own],
            upward=[each[:, :, own] for each in smoothing.upward],
        )  # fmt: skip
        alone = stack.network.terms(stack.params, x, [each[:, k : k + 1] for each in noise], part)
        torch.testing.assert_close(together.log_px[:, k : k + 1], alone.log_px)
        for a, b in zip(together.layers, alone.layers, strict=True):
            torch.testing.assert_close(a.log_p[:, k : k + 1], b.log_p)
            torch.testing.assert_close(a.log_q[:, k : k + 1], b.log_q)


@pytest.mark.parametrize("estimator", ["dreg", "stl"])
@pytest.mark.parametrize("network", ["mlp", "null_mlp"])
@pytest.mark.parametrize("more", [{}, dict(objective="ou_iwae", rho=0.7, smooth_posterior="yes")])
def test_estimators_change_no_value_and_no_gradient_of_p(estimator, network, more):
    """In any network, with three layers: the bound and the generative gradient are those of `plain`."""
    grey = np.random.default_rng(0).integers(0, 17, (40, 12)).astype(np.uint8)
    made = {}
    for each in ("plain", estimator):
        fields = dict(data="digits", latents="4-3-2", hidden="9", seed=1, chains=4, precision="float64", batch_size=6,
                      objective="iwae", network=network, gradient_estimator=each)  # fmt: skip
        stack = Stack([Cell(**(fields | more))], Dataset("grey", grey, grey, grey, 16, ImageShape(1, 3, 4)))
        stack.train(1)
        made[each] = stack.mean_objective()[0], stack.block.views(stack.optimizer.moments()["adam.m"])
    assert made[estimator][0] == pytest.approx(made["plain"][0], rel=1e-12)
    same = {
        name: torch.allclose(gradient, made["plain"][1][name], rtol=1e-9, atol=1e-12)
        for name, gradient in made[estimator][1].items()
    }
    assert all(same[name] for name in same if name.startswith("generative"))
    assert not any(same[name] for name in same if name.startswith("inference.3") and name.endswith("weight"))
