"""The ELBO and the smoothed objective, as training computes them, against the closed forms of a linear hierarchy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.objectives.smoothing import Smoothing
from tests.models.planted import THREE, TWO, LinearGaussian, corners, stack_of

X = 1.3


def value_of(model, rho=1.0, samples=1, units=1, x=X, **fields):
    """The expected objective, exactly, and the stack that computed it."""
    objective = "vae" if rho == 1.0 else "ou"
    stack = stack_of(model, units=units, objective=objective, rho=rho, smoothing_samples=samples, **fields)
    latent, smooth = corners(units, len(model.b), samples if objective == "ou" else 0)
    smoothing = Smoothing(stack.objective.rho, smooth) if stack.cells[0].smoothed else None
    pixels = torch.full_like(latent[0], x)
    terms = stack.network.terms(stack.params, pixels, latent, smoothing)
    return stack.objective.value(terms, step=0), stack, terms


@pytest.mark.parametrize(("rho", "samples", "printed"), [(1.0, 1, -1.7908), (0.7, 5, -1.6761), (0.9, 3, -1.7552)])
def test_the_objective_is_the_printed_number(rho, samples, printed):
    """Two layers with the numbers of the specification; the closed-form KL would give −2.0708 without smoothing."""
    value, _, _ = value_of(TWO, rho, samples)
    assert value.item() == pytest.approx(printed, abs=5e-5)
    assert TWO.wrong(X) == pytest.approx(-2.0708, abs=5e-5)
    assert TWO.log_p(X) == pytest.approx(-1.6857, abs=5e-5)
    assert abs(value.item() - TWO.wrong(X)) > 0.25


@pytest.mark.parametrize("model", [TWO, THREE, LinearGaussian(1.2, 0.5, (0.6,), (0.4,))], ids=["two", "three", "one"])
@pytest.mark.parametrize(("rho", "samples"), [(1.0, 1), (0.7, 2), (0.0, 3), (0.95, 1)])
def test_the_objective_is_its_closed_form(model, rho, samples):
    """One, two and three layers, with and without smoothing; S = 1 is the plain ELBO at any ρ."""
    value, _, _ = value_of(model, rho, samples)
    assert value.item() == pytest.approx(model.objective(X, rho, samples), rel=1e-10)
    if samples == 1:
        assert value.item() == pytest.approx(model.objective(X), rel=1e-10)
    elif len(model.b) > 1:
        assert value.item() > model.objective(X) + 0.02  # a smoothed objective is another number, here above the ELBO


@pytest.mark.parametrize("model", [TWO, THREE])
def test_each_layer_has_its_own_term(model):
    """Reconstruction and every layer's term, not only their sum; two independent units give twice the nats."""
    _, _, one = value_of(model)
    _, _, two = value_of(model, units=2)
    assert one.log_px.mean().item() == pytest.approx(model.reconstruction(X), rel=1e-10)
    assert two.log_px.mean().item() == pytest.approx(2 * model.reconstruction(X), rel=1e-10)
    for i, expected in enumerate(model.terms(X)):
        assert one.layers[i].term().mean().item() == pytest.approx(expected, rel=1e-10)
        assert two.layers[i].term().mean().item() == pytest.approx(2 * expected, rel=1e-10)


def test_only_the_top_term_is_analytic():
    """The top layer's term is a KL, the same at every sample of z_L; those below are taken at the samples."""
    _, _, terms = value_of(TWO)
    assert terms.layers[0].kl is None
    top = terms.layers[1]
    assert torch.equal(top.term(), top.kl.sum(-1))
    of_noise = (top.log_q - top.log_p)[0, 0].view(2, 2)  # (noise of z_1, noise of z_2)
    assert not torch.allclose(of_noise[:, 0], of_noise[:, 1])  # sampled, it depends on the noise of z_2
    analytic = top.term()[0, 0].view(2, 2)
    torch.testing.assert_close(analytic[:, 0], analytic[:, 1])
    assert of_noise.mean().item() == pytest.approx(analytic.mean().item(), rel=1e-10)


@pytest.mark.parametrize(("rho", "samples"), [(1.0, 1), (0.7, 3)])
def test_the_gradient_is_that_of_the_closed_form(rho, samples):
    """For every number of the model, so also through z, μ and σ of the smoothing; central differences."""
    value, stack, _ = value_of(THREE, rho, samples)
    grads = dict(zip(stack.params, torch.autograd.grad(value.sum(), list(stack.params.values())), strict=True))

    def weight(name):  # relu(z) and relu(−z) carry w and −w
        plus, minus = grads[f"{name}.mean.weight"].flatten().tolist()
        return plus - minus

    def deviation(name):  # ds / d bias = sigmoid of softplus's argument = 1 − exp(−s)
        bias = stack.params[f"{name}.deviation.bias"].item()
        return grads[f"{name}.deviation.bias"].item() / torch.sigmoid(torch.tensor(bias + np.log(np.e - 1))).item()

    def slope(field, i=None):
        def at(h):
            old = getattr(THREE, field)
            new = old + h if i is None else (*old[:i], old[i] + h, *old[i + 1 :])
            return replace(THREE, **{field: new}).objective(X, rho, samples)

        return (at(1e-5) - at(-1e-5)) / 2e-5

    assert weight("generative.1") == pytest.approx(slope("a"), rel=1e-6)
    for i in range(3):
        assert weight(f"inference.{i + 1}") == pytest.approx(slope("b", i), rel=1e-6)
        assert deviation(f"inference.{i + 1}") == pytest.approx(slope("s", i), rel=1e-6)
    for i in range(2):
        assert weight(f"generative.{i + 2}") == pytest.approx(slope("w", i), rel=1e-6)
        assert deviation(f"generative.{i + 2}") == pytest.approx(slope("tau", i), rel=1e-6)


@pytest.mark.parametrize(("rho", "samples", "printed"), [(1.0, 5, -1.7908), (0.7, 5, -1.6761), (0.9, 3, -1.7552)])
def test_a_training_step_sees_that_objective_with_its_own_noise(rho, samples, printed):
    """`Stack.train` over 50,000 equal images: the mean objective is the printed number within its Monte-Carlo error."""
    images = np.full((50_000, 1), X)
    objective = "vae" if rho == 1.0 else "ou"
    stack = stack_of(TWO, images, objective=objective, rho=rho, smoothing_samples=samples, batch_size=50_000)
    stack.train(1)
    assert stack.mean_objective()[0] == pytest.approx(printed, abs=0.022)
