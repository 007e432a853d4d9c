"""A perceptron as one call: bit for bit what its operations give one by one, wherever it is taken."""

from __future__ import annotations

import math

import pytest
import torch

from models.kernels import compiled, compiled_perceptron, products, sgemm
from models.kernels.features import FeaturePerceptron
from models.kernels.perceptron import Perceptron
from models.stack.stack import Stack
from tests.models.test_stack import dataset, make  # noqa: F401

pytestmark = pytest.mark.skipif(
    compiled.library() is None or sgemm.multiplier() is None,
    reason="no C compiler, or a torch without MKL",
)


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def values_and_gradients(sizes, shape, heads, average, trained, of_input):
    """What a perceptron of 3 cells puts out for x of `shape` (S, B), and the gradients that are asked for."""
    cls = Perceptron if heads else FeaturePerceptron
    map_ = cls("m", sizes, "tanh", 1, 0, "generative", flow=30 if heads == 3 else 0)
    x = draw(3, *shape, sizes[0], seed=0).requires_grad_(of_input)
    params = {
        p.name: (draw(3, *p.shape, seed=i) / math.sqrt(p.shape[0])).requires_grad_(trained)
        for i, p in enumerate(map_.parameters(), start=1)
    }
    if heads == 0:
        outs = (map_.features(params, x),)
    elif heads == 1:
        outs = (map_.mean(params, x, average),)
    else:
        outs = map_.gaussian(params, x, average) if heads == 2 else map_.gaussian_and_flow(params, x)
    loss = sum((out * draw(*out.shape, seed=50 + i)).sum() for i, out in enumerate(outs))
    leaves = [*([x] if of_input else []), *(params.values() if trained else [])]
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [*outs, *(each for each in found if each is not None)]


@pytest.mark.parametrize("sizes", [(10, 64, 64, 12), (100, 40, 784), (40, 30, 20, 30, 21), (40, 20)], ids=str)
@pytest.mark.parametrize("shape", [(1, 9), (5, 33)], ids=str)
@pytest.mark.parametrize(("heads", "average"), [(0, False), (1, False), (1, True), (2, False), (2, True), (3, False)])
def test_it_is_what_its_operations_give(sizes, shape, heads, average, monkeypatch):
    """Values and gradients, with parameters trained or not, and x too or not; of 0 heads, the last hidden layer."""
    if not heads and len(sizes) == 2:
        pytest.skip("a map without hidden layers has no features")
    assert compiled_perceptron.usable(draw(3, *shape, sizes[0], seed=0), "tanh", [draw(3, *sizes[-2:], seed=0)])
    for trained, of_input in ((True, True), (False, True), (True, False)):
        if not (heads or trained):
            continue  # parameters of features are always trained
        of = sizes, shape, heads, average, trained, of_input
        found = values_and_gradients(*of)
        with monkeypatch.context() as patch:
            patch.setattr(compiled_perceptron, "usable", lambda *_: False)
            one_by_one = values_and_gradients(*of)
        assert len(found) == len(one_by_one)
        assert all(torch.equal(a, b) for a, b in zip(found, one_by_one, strict=True))


def test_a_stack_trains_to_the_same_bits(dataset, monkeypatch):  # noqa: F811
    """Also where it is evaluated in between, and some of its parameters are not trained."""
    blocks = []
    for on in (True, False):
        with monkeypatch.context() as patch:
            if not on:
                patch.setattr(compiled_perceptron, "usable", lambda *_: False)
            stack = Stack(make(3, hidden="64-64"), dataset)
            stack.train(5)
            blocks.append(stack.block.values.clone())
    assert torch.equal(*blocks)


@pytest.mark.parametrize(
    ("sizes", "activation", "precision", "dtype"),
    [
        ((10, 64, 64, 12), "relu", "float32", torch.float32),
        ((10, 64, 64, 12), "tanh", "tf32", torch.float32),
        ((10, 64, 64, 12), "tanh", "float64", torch.float64),
        ((10, 64, 1), "tanh", "float32", torch.float32),  # of one unit: not a library's product
        ((2, 3, 2), "tanh", "float32", torch.float32),  # so small that torch adds up by itself
    ],
)
def test_where_something_else_is_asked_for_operations_are_called_one_by_one(
    sizes, activation, precision, dtype, monkeypatch
):
    monkeypatch.setattr(compiled_perceptron, "perceptron", lambda *_: pytest.fail("as one call"))
    map_ = Perceptron("m", sizes, activation, 1, 0, "generative")
    params = {p.name: draw(2, *p.shape, seed=1).to(dtype) for p in map_.parameters()}
    with products.precision(precision):
        assert map_.gaussian(params, draw(2, 1, 9, sizes[0], seed=0).to(dtype))[0].shape == (2, 1, 9, sizes[-1])
