"""Semi-amortised inference: refined numbers of a linear-Gaussian model, gradients through the steps, and evaluation.

The model is x|z ~ N(a z, g²) with a = 1.2, g² = 0.25 at x = 1.3, −0.4, 2; noise ±1 with equal weights integrates its
ELBO exactly, so that F is no estimate.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.cell import Cell
from models.cell.registry import NETWORKS
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.procedures.semi_amortized import refined
from models.stack.stack import Stack
from tests.models.planted import LinearGaussian, stack_of
from tests.models.test_contract import EXAMPLES, cells_of

MODEL = LinearGaussian(a=1.2, gamma=0.5, b=(0.0,), s=(1.0,))
X = torch.tensor([1.3, -0.4, 2.0], dtype=torch.float64).view(1, 1, 3, 1)
MEANS = torch.tensor([0.923077, -0.284024, 1.420118], dtype=torch.float64)  # of the posterior, and its log variance
LOG_VARIANCE, LOG_P = -1.911023, torch.tensor([-1.681303, -1.228640, -2.364735], dtype=torch.float64)


def corners(_: int = 0) -> list[Tensor]:
    """Noise ±1 of the one layer, (1, 2, 3, 1)."""
    return [torch.tensor([1.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 3, 1)]


def planted(**fields: object) -> Stack:
    return stack_of(MODEL, np.zeros((4, 1)), procedure="semi_amortized", svi_rate=0.1, **fields)


def start(means: list[float], log_variances: list[float]) -> list[tuple[Tensor, Tensor]]:
    """λ₀, with gradients."""
    mean, log_variance = (torch.tensor(each, dtype=torch.float64).view(1, 1, 3, 1) for each in (means, log_variances))
    return [(mean.requires_grad_(), (0.5 * log_variance.requires_grad_()).exp())]


def elbo(stack: Stack, numbers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Of each image, exactly, (3,)."""
    terms = stack.network.terms(stack.params, X, corners(), given=numbers)
    return (terms.log_px.mean(1) - terms.layers[0].term().mean(1)).flatten()


def refine(stack: Stack, first: list[tuple[Tensor, Tensor]], full: bool) -> list[tuple[Tensor, Tensor]]:
    params = stack.params if full else stack.block.apart(())
    return refined(stack.cells, stack.network, params, X, first, corners, torch.ones(1, dtype=torch.float64), full)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    ("steps", "of_mean", "of_log_variance", "gap"),
    [(1, 0.46, 1.6, 1.9), (5, 0.046, 0.57, 0.11), (10, 0.044, 0.20, 0.017), (20, 0.0013, 0.049, 6e-4),
     (50, 4e-8, 0.0012, 4e-7)],
)  # fmt: skip
def test_refinement_goes_to_the_posterior(full, steps, of_mean, of_log_variance, gap):
    """From (0, 0), at η = 0.1 and γ = 0.5: largest errors after so many steps, and of the ELBO below log p(x)."""
    stack = planted(svi_steps=steps)
    ((mean, deviation),) = refine(stack, start([0, 0, 0], [0, 0, 0]), full)
    mean, deviation = mean.detach(), deviation.detach()
    assert float((mean.flatten() - MEANS).abs().max()) == pytest.approx(of_mean, rel=0.06, abs=5e-7)
    assert float((2 * deviation.log() - LOG_VARIANCE).abs().max()) == pytest.approx(of_log_variance, rel=0.06)
    assert float((LOG_P - elbo(stack, [(mean, deviation)]).detach()).max()) == pytest.approx(gap, rel=0.06, abs=6e-7)


def test_a_rate_beyond_the_curvature_diverges():
    """Without momentum from η = 2 / 6.76 on: at 0.3 the mean is 360 off after 200 steps, at 0.29 it is there."""
    off = {}
    for rate in (0.29, 0.3):
        stack = planted(svi_steps=200, svi_momentum=0.0)
        stack.cells = (Cell.of(stack.cells[0].flat() | {"svi_rate": rate}),)
        ((mean, _),) = refine(stack, start([0, 0, 0], [LOG_VARIANCE] * 3), full=False)
        off[rate] = float((mean.detach().flatten() - MEANS).abs().max())
    assert off[0.29] < 0.01 and off[0.3] == pytest.approx(360, rel=0.03)


@pytest.mark.parametrize(
    ("steps", "of_a", "at_fixed", "of_mean"),
    [(1, 2.6156741, -5.608, -0.3434815), (2, -8.3138913, -8.949, -0.1776702), (5, -0.3300143, -0.823, -0.0034872),
     (10, 0.4003586, -0.562, -0.0031211), (20, 0.3296640, 0.235, -3.0e-6)],
)  # fmt: skip
def test_the_gradient_goes_through_all_steps(steps, of_a, at_fixed, of_mean):
    """Of the sum of ELBOs with respect to a and to where the second image begins; `first_order` has that at fixed
    λ_K, and hands the gradient there to λ₀ as it is."""
    stack = planted(svi_steps=steps)
    weight = stack.params["generative.1.mean.weight"]  # a and −a, of relu(z) and relu(−z)
    for full, expected in ((True, of_a), (False, at_fixed)):
        first = start([0.1, 0.2, -0.3], [0.0, -0.5, 0.3])
        numbers = refine(stack, first, full)
        of_weight, of_first = torch.autograd.grad(elbo(stack, numbers).sum(), [weight, first[0][0]])
        found = float(of_weight[0, 0] - of_weight[0, 1])
        assert found == pytest.approx(expected, abs=6e-4 if not full else 2e-6)
        if full:
            assert float(of_first.flatten()[1]) == pytest.approx(of_mean, abs=2e-7)
        else:
            ((mean, deviation),) = [tuple(each.detach().requires_grad_() for each in pair) for pair in numbers]
            (there,) = torch.autograd.grad(elbo(stack, [(mean, deviation)]).sum(), mean)
            torch.testing.assert_close(of_first, there)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in ("null_mlp", "lstm_lm")])  # no q(z₁|x)
@pytest.mark.parametrize("more", [{}, {"chains": 2, "kl_weight": 0.5}])
def test_the_gradient_of_a_training_step_is_that_of_differences(network, more, fitting):
    """Of every kind of map: along a random direction of all parameters, in float64."""
    cells = cells_of("procedure", "semi_amortized", 1, network=network, precision="float64", svi_rate=1e-4,
                     **EXAMPLES["network"][network] | more)  # fmt: skip
    stack = Stack(cells, fitting(network))
    stack.train(3)
    direction = torch.randn(stack.block.values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss() -> Tensor:
        x, step = stack.minibatch(stack.step), stack.step
        noise = [stack.draws.normal(4, (stack.samples, 10, n), step, i) for i, n in enumerate(stack.network.latents, 1)]
        terms = stack.network.terms(stack.params, x, noise, given=stack.procedure._given(stack, x, step))
        return -stack.objective.value(terms, step).sum()

    slope = float((stack.block.differentiate(loss()) * direction).sum())
    ends, step = [], 1e-6
    for sign in (1, -1):
        stack.block.values.add_(direction, alpha=sign * step)
        ends.append(float(loss().detach()))
        stack.block.values.sub_(direction, alpha=sign * step)
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_evaluation_is_at_the_refined_numbers(images):
    """The bounds lie above those at the inference network's numbers, refinement after refinement, stay in order, and
    do not depend on the cells beside; a validation and the mutual information are at them too."""
    elbos = {}
    for steps in (1, 20):
        (cell,) = cells_of("procedure", "semi_amortized", 1, svi_steps=steps, latents="4", hidden="9", svi_rate=0.05)
        stack = Stack([cell], images)
        stack.train(20)
        settings = Evaluation(importance_samples=50, mutual_information=60)
        (row,) = evaluate(stack, settings)
        at_start = Stack([Cell.of(cell.flat() | {"svi_rate": 0.0})], images)
        at_start.load({name: tensor.clone() for name, tensor in stack.tensors().items()}, 20)
        (unrefined,) = evaluate(at_start, settings)
        joint = Stack([Cell.of(cell.flat() | {"procedure": "joint"})], images)
        joint.load({name: tensor.clone() for name, tensor in stack.tensors().items()}, 20)
        (amortised,) = evaluate(joint, settings)
        assert unrefined["elbo"] == pytest.approx(amortised["elbo"], abs=1e-4)
        assert row["elbo"] > unrefined["elbo"] and row["elbo"] < row["iw_bound"] + 3 * row["iw_se_mc"]
        assert row["mutual_information"] != unrefined["mutual_information"]
        elbos[steps] = row["elbo"] - unrefined["elbo"]
    assert elbos[20] > elbos[1]


def test_what_makes_no_sense_is_refused_before_training():
    """In one line that says why."""
    for more, why in (
        ({"posterior": "planar"}, "which a flow's terms do not tell"),
        ({"objective": "ou", "rho": 0.8, "smooth_posterior": "yes"}, "take the place of the inference maps"),
        ({"network": "null_mlp"}, "q\\(z₁|x\\) is N"),
        ({"svi_steps": 0}, "svi_steps should be a whole number in"),
    ):
        with pytest.raises(ValueError, match=why):
            cells_of("procedure", "semi_amortized", 1, **more)


def test_dropout_has_masks_in_inner_updates_and_refinement_steps(fitting):
    """Of their own each, in training; without it training is another."""
    for procedure in ("aggressive", "semi_amortized"):
        values = []
        for dropout in (0.0, 0.5):
            more = (
                EXAMPLES["procedure"][procedure] | EXAMPLES["network"]["lstm"] | {"network": "lstm", "dropout": dropout}
            )
            stack, asked = Stack(cells_of("procedure", procedure, 1, **more), fitting("lstm")), []
            plain = stack.masks
            stack.masks = lambda step, inner=0, plain=plain, asked=asked: asked.append(inner) or plain(step, inner)  # type: ignore[method-assign]
            stack.train(2)
            values.append(stack.block.values.clone())
        assert not torch.equal(*values) and set(asked) >= {1, 2, 3}
