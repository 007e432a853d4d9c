"""Products of bfloat16 by the processor's own tiles: right, near the imitation, and each cell's own in any stack."""

from __future__ import annotations

import math

import pytest
import torch

from models.cell import Cell
from models.kernels import bfloat16, compiled, products
from models.kernels.features import FeaturePerceptron
from models.kernels.perceptron import Perceptron
from models.stack.stack import Stack
from tests.models.test_stack import dataset, make, same, trained  # noqa: F401

pytestmark = pytest.mark.skipif(not bfloat16.available(), reason="this processor has no products of bfloat16 (AMX)")
SIZES = [1, 2, 10, 31, 32, 33, 70]  # around multiples of a tile


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(x):
    return x.bfloat16().double()


def near(found, wanted, share=1e-6):
    """Equal but for a share of the largest number."""
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=share * float(wanted.abs().max()))


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("inputs", SIZES)
def test_products_are_those_of_rounded_operands(rows, inputs):
    """Against float64, to float32's rounding: as they lie, the left or the right operand transposed, into `out` too."""
    for outputs in SIZES:
        x, weight, grad = draw(2, rows, inputs), draw(2, inputs, outputs, seed=1), draw(2, rows, outputs, seed=2)
        with products.precision("bfloat16"):
            for a, b in ((x, weight), (x.mT, grad), (grad, weight.mT)):
                found = products.product(a, b)
                near(found, rounded(a) @ rounded(b))
                apart = torch.empty(2, found[0].numel() + 16)[:, : found[0].numel()].view(found.shape)
                assert products.product(a, b, out=apart) is apart and torch.equal(apart, found)


def test_sums_over_rows_are_not_rounded():
    x, sums = draw(3, 21, 37), torch.empty(3, 37)
    made = bfloat16.Rounded.of(x, sums)
    near(sums, x.double().sum(1))
    assert torch.equal(made.wide(), x.bfloat16().float())
    assert not made.numbers[:, 21:].any() and not made.numbers[:, :, 37:].any()  # what fills it up is zeros


def values_and_gradients(cls, sizes, activation, heads, average, trained, native, monkeypatch, precision="bfloat16"):
    """What a perceptron puts out, and gradients of its input and, if trained, its parameters; 3 cells."""
    monkeypatch.setattr(bfloat16, "available", lambda: native)
    map_ = cls("m", sizes, activation, 1, 0, "generative", flow=3 if heads == 3 else 0)
    x = draw(3, 5, 9, sizes[0]).requires_grad_()
    params = {
        p.name: (draw(3, *p.shape, seed=i) / math.sqrt(p.shape[0])).requires_grad_(trained)
        for i, p in enumerate(map_.parameters(), start=1)
    }
    with products.precision(precision):
        if cls is FeaturePerceptron:
            outs = (map_.features(params, x),)
        elif heads == 1:
            outs = (map_.mean(params, x, average),)
        elif heads == 2:
            outs = map_.gaussian(params, x, average)
        else:
            outs = map_.gaussian_and_flow(params, x)
        loss = sum((out * draw(*out.shape, seed=50 + i)).sum() for i, out in enumerate(outs))
        leaves = [x, *(p for p in params.values() if trained)]
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [*outs, *(each for each in found if each is not None)]


@pytest.mark.parametrize("sizes", [(10, 64, 64, 12), (7, 33, 5), (40, 20)])
@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "elu", "identity"])
@pytest.mark.parametrize(
    ("cls", "heads", "average"),
    [
        (Perceptron, 1, False),
        (Perceptron, 1, True),
        (Perceptron, 2, False),
        (Perceptron, 2, True),
        (Perceptron, 3, False),
        (FeaturePerceptron, 1, False),
    ],
)
def test_a_perceptron_is_near_the_imitated_one(cls, heads, average, activation, sizes, monkeypatch):
    """Values and gradients to what rounding hidden values leaves; they are not those of float32."""
    if cls is FeaturePerceptron and len(sizes) == 2:
        pytest.skip("a map without hidden layers has no features")
    of = cls, sizes, activation, heads, average
    for trained_too in (True, False)[: 1 if cls is FeaturePerceptron else 2]:
        found = values_and_gradients(*of, trained_too, True, monkeypatch)
        imitated = values_and_gradients(*of, trained_too, False, monkeypatch)
        plain = values_and_gradients(*of, trained_too, False, monkeypatch, "float32")
        assert len(found) == len(imitated)
        assert all((one - other).norm() < 6e-3 * other.norm() for one, other in zip(found, imitated, strict=True))
        assert (found[0] - plain[0]).norm() > 1e-4 * plain[0].norm()


def test_what_is_not_a_number_stays_so_and_with_its_cell():
    x, weight, bias = draw(2, 8, 5), draw(2, 5, 40), torch.zeros(2, 40)
    x[0, 3, 2] = float("nan")
    for activation in ("tanh", "relu", "leaky_relu", "elu", "identity"):
        found = bfloat16.hidden_layers(x[:, None], activation, [weight, bias])[:, 0]
        assert found[0, 3].isnan().all() and not found[0, :3].isnan().any() and not found[1].isnan().any()


def test_tanh_is_right_to_its_rounding():
    levels = torch.cat([torch.linspace(-12, 12, 4000), torch.tensor([0.0, 1e-20, -1e-20, 1e30, -1e30])]).view(1, -1, 1)
    one = torch.ones(1, 1, 1)
    found = bfloat16.hidden_layers(levels[:, None], "tanh", [one, torch.zeros(1, 1)])[:, 0].double()
    wanted = rounded(levels).tanh()
    assert ((found - wanted).abs() <= wanted.abs() * (2**-8 + 1e-4)).all()


def test_other_users_of_the_tiles_are_left_as_they_were():
    """torch's own products of bfloat16 keep the tiles set up for themselves from one call to the next."""
    a, b, x, weight = draw(3, 64, 96).bfloat16(), draw(3, 96, 48).bfloat16(), draw(3, 40, 70), draw(3, 70, 33)
    with products.precision("bfloat16"):
        before, ours = torch.bmm(a, b), products.product(x, weight)
        for _ in range(3):
            assert torch.equal(torch.bmm(a, b), before) and torch.equal(products.product(x, weight), ours)


@pytest.mark.parametrize("fields", [{}, {"network": "ladder", "objective": "vae"}, {"hidden": "64-64"}], ids=str)
def test_a_cell_of_a_stack_is_bitwise_the_cell_alone(dataset, fields):  # noqa: F811
    cells = [
        Cell.of({k: v for k, v in cell.flat().items() if fields.get("network") is None or k not in SMOOTHED} | fields)
        for cell in make(3, precision="bfloat16")
    ]
    whole = trained(cells, dataset)
    for i, cell in enumerate(cells):
        assert same(whole, i, trained([cell], dataset), 0)


SMOOTHED = {"rho", "smoothing", "smoothing_samples", "smooth_posterior", "smooth_output"}


def test_a_step_is_that_of_the_imitation_but_for_rounding(dataset, monkeypatch):  # noqa: F811
    """Adam's first moment after one step of the same cells."""
    first = {}
    for native in (True, False):
        monkeypatch.setattr(bfloat16, "available", lambda native=native: native)
        stack = Stack(make(3, precision="bfloat16", hidden="64-64"), dataset)
        stack.train(1)
        first[native] = stack.optimizer.first.clone()
    assert 0 < (first[True] - first[False]).norm() < 5e-3 * first[False].norm()


def test_the_compiled_file_is_found_where_the_processor_has_them():
    assert compiled.bfloat16_unit() == "amx"
