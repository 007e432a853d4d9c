"""Planar flows at the top layer: single steps, a chain of them, and what networks and metrics make of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from models.cell import FIELDS, Cell
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.posteriors.planar_flow import invertible, planar_flow
from models.stack.stack import Stack
from models.trained import TrainedModel

W, B = torch.tensor([[1.1, 0.8]], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64)
# In one dimension: u, w, b of three steps, and q_0 = N(.3, .7²).
U1, W1 = (torch.tensor(each, dtype=torch.float64).view(3, 1) for each in ((1.3, -0.6, 2.0), (0.9, 1.5, -0.7)))
B1 = torch.tensor((-0.2, 0.4, 0.1), dtype=torch.float64)
Q0 = Normal(torch.tensor(0.3).double(), torch.tensor(0.7).double())


def cell(latents: str = "4-3", seed: int = 0, **more: object) -> Cell:
    given = {"hidden": "9-8", "batch_size": 10, "posterior": "planar", "flow_steps": 3} | more
    return Cell(data="digits", latents=latents, seed=seed, **given)


def given_noise(stack: Stack, batch: int = 5, samples: int = 3):
    made = torch.Generator().manual_seed(1)
    x = (torch.rand(1, 1, batch, stack.dataset.features, generator=made) < 0.5).to(stack.dtype)
    cells = len(stack.cells)
    return x.expand(cells, -1, -1, -1), [
        torch.randn(cells, samples, batch, units, generator=made, dtype=stack.dtype) for units in stack.network.latents
    ]


@pytest.mark.parametrize(
    ("u", "u_hat", "along", "z", "log_determinant"),
    [
        ((0.3, -1.2), (0.333868, -1.175369), None, (0.426653, -0.793829), -0.842547),
        ((-1.5, -1.2), (-0.500512, -0.473100), -0.929043, None, -2.565547),  # wᵀu = −2.61: u itself cannot be inverted
    ],
)
def test_one_step(u, u_hat, along, z, log_determinant):
    u = torch.tensor([u], dtype=torch.float64)
    found, one_and_along = invertible(u, W)
    torch.testing.assert_close(found[0], torch.tensor(u_hat).double(), rtol=0, atol=1e-6)
    assert float(one_and_along) == pytest.approx(1 + float((found * W).sum()), abs=1e-12)
    if along is not None:
        assert float((found * W).sum()) == pytest.approx(along, abs=1e-6)
    moved, determinant = planar_flow(torch.tensor((0.4, -0.7), dtype=torch.float64), u, W, B)
    if z is not None:
        torch.testing.assert_close(moved, torch.tensor(z).double(), rtol=0, atol=1e-6)
    assert float(determinant) == pytest.approx(log_determinant, abs=1e-6)


def test_three_steps_in_one_dimension():
    """From one point; and over all: the prior at the end, with the sum of log determinants, integrates to 1."""
    z, total = planar_flow(torch.tensor([0.5], dtype=torch.float64), U1, W1, B1)
    assert float(z) == pytest.approx(0.163949, abs=1e-6) and float(total) == pytest.approx(-1.326012, abs=1e-6)
    grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    z, total = planar_flow(grid.unsqueeze(-1), U1, W1, B1)
    log_p = Normal(0.0, 1.0).log_prob(z.squeeze(-1))
    assert float(torch.trapezoid((log_p + total).exp(), grid)) == pytest.approx(1.0, abs=1e-6)
    assert float(torch.trapezoid((log_p - total).exp(), grid)) == pytest.approx(4.448, abs=1e-3)  # the wrong sign
    q = Q0.log_prob(grid)
    assert float(torch.trapezoid(q.exp() * (q - total - log_p), grid)) == pytest.approx(1.122968, abs=1e-6)


def test_the_determinant_is_that_of_the_jacobian():
    """By autograd, of four steps in three dimensions, some of which û has to make invertible."""
    made = torch.Generator().manual_seed(3)
    u, w = (2 * torch.randn(4, 3, generator=made, dtype=torch.float64) for _ in range(2))
    b, z = (torch.randn(n, generator=made, dtype=torch.float64) for n in (4, 3))
    assert ((u * w).sum(-1) < -1).any()
    jacobian = torch.autograd.functional.jacobian(lambda each: planar_flow(each, u, w, b)[0], z)
    assert float(planar_flow(z, u, w, b)[1]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-10)


def test_w_of_0_and_steps_that_are_nearly_singular_stay_finite():
    """In float32, gradients too: w = 0; wᵀu = −20, where wᵀû is −1 to float32; −80, where ε is more than is left."""
    cases = ((0, 0), (1, 1), 0.0), ((4, 0), (-5, 1), -20.0), ((4, 0), (-20, 1), math.log(1e-12))
    for w, u, expected in cases:
        w, u = (torch.tensor([each], dtype=torch.float32, requires_grad=True) for each in (w, u))
        z, total = planar_flow(torch.zeros(2), u, w, torch.zeros(1))
        assert float(total.detach()) == pytest.approx(expected, abs=1e-3)
        gradients = torch.autograd.grad(total + z.sum(), (u, w))
        assert all(each.isfinite().all() for each in (z, *gradients))


@pytest.mark.parametrize("flow_parameters", ["amortised", "global"])
@pytest.mark.parametrize("latents", ["4", "4-3"])
def test_neighbours_do_not_matter(images, latents, flow_parameters):
    """Bitwise, at any depth, of units that fill no vector register."""
    cells = [cell(latents, seed, flow_parameters=flow_parameters, hidden="19-17") for seed in range(3)]
    together = Stack(cells, images)
    together.train(8)
    for place, each in enumerate(cells):
        alone = Stack([each], images)
        alone.train(8)
        theirs = together.tensors()
        assert all(torch.equal(t[0], theirs[name][place]) for name, t in alone.tensors().items())


@pytest.mark.parametrize("flow_parameters", ["amortised", "global"])
def test_the_top_layer_alone_goes_through_the_flow(images, flow_parameters):
    """Below it q is the Gaussian that it was, and there the layer has a deviation; the top layer's log q is that of
    what it began with less the log determinant, its term is sampled, and its prior is taken at the end."""
    stack = Stack([cell(flow_parameters=flow_parameters, precision="float64")], images)
    stack.train(5)
    x, noise = given_noise(stack)
    network, params = stack.network, stack.params
    with torch.no_grad():
        first, top = network.terms(params, x, noise).layers
        mean, deviation, outputs = network.inference[1].gaussian_and_flow(params, first.z)
        torch.testing.assert_close(first.log_q, Normal(first.q_mean, first.q_deviation).log_prob(first.z).sum(-1))
        if flow_parameters == "global":
            u, w, b = (params[f"inference.flow.{name}"][0] for name in "uwb")
            assert outputs is None and u.shape == w.shape == (3, 3) and b.shape == (3,)
        else:
            assert outputs.shape == (1, 3, 5, 3 * 7)
            u, w, b = outputs.view(1, 3, 5, 3, 7).split((3, 3, 1), -1)
            b = b[..., 0]
        start = mean + deviation * noise[1]
        z, total = planar_flow(start, u, w, b)
    torch.testing.assert_close(top.z, z)
    torch.testing.assert_close(top.log_q, Normal(mean, deviation).log_prob(start).sum(-1) - total)
    torch.testing.assert_close(top.log_p, Normal(0.0, 1.0).log_prob(z).sum(-1))
    assert top.kl is None and top.q_deviation is None and torch.equal(top.q_mean, top.z)


@pytest.mark.parametrize("flow_parameters", ["amortised", "global"])
def test_given_numbers_are_where_the_flow_begins(images, flow_parameters):
    """The map's own change nothing; others are the Gaussian that goes through the same flow."""
    stack = Stack([cell(flow_parameters=flow_parameters, precision="float64")], images)
    stack.train(5)
    x, noise = given_noise(stack)
    network, params = stack.network, stack.params
    with torch.no_grad():
        terms = network.terms(params, x, noise)
        mean, deviation, outputs = network.inference[1].gaussian_and_flow(params, terms.layers[0].z)
        again = network.terms(params, x, noise, given=[None, (mean, deviation)])
        moved = network.terms(params, x, noise, given=[None, (mean + 1, deviation)])
        drawn = network.posterior.draw(mean + 1, deviation, noise[1])
        expected = network.posterior.transform(params, drawn, outputs)
    assert torch.equal(again.layers[1].z, terms.layers[1].z) and torch.equal(again.log_px, terms.log_px)
    torch.testing.assert_close(moved.layers[1].z, expected.z)
    torch.testing.assert_close(moved.layers[1].log_q, network.posterior.log_prob(expected))


def test_active_units_are_those_of_the_mean_over_chains(images):
    """A flow that moves nothing much leaves V where the Gaussian has it, within its error; one pass counts all."""
    common = {"hidden": "16", "learning_rate": 0.01, "precision": "float64"}
    plain = Stack([Cell("digits", "4", 0, **common)], images)
    plain.train(300)
    flow = Stack([cell("4", flow_steps=1, flow_parameters="global", **common)], images)
    with torch.no_grad():
        for name, param in flow.params.items():
            if name in plain.params:
                param.copy_(plain.params[name])
        w = torch.tensor([[0.5, 0.0, 0.0, 0.0]]).double()
        flow.params["inference.flow.w"].copy_(w)  # wᵀu = log(e − 1) makes û = 0: the identity
        flow.params["inference.flow.u"].copy_(w / w.square().sum() * math.log(math.e - 1))
    settings = Evaluation(importance_samples=50)
    (expected,), (found,) = evaluate(plain, settings), evaluate(flow, settings)
    assert found["elbo"] == pytest.approx(expected["elbo"], abs=0.3) and found["kl_top_per_unit"] is None
    assert found["iw_bound"] == pytest.approx(expected["iw_bound"], abs=1e-6)
    np.testing.assert_allclose(found["activity_variance"][0], expected["activity_variance"][0], atol=0.05)
    assert found["active_units_one_pass"] == [4]


def test_a_trained_flow_can_be_worked_with(images):
    """Encoding has no deviation of the top layer, and the numbers behind the bound are there."""
    stack = Stack([cell()], images)
    stack.train(3)
    tensors = {name: param[0].detach().numpy() for name, param in stack.params.items()}
    model = TrainedModel(stack.cells[0], tensors, 3, features=35)
    x = (np.random.default_rng(0).random((6, 35)) < 0.5).astype(np.float32)
    encoded, terms = model.encode(x, samples=2), model.terms(x, samples=2)
    assert encoded.deviation[0].shape == (2, 6, 4) and encoded.deviation[1] is None
    np.testing.assert_array_equal(encoded.mean[1], encoded.z[1])
    assert terms.elbo.shape == (2, 6) and terms.kl_top_per_unit is None
    np.testing.assert_allclose(terms.log_weight, terms.elbo, rtol=1e-5)  # no term is analytic here but the lower one


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"objective": "ou", "rho": 0.8}, "a flow has no deviation to smooth with"),
        ({"objective": "ou", "rho": 0.8, "latents": "4"}, "a flow has no deviation to smooth with"),
        ({"prior": "vamp"}, "the prior needs the density of"),
        ({"posterior": "gaussian"}, "flow_steps is an option of posterior planar: posterior gaussian has none"),
    ],
)
def test_what_does_not_go_with_a_flow_is_refused_when_the_cell_is_made(more, why):
    with pytest.raises(ValueError, match=why):
        cell(**{"latents": "4-3"} | more)


@pytest.mark.skipif("gradient_estimator" not in FIELDS, reason="no objective has other estimators yet")
@pytest.mark.parametrize("estimator", ["dreg", "stl"])
def test_estimators_that_hold_the_sample_are_refused(estimator):
    with pytest.raises(ValueError, match="a flow cannot be turned back"):
        cell(objective="iwae", chains=2, gradient_estimator=estimator)


@pytest.mark.skipif("free_bits_group" not in FIELDS, reason="free bits have no groups yet")
@pytest.mark.parametrize("parts", [{}, {"posterior": "gaussian", "flow_steps": 8, "prior": "vamp"}])
def test_free_bits_of_units_are_refused_where_a_layer_is_no_product_of_them(parts):
    with pytest.raises(ValueError, match="no product over units"):
        cell(free_bits=0.5, free_bits_group="unit", **parts)
