"""The compiled functions and their torch twins: right, equal to rounding, and the same wherever a number lies."""

from __future__ import annotations

import pytest
import torch

from models.cell import Cell
from models.kernels import compiled, elementwise
from models.kernels.elementwise import bernoulli, mean_softplus
from models.stack.stack import Stack
from tests.models.test_stack import dataset  # noqa: F401

needs_compiler = pytest.mark.skipif(compiled.library() is None, reason="no C compiler here")
LEVELS = torch.cat([torch.linspace(-12, 12, 5000), torch.tensor([-1e30, -90.0, -87.1, -1e-20, 0.0, 1e-20, 90.0, 1e30])])


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """Both ways to compute, where there are two."""
    if request.param == "torch":
        monkeypatch.setattr(compiled, "library", lambda: None)
    elif compiled.library() is None:
        pytest.skip("no C compiler here")
    return request.param


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 2


def test_tanh_and_its_gradient(way):
    """Within 4e-7 of the true value of tanh(x + b); the bias's gradient is the sum over rows."""
    x, weight, bias = LEVELS.view(1, -1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1)
    y = elementwise.affine_activation(x, weight, bias, "tanh")
    assert (y.double() - LEVELS.double().view_as(y).tanh()).abs().max() < 4e-7
    x, weight, bias, grad = draw(3, 21, 5), draw(3, 5, 19), draw(3, 19), draw(3, 21, 19)
    y = elementwise.affine_activation(x, weight, bias, "tanh")
    torch.testing.assert_close(y, torch.tanh(x @ weight + bias.unsqueeze(1)), rtol=0, atol=1e-6)
    back, of_bias = grad.clone(), torch.empty(3, 19)
    elementwise.activation_gradient(back, y, "tanh", of_bias)
    torch.testing.assert_close(back, grad * (1 - y * y), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(of_bias, back.sum(1), rtol=1e-5, atol=1e-5)


def test_softplus_and_the_pixels(way):
    """Values to 1e-6, slopes to 3e-7, at any size of the argument; averages over samples as of the single ones."""
    for average in (False, True):
        raw = LEVELS.view(1, 4, -1, 1)
        value, slope = mean_softplus(raw, average, 0.5, 1e-6)
        true = torch.nn.functional.softplus(raw.double() + 0.5, threshold=50.0)
        wanted = true.mean(1, keepdim=True) if average else true
        torch.testing.assert_close(value.double(), wanted + 1e-6, rtol=1e-6, atol=1e-7)
        share = 4 if average else 1
        torch.testing.assert_close(slope.double() * share, torch.sigmoid(raw.double() + 0.5), rtol=0, atol=3e-7)
    logits, x = draw(2, 3, 4, 37) * 5, (draw(2, 1, 4, 37) > 0).float()
    value, slope = bernoulli(x, logits)
    true = torch.distributions.Bernoulli(logits=logits.double()).log_prob(x.double().expand_as(logits)).sum(-1)
    torch.testing.assert_close(value.double(), true, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope.double(), x.double() - torch.sigmoid(logits.double()), rtol=0, atol=3e-7)


def test_what_is_not_a_number_stays_so(way):
    """A diverged cell must show."""
    bad = torch.tensor([float("nan")]).view(1, 1, 1, 1)
    assert mean_softplus(bad, False, 0.5, 1e-6)[0].isnan().all()
    assert bernoulli(torch.zeros(1, 1, 1, 1), bad)[0].isnan().all()
    assert elementwise.affine_activation(bad[0], torch.ones(1, 1, 1), torch.zeros(1, 1), "tanh").isnan().all()


@needs_compiler
def test_a_number_is_the_same_wherever_it_lies():
    """Bit for bit, at any alignment and in a row of any length: full vectors and remainders agree."""
    library, numbers, zeros = compiled.library(), draw(80), torch.zeros(80)

    def results(first, length):
        """tanh, softplus and its slope, and the pixels' slope, of numbers that lie as they do in `numbers`."""
        places = [numbers.clone() for _ in range(6)]
        h, raw, out, slope, logits, pixel = (each[first : first + length].data_ptr() for each in places)
        library.bias_tanh(h, zeros.data_ptr(), 1, 1, length, 0)
        library.mean_softplus(raw, out, slope, 1, 1, length, 0.5, 1e-6)
        total = torch.empty(1)
        library.bernoulli(logits, zeros.data_ptr(), total.data_ptr(), pixel, 1, 1, 1, length, 0)
        kept = [places[i][first : first + length] for i in (0, 2, 3, 5)]
        return torch.stack(kept)

    single = torch.cat([results(i, 1) for i in range(80)], dim=1)
    assert not torch.equal(single[0], numbers)
    for first in range(17):
        for length in (1, 7, 15, 16, 17, 33, 63):
            assert torch.equal(results(first, length), single[:, first : first + length])


@needs_compiler
def test_a_step_is_the_same_to_rounding_with_and_without_a_compiler(dataset, monkeypatch):  # noqa: F811
    """From the same draws: the objective to 1e-6 of itself, the gradient to 1e-5 of its norm: float32 has 1e-7."""
    fields = dict(data="digits", latents="5-3-4", hidden="13-9", objective="ou", rho=0.8, seed=0, batch_size=10)
    found = []
    for library in (compiled.library, lambda: None):
        monkeypatch.setattr(compiled, "library", library)
        stack = Stack([Cell(**fields)], dataset)
        stack.train(1)
        found.append((stack.mean_objective()[0], stack.optimizer.first.clone()))
    (fast, fast_gradient), (plain, plain_gradient) = found
    assert fast == pytest.approx(plain, rel=1e-6)
    assert (fast_gradient - plain_gradient).norm() < 1e-5 * plain_gradient.norm()
    assert not torch.equal(fast_gradient, plain_gradient)  # or nothing was compared


def test_without_a_compiler_or_with_a_broken_one_torch_does_it(monkeypatch, tmp_path):
    """`SWEEPER_CC` empty, unknown, or a program that fails."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    for compiler in ("", "no-such-compiler", str(broken)):
        monkeypatch.setenv("SWEEPER_CC", compiler)
        compiled.library.cache_clear()
        assert compiled.library() is None
    monkeypatch.undo()
    compiled.library.cache_clear()


@needs_compiler
def test_it_is_compiled_once(monkeypatch, tmp_path):
    """The second process finds the file; it is private to its owner's cache."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    compiler = compiled.compiler()
    first = compiled._built(compiler)
    made = first.stat().st_mtime_ns
    assert compiled._built(compiler) == first and first.stat().st_mtime_ns == made
    assert list(first.parent.iterdir()) == [first]
    assert first.parent.stat().st_mode & 0o77 == 0
