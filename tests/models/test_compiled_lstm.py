"""An LSTM as one call: bit for bit what its steps give one by one."""

from __future__ import annotations

import pytest
import torch

from models.kernels import bfloat16, compiled, compiled_lstm, plain, products, sgemm
from models.kernels.recurrent import lstm
from models.kernels.twice import twice_differentiable

pytestmark = pytest.mark.skipif(
    compiled.library() is None or sgemm.multiplier() is None, reason="no C compiler, or a torch without MKL"
)


def states_and_gradients(cells, rows, steps, units, given):
    """Of an LSTM with h and c before the first step where `given` says so: h after each step, and all gradients."""
    draws = torch.Generator().manual_seed(0)
    shapes = {
        "inputs": (cells, rows, steps, 4 * units), "recurrent": (cells, units, 4 * units), "h": (cells, rows, units),
        "c": (cells, rows, units),
    }  # fmt: skip
    args = [
        torch.randn(shape, generator=draws) if len(name) > 1 or name in given else None
        for name, shape in shapes.items()
    ]
    args[1] /= units**0.5
    leaves = [each.requires_grad_() for each in args if each is not None]
    states = lstm(*args)
    return [states, *torch.autograd.grad((states * torch.randn(states.shape, generator=draws)).sum(), leaves)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("given", ["", "c", "h", "hc"])
@pytest.mark.parametrize("sizes", [(1, 32, 18, 32), (3, 5, 7, 33), (2, 9, 2, 16), (2, 40, 20, 100)], ids=str)
def test_it_is_what_its_steps_give(sizes, given, precision, monkeypatch):
    """States and gradients, with a state before the first step or a part of it, or none."""
    rounded = precision == "bfloat16"
    if rounded and not bfloat16.available():
        pytest.skip("this processor has no products of bfloat16 (AMX)")
    cells, *shape, units = sizes
    assert compiled_lstm.usable(torch.empty(cells, *shape, 4 * units), torch.empty(cells, units, 4 * units), rounded)
    with products.precision(precision):
        found = states_and_gradients(*sizes, given)
        monkeypatch.setattr(compiled_lstm, "usable", lambda *_: False)
        step_by_step = states_and_gradients(*sizes, given)
    assert all(torch.equal(a, b) for a, b in zip(found, step_by_step, strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_in_fewer_bits_it_is_near_the_exact_one(precision):
    """To what rounding the operands of its products leaves, and no nearer."""
    exact = states_and_gradients(2, 9, 7, 33, "hc")
    with products.precision(precision):
        found = states_and_gradients(2, 9, 7, 33, "hc")
    most = {"bfloat16": 2e-2, "tf32": 3e-3}[precision]
    for one, other in zip(found, exact, strict=True):
        assert 1e-5 * other.norm() < (one - other).norm() < most * other.norm()


@pytest.mark.parametrize("of", ["all", "inputs"])
@pytest.mark.parametrize("given", ["", "c", "h", "hc"])
def test_the_gradient_of_a_gradient_is_that_of_the_plain_steps(given, of):
    """As through the steps of semi-amortised inference: of a function of the gradients of all that it is given, or of
    its inputs alone. Against torch's own in float64, to float32's rounding."""
    cells, rows, steps, units = 2, 6, 5, 17
    draws = torch.Generator().manual_seed(1)
    shapes = (cells, rows, steps, 4 * units), (cells, units, 4 * units), (cells, rows, units), (cells, rows, units)
    args = [torch.randn(shape, generator=draws) for shape in shapes]
    weights = torch.randn(cells, rows, steps, units, generator=draws)
    along = [torch.randn(shape, generator=draws) for shape in shapes]

    def second(made, dtype):
        leaves = [each.to(dtype).requires_grad_() for each in (*args, weights)]
        *some, weight = leaves
        some = [each if name in f"xU{given}" else None for name, each in zip("xUhc", some, strict=True)]
        wanted = [each for each in some if each is not None] if of == "all" else some[:1]
        first = torch.autograd.grad((made(*some) * weight).sum(), wanted, create_graph=True)
        loss = sum((a * b.to(dtype)).sum() for a, b in zip(first, along, strict=False))
        return torch.autograd.grad(loss, [each for each in (*some, weight) if each is not None])

    found, exact = second(lstm, torch.float32), second(plain.lstm, torch.float64)
    assert len(found) == len(exact) == 3 + len(given)
    for one, other in zip(found, exact, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()


@pytest.mark.parametrize("compiled_too", [True, False])
def test_where_gradients_are_differentiated_again_it_is_at_full_precision(compiled_too, monkeypatch):
    """Whatever precision is asked for, as all that is differentiated twice; without a compiler too."""
    if not compiled_too:
        monkeypatch.setattr(compiled_lstm, "usable", lambda *_: False)
    exact = states_and_gradients(2, 9, 7, 33, "hc")
    with products.precision("bfloat16"), twice_differentiable():
        found = states_and_gradients(2, 9, 7, 33, "hc")
    for one, other in zip(found, exact, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()


@pytest.mark.parametrize(
    ("sizes", "precision"), [((2, 5, 4, 1), "float32"), ((2, 1, 4, 8), "float32"), ((2, 5, 4, 16), "tf32")]
)
def test_where_something_else_is_asked_for_steps_are_called_one_by_one(sizes, precision, monkeypatch):
    """Of one unit, of one row, and in another precision."""
    monkeypatch.setattr(compiled_lstm, "forward", lambda *_: pytest.fail("as one call"))
    with products.precision(precision):
        assert states_and_gradients(*sizes, "")[0].shape == sizes
