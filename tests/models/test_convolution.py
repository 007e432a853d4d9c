"""Convolutions of a stack: what torch computes cell after cell, and the same bits in every stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.kernels import convolution, plain
from models.kernels.activations import elu
from models.kernels.convolution import convolve, narrowed, stacked, unstacked
from models.kernels.products import precision

# maps in and out, positions a side, kernel, stride, rows
SHAPES = [
    (1, 8, 8, 5, 2, 10),
    (1, 16, 8, 5, 2, 32),
    (3, 16, 8, 5, 2, 8),
    (4, 8, 4, 3, 1, 10),
    (8, 8, 4, 3, 1, 160),
    (8, 8, 7, 3, 1, 7),
    (16, 16, 7, 3, 1, 32),
    (16, 16, 14, 3, 2, 16),
    (8, 1, 8, 3, 1, 32),
    (16, 3, 8, 3, 1, 8),
    (20, 20, 4, 3, 1, 16),
]
CELLS = 5
STACKS = ([0], [4], [1, 3], [0, 2, 4], [4, 0])


def tensors(inputs, outputs, side, kernel, stride, rows, dtype=torch.float32) -> tuple[Tensor, ...]:
    """Of `CELLS` cells: x (C, R, I, H, W), weight, bias, and a gradient of what comes out, (C, R, O, H', W')."""
    source = torch.Generator().manual_seed(0)
    out = -(-side // stride)
    shapes = (CELLS, rows, inputs, side, side), (CELLS, outputs, inputs, kernel, kernel), (CELLS, outputs)
    shapes = *shapes, (CELLS, rows, outputs, out, out)
    return tuple(torch.randn(shape, generator=source, dtype=torch.float64).to(dtype) for shape in shapes)


def side_by_side(x: Tensor) -> Tensor:
    """(C, R, M, H, W) → (R, C M, H, W)."""
    return x.transpose(0, 1).flatten(1, 2)


def passes(function, x, weight, bias, gradient, stride) -> Iterator[Tensor]:
    """What comes out and the gradients of x, weight and bias, each cell by cell."""
    x, weight, bias = (each.detach().clone().requires_grad_() for each in (x, weight, bias))
    out = function(side_by_side(x), weight, bias, stride)
    found = torch.autograd.grad(out, (x, weight, bias), side_by_side(gradient))
    yield out.detach().unflatten(1, (len(x), -1)).transpose(0, 1)
    yield from found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cells", [1, 3])
def test_it_is_the_convolution_of_each_cell(shape, cells):
    given = [each[:cells] for each in tensors(*shape, dtype=torch.float64)]
    for found, expected in zip(
        passes(convolve, *given, shape[4]), passes(plain.convolve, *given, shape[4]), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "bfloat16 between", "tf32"])
def test_a_cell_has_the_same_bits_in_every_stack(shape, name):
    """Alone, and in stacks of two, three and five, at any place: forward, and all gradients; in bfloat16 also of maps
    that are in it already, as between convolutions."""
    given = tensors(*shape, dtype=torch.float64 if name == "float64" else torch.float32)
    with precision(name.split()[0]):
        if name == "bfloat16 between":
            x, weight, bias, gradient = given
            given = narrowed(x), weight, bias, narrowed(gradient)
        of_five = list(passes(convolve, *given, shape[4]))
        for places in STACKS:
            some = passes(convolve, *(each[places] for each in given), shape[4])
            assert all(torch.equal(a, b[places]) for a, b in zip(some, of_five, strict=True)), places


@pytest.mark.parametrize("native", [False, True])
def test_bfloat16_reads_operands_as_said(native, monkeypatch):
    """Rounded operands, sums in float32; where the processor multiplies bfloat16, results are rounded too."""
    monkeypatch.setattr(convolution, "multiplies_bfloat16", lambda device: native)
    x, weight, bias, gradient = tensors(4, 8, 4, 3, 1, 10)
    if native:
        bias = bias.bfloat16().float()
    with precision("bfloat16"):
        out, of_x, of_weight, _ = passes(convolve, x, weight, bias, gradient, 1)
    assert out.dtype == of_x.dtype == of_weight.dtype == torch.float32
    assert not (of_weight == of_weight.bfloat16().float()).all()  # of few maps their gradient is not rounded
    rounded = [each.bfloat16().double() for each in (x, weight)]
    exact = next(passes(plain.convolve, *rounded, bias.double(), gradient.double(), 1))
    error = (out.double() - exact).abs() / exact.abs()
    assert error.max() < (2**-8 if native else 1e-3)
    assert (out == out.bfloat16().float()).all() == native
    unrounded = next(passes(plain.convolve, x.double(), weight.double(), bias.double(), gradient.double(), 1))
    assert ((out.double() - unrounded).abs() / unrounded.abs()).mean() > 1e-3


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] < 16])
@pytest.mark.parametrize("cells", [1, 3])
@pytest.mark.parametrize("in_c", [False, True])
def test_the_gradient_of_few_maps_is_exact_to_float32(shape, cells, in_c, monkeypatch):
    """In bfloat16, from operands that are rounded; in C and in torch."""
    if not in_c:
        monkeypatch.setattr(convolution.compiled, "library", lambda: None)
    elif convolution.compiled.library() is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(convolution, "multiplies_bfloat16", lambda device: True)
    x, weight, bias, gradient = (each[:cells].bfloat16() for each in tensors(*shape))
    exact = list(passes(plain.convolve, x.double(), weight.double(), bias.double(), gradient.double(), shape[4]))
    with precision("bfloat16"):
        found = list(passes(convolve, x, weight.float(), bias.float(), gradient, shape[4]))
    for mine, expected in zip(found[2:], exact[2:], strict=True):
        assert mine.dtype is torch.float32
        torch.testing.assert_close(mine.double(), expected, rtol=1e-5, atol=2e-5 * float(expected.abs().max()))


def test_the_gradient_of_few_maps_without_zeros_around(monkeypatch):
    """As of gated layers, whose kernels are not as high as wide."""
    monkeypatch.setattr(convolution, "multiplies_bfloat16", lambda device: True)
    x, weight, gradient = torch.randn(7, 3 * 5, 9, 10), torch.randn(3, 4, 5, 2, 3), torch.randn(7, 3 * 4, 8, 8)
    x, weight, gradient = (each.bfloat16() for each in (x, weight, gradient))
    weight, bias = weight.float().requires_grad_(), torch.zeros(3, 4).requires_grad_()
    with precision("bfloat16"):
        found = torch.autograd.grad(convolve(x, weight, bias, around=False), (weight, bias), gradient)
    out = torch.conv2d(x.double(), weight.double().flatten(0, 1), bias.double().flatten(), groups=3)
    expected = torch.autograd.grad(out, (weight, bias), gradient.double())
    for mine, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), exact.double(), rtol=1e-5, atol=1e-4)


def test_no_gradient_is_computed_that_nobody_asks_for():
    """Of images there is none, and of detached weights neither."""
    x, weight, bias, gradient = tensors(4, 8, 4, 3, 1, 10)
    out = convolve(side_by_side(x), weight, bias.requires_grad_())
    (found,) = torch.autograd.grad(out, bias, side_by_side(gradient))
    torch.testing.assert_close(found, gradient.sum((1, 3, 4)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "tf32"])
def test_the_convolution_of_elu_has_the_bits_of_both(name):
    """Forward, and all gradients; also where x is in bfloat16 already, and lies in another order."""
    x, weight, bias, gradient = tensors(8, 8, 4, 3, 1, 10, torch.float64 if name == "float64" else torch.float32)
    narrow = narrowed if name == "bfloat16" else torch.Tensor.clone

    def both(x, weight, bias, stride):
        return convolve(elu(narrow(x)), weight, bias, stride)

    def at_once(x, weight, bias, stride):
        return convolve(narrow(x), weight, bias, stride, of_elu=True)

    with precision(name):
        for given in ((x, weight, bias, narrow(gradient)), (x[:1], weight[:1], bias[:1], narrow(gradient[:1]))):
            for found, expected in zip(passes(at_once, *given, 1), passes(both, *given, 1), strict=True):
                assert torch.equal(found, expected)


def test_flat_rows_go_in_and_come_out_map_by_map():
    """`stacked` puts samples × batch in rows and the maps of cells side by side; `unstacked` undoes it, in parts."""
    z = torch.randn(3, 2, 5, 4 * 6)
    h = stacked(z, 2, 3)
    assert h.shape == (10, 12, 2, 3) and h.is_contiguous(memory_format=torch.channels_last)
    cell, sample, image, place, i, j = 2, 1, 3, 3, 1, 2
    assert h[sample * 5 + image, cell * 4 + place, i, j] == z[cell, sample, image, place * 6 + i * 3 + j]
    assert torch.equal(unstacked(h, 3, 2)[0], z)
    first, second = unstacked(h, 3, 2, parts=2)
    assert torch.equal(torch.cat([first, second], -1), z) and first.is_contiguous() and second.is_contiguous()
