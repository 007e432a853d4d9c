"""ELU and gates: what torch computes, wherever a number stands; in C to torch's bits."""

from __future__ import annotations

import ctypes

import pytest
import torch

from models.kernels import activations, compiled, gated_maps, vectors
from models.kernels.activations import elu

SPECIAL = [0.0, -0.0, 1e-8, -1e-8, -200.0, 200.0, float("inf")]


@pytest.fixture(params=["torch", "C"])
def language(request, monkeypatch):
    """The passes in torch, or those in C."""
    if request.param == "torch":
        monkeypatch.setattr(vectors, "expm1", lambda: None)
        monkeypatch.setattr(vectors, "tanh", lambda: None)
    elif vectors.expm1() is None or vectors.tanh() is None:
        pytest.skip("no C compiler, or a torch that shows other functions")
    return request.param


def without_c(monkeypatch, compute):
    """What is computed without the functions in C."""
    with monkeypatch.context() as without:
        without.setattr(vectors, "expm1", lambda: None)
        without.setattr(vectors, "tanh", lambda: None)
        return compute()


@pytest.mark.skipif(
    compiled.library() is None
    or not torch.backends.mkl.is_available()
    or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="no C compiler, or a torch without MKL or AVX2",
)
def test_torchs_functions_are_found():
    """Where there are a compiler, MKL and AVX2, as on most machines; else the passes in C would not be used at all."""
    assert vectors.expm1() is not None and vectors.tanh() is not None


def test_a_function_of_other_bits_is_not_used():
    """One that rounds the exact value is not torch's."""
    address = ctypes.c_void_p(1)
    assert vectors._if_as_torch(address, lambda x, out, function: out.copy_(x.tanh()), torch.tanh) == 1
    assert vectors._if_as_torch(address, lambda x, out, function: out.copy_(x.double().tanh()), torch.tanh) is None


def test_elu_is_torchs_and_does_not_depend_on_a_numbers_place(language):
    x = torch.cat([torch.randn(1001), torch.tensor(SPECIAL)])
    x.requires_grad_()
    out = elu(x)
    torch.testing.assert_close(out, torch.nn.functional.elu(x), rtol=1e-6, atol=1e-7)
    (slope,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad(torch.nn.functional.elu(x).sum(), x)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-7)
    for first in (0, 3, 20):
        for count in range(1, 70):
            assert torch.equal(elu(x[first : first + count]), out[first : first + count])
    assert torch.isnan(elu(torch.tensor([float("nan")]))).all()


@pytest.mark.skipif(vectors.expm1() is None, reason="no C compiler, or a torch that shows other functions")
@pytest.mark.parametrize("channels_last", [False, True])
def test_elu_in_c_has_the_bits_of_torch(channels_last, monkeypatch):
    """And its gradient, written elsewhere or over the gradient that is given."""
    x = 3.0 * torch.randn(7, 24, 5, 5)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    grad = torch.randn(7, 24, 5, 5)
    y = elu(x)
    assert torch.equal(y, without_c(monkeypatch, lambda: elu(x))) and y.stride() == x.stride()
    expected = without_c(monkeypatch, lambda: activations.elu_gradient(grad, y))
    assert torch.equal(activations.elu_gradient(grad.clone(), y, torch.empty_like(y)), expected)
    own = torch.empty_like(y).copy_(grad)
    assert activations.elu_gradient(own, y) is own and torch.equal(own, expected)


@pytest.mark.parametrize("in_c", [False, True])
def test_elu_of_bfloat16_is_exact_to_its_rounding(in_c, monkeypatch):
    """At every one of its numbers, wherever it stands, in C and in torch; slopes as they follow from the value."""
    if not in_c:
        monkeypatch.setattr(activations.compiled, "library", lambda: None)
    elif activations.compiled.library() is None:
        pytest.skip("no compiler")
    x = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)
    x = x[~x.isnan()].requires_grad_()
    out = elu(x)
    exact = torch.where(x > 0, x.double(), x.double().expm1())
    error = (out.double() - exact).abs()[x.isfinite()] / exact.abs()[x.isfinite()].clamp_min(1e-38)
    assert out.dtype is torch.bfloat16 and error.max() < 1.01 * 2**-8
    grad = torch.linspace(-2, 2, len(x)).bfloat16()
    (slope,) = torch.autograd.grad(out, x, grad, retain_graph=True)
    expected = grad.double() * torch.where(x > 0, 1.0, out.double() + 1.0)
    torch.testing.assert_close(slope.double(), expected, rtol=2**-8, atol=1e-9)
    for first in (0, 3, 20, 30_000):
        for count in (1, 2, 15, 16, 17, 33, 70):
            assert torch.equal(elu(x[first : first + count]), out[first : first + count])
    assert torch.isnan(elu(torch.tensor([float("nan")]).bfloat16())).all()


@pytest.mark.skipif(vectors.tanh() is None, reason="no C compiler, or a torch that shows other functions")
@pytest.mark.parametrize("shape", [(3, 2, 16, 4), (2, 3, 5, 7), (1, 1, 1, 3), (2, 1, 300, 2)])
@pytest.mark.parametrize("more", [False, True])
def test_gates_in_c_have_the_bits_of_torch(shape, more, monkeypatch):
    """Forward and back, of one operand and of the sum of two."""
    rows, cells, units, side = shape
    given = [2.0 * torch.randn(rows, 2 * cells * units, side, side) for _ in range(1 + more)]
    given = [each.contiguous(memory_format=torch.channels_last).requires_grad_() for each in given]
    grad = torch.randn(rows, cells * units, side, side)

    def passes():
        y = gated_maps.gated_maps(given[0], cells, *given[1:])
        return [y, *torch.autograd.grad(y, given, grad)]

    found, expected = passes(), without_c(monkeypatch, passes)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    a, b = sum(given).unflatten(1, (cells, 2, units)).unbind(2)
    torch.testing.assert_close(found[0], (a.tanh() * b.sigmoid()).flatten(1, 2))


def test_no_pass_in_c_hides_operations_from_who_counts_them():
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False):
        assert activations._library(torch.randn(2, 3)) is None


@pytest.mark.parametrize("rows", [1, 5])
def test_one_row_down_is_padding_above(rows):
    """And its gradient the same upwards."""
    a, grad = torch.randn(2, 3, rows, 4, requires_grad=True), torch.randn(2, 3, rows, 4)
    down, padded = gated_maps.one_row_down(a), torch.nn.functional.pad(a, (0, 0, 1, -1))
    assert torch.equal(down, padded)
    found, expected = (torch.autograd.grad(each, a, grad)[0] for each in (down, padded))
    assert torch.equal(found, expected)
