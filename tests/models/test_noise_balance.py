"""What the gradient's noise costs and what smoothing pays: the laws behind a prediction; and curvatures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.data.digits import load
from models.evaluation.noise_balance import MINIBATCHES, noise_cost, pay
from models.evaluation.stability import largest_curvature
from models.evaluation.top_layer import Minibatch, gradient, top_parameters
from models.objectives.smoothing import Smoothing
from models.stack.stack import Stack


def cell(**more: object) -> Cell:
    small = {"data": "digits", "latents": "4-3", "hidden": "4", "batch_size": 16, "seed": 0}
    return Cell.of(small | more)


@pytest.mark.parametrize("curvature", [0.1, 1.0])
def test_adam_loses_a_quarter_of_rate_times_noise_whatever_the_curvature(curvature):
    """500 parameters, each by itself at the bottom of h θ²/2, gradients of standard deviation σ, torch's Adam."""
    rng = torch.Generator().manual_seed(0)
    rate, noise = 1e-3, 5.0
    theta = torch.zeros(500, requires_grad=True)
    adam = torch.optim.Adam([theta], lr=rate)
    lost = []
    relaxation = noise / (rate * curvature)
    steps = int(min(6 * relaxation, 6_000))
    if relaxation > 1_000:  # begin with the law's variance: it should stay
        theta.data = torch.randn(500, generator=rng) * (rate * noise / (2 * curvature)) ** 0.5
    for step in range(steps):
        theta.grad = curvature * theta.detach() + noise * torch.randn(500, generator=rng)
        adam.step()
        if step > steps // 2:
            lost.append(float((curvature * theta.detach().square() / 2).mean()))
    assert np.mean(lost) == pytest.approx(rate * noise / 4, rel=0.12)


def test_what_smoothing_pays_is_the_best_smoothed_objective_of_a_linear_pair():
    """Maximised numerically over slopes and deviations of p and q: −½ log c₁ for two Gaussian units."""
    from scipy.optimize import minimize

    rho, samples = 0.9, 5
    c1 = rho**2 + (1 - rho**2) / samples

    def loss(v: np.ndarray) -> float:
        a, log_s, b, log_d = v  # z' of N(0, 1), q = N(a z', s²), p = N(b mean z, d²)
        rest = 1 - 2 * a * b + b**2 * (a**2 + c1 * np.exp(2 * log_s))
        log_p = -0.5 * np.log(2 * np.pi) - log_d - rest / (2 * np.exp(2 * log_d))
        kl = 0.5 * (a**2 + np.exp(2 * log_s) - 1) - log_s
        return -(log_p - kl)

    dead = 0.5 * np.log(2 * np.pi) + 0.5
    found = min(minimize(loss, [0.9, -3.0, 0.9, -2.0], method="Nelder-Mead", options={"maxiter": 20_000}).fun, dead)
    (expected,) = pay(np.array([rho]), cell(latents="1-1", objective="ou", rho=0.8, smoothing_samples=samples))
    assert dead - found == pytest.approx(expected, rel=0.01)
    assert pay(np.array([1.0]), cell(objective="ou", rho=0.8))[0] == 0.0
    assert pay(np.array([0.5]), cell(objective="ou", rho=0.8, smoothing_samples=1))[0] == 0.0
    (wide,) = pay(np.array([rho]), cell(latents="9-3", objective="ou", rho=0.8, smoothing_samples=samples))
    assert wide == pytest.approx(3 * expected)


def test_the_cost_is_the_sum_of_the_deviations_of_minibatch_gradients():
    """The same numbers by torch's autograd over the whole network, one minibatch after the other."""
    stack = Stack([cell(learning_rate=0.004, precision="float64")], load())
    stack.train(20)
    before = {name: tensor.clone() for name, tensor in stack.params.items()}
    found = noise_cost(stack, [1.0, 0.9], 3, seed=7, batch=2)
    names = top_parameters(stack)
    assert names and all(".2." in name for name in names)
    for place, rho in enumerate((1.0, 0.9)):
        gradients = []
        for number in range(2 * MINIBATCHES, 3 * MINIBATCHES):
            data = Minibatch(stack, stack_draws(stack, 7), number, 16, 3)
            smoothing = Smoothing(torch.full((1, 1, 1, 1), rho, dtype=torch.float64), data.smooth)
            terms = stack.network.terms(stack.params, data.x, data.noise, None if rho == 1 else smoothing)
            value = (terms.log_px - sum(layer.term() for layer in terms.layers)).mean()
            whole = torch.autograd.grad(value, list(stack.params.values()))
            picked = [g.flatten() for name, g in zip(stack.params, whole, strict=True) if name in names]
            gradients.append(torch.cat(picked))
        expected = 0.001 * torch.stack(gradients).std(0).sum()
        torch.testing.assert_close(found[place], expected)
    assert all(torch.equal(tensor, stack.params[name]) for name, tensor in before.items())


def stack_draws(stack: Stack, seed: int):
    from models.draws.draws import draws_on

    return draws_on(stack.device, [seed], stack.dtype)


@pytest.mark.parametrize(("rho", "samples"), [(1.0, 5), (0.8, 5), (0.8, 1), (0.5, 5)])
def test_a_dead_linear_layer_has_the_curvature_of_the_theory(rho, samples):
    """z₁ are independent N(0, 1) units, the maps above them linear and dead: κ = 1, so λ is 0 where nothing is smoothed
    and −(1 + c₁)/2 + √((1 − c₁)²/4 + 1) elsewhere."""
    stack = Stack(
        [cell(network="null_mlp", latents="2-2", hidden="2", activation="identity", precision="float64")], load()
    )
    with torch.no_grad():
        for name, tensor in stack.params.items():
            tensor.zero_()
            if name.endswith(".0.weight"):
                tensor[0] = torch.eye(2)
    c1 = rho**2 + (1 - rho**2) / samples
    expected = -(1 + c1) / 2 + ((1 - c1) ** 2 / 4 + 1) ** 0.5
    (found,) = largest_curvature(stack, [rho], samples, seed=3, batch=0, images=20_000)
    assert found == pytest.approx(expected, abs=0.03)


def test_a_curvature_is_a_second_difference_of_the_objective():
    """Along its own direction the gradient changes at the rate λ: no direction does faster, on the same draws."""
    stack = Stack([cell(precision="float64")], load())
    stack.train(50)
    (found,) = largest_curvature(stack, [0.9], 3, seed=1, batch=0, images=300)
    names, data = top_parameters(stack), Minibatch(stack, stack_draws(stack, 1), 0, 300, 3)
    at = {name: stack.params[name].detach() for name in names}
    sizes = [tensor.numel() for tensor in at.values()]

    def column(place: int) -> torch.Tensor:
        ahead, behind = torch.zeros(sum(sizes), dtype=torch.float64), torch.zeros(sum(sizes), dtype=torch.float64)
        ahead[place], behind[place] = 1e-4, -1e-4
        ends = [
            gradient(
                stack,
                data,
                0.9,
                names,
                {n: at[n] + p.view_as(at[n]) for n, p in zip(names, v.split(sizes), strict=True)},
            )
            for v in (ahead, behind)
        ]
        return (ends[0] - ends[1]) / 2e-4

    hessian = torch.stack([column(place) for place in range(sum(sizes))])
    assert found == pytest.approx(float(torch.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]), rel=0.02)
    with pytest.raises(ValueError, match="float64"):
        largest_curvature(Stack([cell()], load()), [0.9], 3, seed=1, batch=0)
