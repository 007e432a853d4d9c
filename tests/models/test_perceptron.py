"""The map and its gradient written by hand, against the formulas written out and differentiated by autograd."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from models.kernels import plain
from models.kernels.perceptron import Perceptron
from models.stack.block import Block

SHAPE = C, S, B, I, O = 3, 4, 5, 6, 3  # noqa: E741


def made(activation="tanh", sizes=(I, 7, 8, O), **more):
    """A map with parameters of three cells, float64, and an input."""
    generator = torch.Generator().manual_seed(0)
    map_ = Perceptron("map", sizes, activation, 1, 0, "inference", **more)
    params = {p.name: torch.randn(C, *p.shape, generator=generator, dtype=torch.float64) for p in map_.parameters()}
    return map_, params, torch.randn(C, S, B, I, generator=generator, dtype=torch.float64)


def plain_map(params, x, activation, average):
    """Mean and deviation of the map of `made`, as the equations read."""
    layers = [[params[f"map.{name}.{kind}"] for name in ("0", "1")] for kind in ("weight", "bias")]
    h = plain.hidden_layers(x, *layers, activation)
    mean, raw = (
        plain.affine(h, params[f"map.{head}.weight"], params[f"map.{head}.bias"]) for head in ("mean", "deviation")
    )
    return mean.mean(1, keepdim=True) if average else mean, plain.sigma(raw, average)


@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "elu", "identity"])
@pytest.mark.parametrize("average", [False, True])
def test_a_map_and_its_gradients_are_those_of_the_equations(activation, average):
    """Values and the gradient of every tensor and of x, to 1e-12: the average over samples of the linear head too."""
    map_, params, x = made(activation)
    tensors = [x.requires_grad_(), *(p.requires_grad_() for p in params.values())]
    found, expected = map_.gaussian(params, x, average), plain_map(params, x, activation, average)
    weights = [torch.randn_like(e) for e in expected]
    gradients = [
        torch.autograd.grad(sum((w * v).sum() for w, v in zip(weights, values, strict=True)), tensors)
        for values in (found, expected)
    ]
    for a, b in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_map_to_a_mean_alone():
    """One head, one hidden layer; against finite differences."""
    map_, params, x = made("tanh", (I, 7, O), deviation=False)
    names = list(params)
    assert names == ["map.0.weight", "map.0.bias", "map.mean.weight", "map.mean.bias"]
    inputs = [x[:, :1, :2].clone().requires_grad_(), *(params[n].requires_grad_() for n in names)]
    assert gradcheck(lambda x, *p: map_.mean(dict(zip(names, p, strict=True)), x), inputs)


def test_a_gradient_fills_its_home_and_a_second_use_is_added():
    """A map that takes part twice has the sum of both gradients, and the block holds what autograd says."""
    map_, params, x = made()
    block = Block(params)

    def loss(p):
        once, twice = map_.gaussian(p, x, average=True), map_.gaussian(p, x * 0.3)
        return once[0].sum() + once[1].square().sum() + twice[0].sum() * 2 + twice[1].sum()

    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    expected = torch.autograd.grad(loss(leaves), list(leaves.values()))
    found = block.views(block.differentiate(loss(block.params)))
    for name, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-12)
    assert all(p.grad is None for p in block.params.values())
    again = block.differentiate(map_.gaussian(block.params, x)[0].sum() + 0 * loss(block.params))
    single = torch.autograd.grad(map_.gaussian(leaves, x)[0].sum(), leaves["map.mean.weight"])[0]
    torch.testing.assert_close(block.views(again)["map.mean.weight"], single, rtol=1e-12, atol=1e-12)


def test_a_block_gives_back_what_was_put_in():
    """Every tensor begins at a multiple of 16 numbers, and what lies between is zero."""
    _, params, _ = made()
    block = Block(params)
    assert block.values.shape[1] % 16 == 0
    for name, view in block.views(block.values).items():
        assert torch.equal(view, params[name]) and view.storage_offset() % 16 == 0
    assert block.values.abs().sum() == pytest.approx(sum(p.abs().sum().item() for p in params.values()))
