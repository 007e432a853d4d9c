"""Weight normalisation, and where it starts: a first pass of each cell's own minibatch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.cell import Cell, cell_size
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.draws.draws import Purpose
from models.kernels import convolution, plain
from models.networks.convolution_spec import Conv
from models.networks.residual import FIRST_DEVIATION, MIN_DEVIATION, FirstPass, StackedConv
from models.stack.stack import Stack

FIELDS = {
    "data": "digits", "network": "resnet", "latents": "2x4x4-3x2x2", "maps": 4, "normalization": "weight",
    "batch_size": 10, "precision": "float64",
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Grey images of 8×8 pixels."""
    grey = np.random.default_rng(0).integers(0, 17, (60, 64)).astype(np.uint8)
    return Dataset("grey", grey[:40], grey[40:50], grey[50:], 16, ImageShape(1, 8, 8))


def cells(count: int = 1, **fields: object) -> list[Cell]:
    return [Cell(**(FIELDS | {"seed": seed} | fields)) for seed in range(count)]


def first_pass_noise(stack: Stack) -> list[torch.Tensor]:
    latents = enumerate(stack.network.latents, start=1)
    return [stack.draws.normal(Purpose.FIRST_PASS, (1, stack.batch_size, n), layer=i) for i, n in latents]


@pytest.mark.parametrize("skip", ["none", "all"])
def test_on_the_first_minibatch_every_map_has_mean_0_and_the_deviation_said(digits, skip, monkeypatch):
    """Of each cell, of what each convolution puts out, with that pass's noise; and not on another minibatch."""
    stack, seen = Stack(cells(2, skip=skip), digits), []
    convolve = convolution.convolve
    monkeypatch.setattr(convolution, "convolve", lambda *a, **b: seen.append(convolve(*a, **b)) or seen[-1].clone())

    def moments(step: int):
        seen.clear()
        with torch.no_grad():
            stack.network.terms(stack.params, stack.minibatch(step), first_pass_noise(stack))
        each = [out.view(len(out), 2, -1, *out.shape[2:]) for out in seen]  # (R, C, O, H, W)
        return [out.mean((0, 3, 4)) for out in each], [out.std((0, 3, 4), correction=0) for out in each]

    network = stack.network
    order = [*network.inference, *(network.generative[i] for i in (1, 0))]
    wanted = [FIRST_DEVIATION[conv.shape.kind] for each in order for conv in each.convs]
    means, deviations = moments(0)
    assert len(means) == len(wanted) == len({id(conv) for each in order for conv in each.convs})
    for mean, deviation, g in zip(means, deviations, wanted, strict=True):
        assert mean.abs().max() < 1e-12
        torch.testing.assert_close(deviation, torch.full_like(deviation, g), rtol=1e-10, atol=0)
    means, deviations = moments(1)
    assert max(float(mean.abs().max()) for mean in means) > 0.01


def test_the_start_is_a_function_of_seed_data_and_architecture_alone(digits):
    """Not of ρ, β or the cells beside it; other seeds have other starts, and a checkpoint brings back its own."""
    alone = Stack(cells(), digits)
    others = cells(3, objective="ou", rho=0.7, kl_weight=0.5)
    smoothed = Stack(others, digits)
    for name, param in alone.params.items():
        assert torch.equal(param[0], smoothed.params[name][0]), name
    lengths = smoothed.params["inference.1.0.length"]
    assert not torch.equal(lengths[0], lengths[1]) and (lengths != 0).all()
    alone.train(3)
    fresh = Stack(cells(), digits)
    fresh.load({name: tensor.clone() for name, tensor in alone.tensors().items()}, 3)
    assert all(torch.equal(param, alone.params[name]) for name, param in fresh.params.items())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_cell_has_the_same_bits_alone(digits, precision):
    three = cells(3, precision=precision, objective="ou", rho=0.8, smoothing_samples=2)
    together = Stack(three, digits)
    together.train(3)
    for place, cell in enumerate(three):
        alone = Stack([cell], digits)
        alone.train(3)
        theirs = together.tensors()
        assert all(torch.equal(each[0], theirs[key][place]) for key, each in alone.tensors().items())


def test_weights_have_the_length_said_whatever_their_direction(digits):
    """A convolution is that of g v/‖v‖: v times a number changes nothing, g times a number all."""
    stack = Stack(cells(), digits)
    conv = stack.network.inference[1].convs[1]
    h = torch.randn(6, 4, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        before = conv(stack.params, h)
        weight, bias = stack.params[f"{conv.name}.weight"], stack.params[f"{conv.name}.bias"]
        norm = weight[0].flatten(1).norm(dim=1)[:, None, None, None]
        length = stack.params[f"{conv.name}.length"][0][:, None, None, None]
        expected = torch.nn.functional.conv2d(h, length * weight[0] / norm, bias[0], padding=1)
        torch.testing.assert_close(before, expected)
        weight.mul_(3.0)
        torch.testing.assert_close(conv(stack.params, h), before)
        stack.params[f"{conv.name}.length"].mul_(2.0)
        torch.testing.assert_close(
            conv(stack.params, h) - bias.view(1, -1, 1, 1), 2 * (before - bias.view(1, -1, 1, 1))
        )


def test_a_map_that_sees_a_constant_starts_with_a_finite_length():
    """Its deviation counts as `MIN_DEVIATION`; what is come by again is not set again."""
    conv = StackedConv("c", Conv("first", 1, 3, 4), 1, 0, "inference", normalized=True)
    params = FirstPass({each.name: torch.ones(1, *each.shape) for each in conv.parameters()})
    params["c.weight"][:] = 0.0
    params["c.weight"][:, :, :, 1, 1] = 1.0
    out = conv(params, torch.full((5, 1, 2, 2), 7.0))
    assert torch.allclose(params.found["c.length"], torch.full((1, 3), 1.0 / MIN_DEVIATION))
    assert torch.allclose(out, torch.zeros_like(out), atol=1e-4)
    conv(params, torch.randn(5, 1, 2, 2))
    assert torch.allclose(params["c.length"], torch.full((1, 3), 1.0 / MIN_DEVIATION))


def test_the_size_counts_lengths(digits, monkeypatch):
    monkeypatch.setattr(convolution, "convolve", plain.convolve)
    (cell,) = cells()
    stack = Stack([cell], digits)
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == counted.get_total_flops()
    assert cell_size(cell).parameters == stack.parameters_per_cell
    assert cell.architecture == "resnet 2x4x4-3x2x2 (4 maps, 1 block) weight norm"
