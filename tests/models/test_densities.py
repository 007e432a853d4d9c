"""Densities, KL and the two functions with gradients of their own, against torch and at the ends of their range."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

from models.kernels import densities, plain
from models.kernels.densities import (
    SIGMA_FLOOR,
    bernoulli_log_prob,
    normal_kl,
    normal_log_prob,
    sigma,
)

EXTREMES = torch.tensor([-1e4, -745.0, -30.0, -1e-9, 0.0, 1e-9, 30.0, 745.0, 1e4], dtype=torch.float64)


def gaussian(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, mean, deviation from 0.01 to 100, float64."""
    generator = torch.Generator().manual_seed(0)
    x, mean, log = (torch.randn(3, *shape, generator=generator, dtype=torch.float64)).unbind()
    return x * 3, mean, (2 * log).exp().clamp(0.01, 100.0)


def test_normal_log_prob_is_that_of_torch():
    """Summed over features only."""
    x, mean, deviation = gaussian(2, 3, 4, 5)
    expected = Normal(mean, deviation).log_prob(x).sum(-1)
    torch.testing.assert_close(normal_log_prob(x, mean, deviation), expected, rtol=1e-12, atol=1e-12)


def test_normal_log_prob_broadcasts_samples_and_scalars():
    """The forms that the network uses: one image against many samples, a scalar deviation, N(0, 1)."""
    x, mean, _ = gaussian(2, 6, 4, 5)
    one = x[:, :1]
    expected = Normal(mean, 0.3).log_prob(one).sum(-1)
    found = normal_log_prob(one, mean, torch.full((2, 1, 1, 1), 0.3, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    found = normal_log_prob(x, x.new_zeros(()), x.new_ones(()))
    torch.testing.assert_close(found, Normal(0.0, 1.0).log_prob(x).sum(-1), rtol=1e-12, atol=1e-12)


def test_normal_kl_is_that_of_torch_unit_by_unit():
    """Nats, not summed; zero for q = N(0, 1)."""
    _, mean, deviation = gaussian(3, 7)
    expected = kl_divergence(Normal(mean, deviation), Normal(torch.zeros_like(mean), torch.ones_like(mean)))
    torch.testing.assert_close(normal_kl(mean, deviation), expected, rtol=1e-12, atol=1e-12)
    assert normal_kl(torch.zeros(2), torch.ones(2)).tolist() == [0.0, 0.0]


def test_bernoulli_log_prob_is_that_of_torch():
    """Logits, not probabilities; summed over pixels; one image against many samples."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64) * 5
    x = (torch.rand(2, 1, 4, 5, generator=generator) < 0.5).double()
    expected = Bernoulli(logits=logits).log_prob(x.expand_as(logits)).sum(-1)
    torch.testing.assert_close(bernoulli_log_prob(x, logits), expected, rtol=1e-12, atol=1e-12)


def test_sigma_is_exact_and_finite_everywhere():
    """Softplus with the floor, and its gradient the sigmoid, in both precisions."""
    shift = math.log(math.e - 1)
    for dtype in (torch.float64, torch.float32):
        raw = (EXTREMES - shift).to(dtype).requires_grad_()
        y = sigma(raw)
        (slope,) = torch.autograd.grad(y.sum(), raw)
        x = raw.detach() + shift
        torch.testing.assert_close(y, F.softplus(x, threshold=50.0) + SIGMA_FLOOR)
        torch.testing.assert_close(slope, torch.sigmoid(x), rtol=2e-6, atol=1e-30)
        assert torch.isfinite(y).all() and torch.isfinite(slope).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite(dtype):
    """Logits of ±10,000: the log-probability is 0 or −10,000, and the gradient x − p."""
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype)
    each = bernoulli_log_prob(x.view(1, 1, 4, 1), logits.view(1, 1, 4, 1))
    assert each.flatten().tolist() == [0.0, 0.0, -1e4, -1e4]
    assert torch.autograd.grad(each.sum(), logits)[0].tolist() == [0.0, 0.0, -1.0, 1.0]


def test_the_gradients_written_by_hand_are_right():
    """Against finite differences, broadcast over samples as in training."""
    generator = torch.Generator().manual_seed(2)
    raw = torch.randn(3, 4, generator=generator, dtype=torch.float64) * 4
    assert gradcheck(sigma, (raw.clone().requires_grad_(),))
    assert gradcheck(lambda each: sigma(each, average=True), (raw.view(1, 3, 2, 2).clone().requires_grad_(),))
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    x = (torch.rand(2, 1, 4, 5, generator=generator) < 0.5).double()
    assert gradcheck(lambda inputs: bernoulli_log_prob(x, inputs), (logits,))


def test_sigma_starts_at_one_and_never_reaches_zero():
    """σ(0) = 1 to the floor; the floor holds at −∞, where log σ stays finite; σ grows linearly."""
    assert sigma(torch.zeros((), dtype=torch.float64)).item() == pytest.approx(1.0, abs=1.1 * SIGMA_FLOOR)
    low = sigma(torch.tensor([-1e4, -100.0], dtype=torch.float32))
    assert low.tolist() == pytest.approx([SIGMA_FLOOR] * 2) and torch.isfinite(low.log()).all()
    high = sigma(torch.tensor([1e4], dtype=torch.float64)).item()
    assert high == pytest.approx(1e4 + math.log(math.e - 1), rel=1e-9)


@pytest.mark.parametrize("name", ["sigma", "bernoulli_log_prob", "normal_log_prob"])
def test_a_density_and_its_gradients_are_those_of_its_plain_twin(name):
    """Written by hand and by autograd, to 1e-11."""
    x, mean, deviation = gaussian(2, 3, 4, 5)
    tensors = {
        "sigma": [mean],
        "bernoulli_log_prob": [(x > 0).double()[:, :1], mean],
        "normal_log_prob": [x, mean, deviation],
    }[name]
    wanted = [
        t.requires_grad_() for t in tensors if t.is_leaf and not (name == "bernoulli_log_prob" and t is tensors[0])
    ]
    values = [getattr(module, name)(*tensors) for module in (densities, plain)]
    torch.testing.assert_close(*values, rtol=1e-11, atol=1e-11)
    weight = torch.randn_like(values[0])
    gradients = [torch.autograd.grad((weight * value).sum(), wanted) for value in values]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_graph_that_is_kept_gives_its_gradient_again():
    """What a gradient overwrites is not needed any more."""
    raw, x = torch.randn(2, 3, 4, 5, requires_grad=True), torch.rand(2, 1, 4, 5)
    value = (sigma(raw) * bernoulli_log_prob(x, raw).unsqueeze(-1)).sum()
    first, again, last = (torch.autograd.grad(value, raw, retain_graph=kept)[0] for kept in (True, True, False))
    assert torch.equal(first, again) and torch.equal(first, last)


@pytest.mark.parametrize("pixels", [3, 16, 50])
def test_pixels_have_the_same_bits_without_a_gradient(pixels):
    """Evaluations and training agree on log p(x|z)."""
    x, logits = torch.rand(2, 1, 4, pixels), torch.randn(2, 3, 4, pixels, requires_grad=True)
    with torch.no_grad():
        without = bernoulli_log_prob(x, logits)
    assert torch.equal(without, bernoulli_log_prob(x, logits))
