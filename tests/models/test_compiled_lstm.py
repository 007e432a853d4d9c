"""An LSTM as one call: bit for bit what its steps give one by one."""

from __future__ import annotations

import pytest
import torch

from models.kernels import compiled, compiled_lstm, products, sgemm
from models.kernels.recurrent import lstm

pytestmark = pytest.mark.skipif(
    compiled.library() is None or sgemm.multiplier() is None, reason="no C compiler, or a torch without MKL"
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    leaves = [each.requires_grad_() for each in args if each is not None]
    states = lstm(*args)
    return [states, *torch.autograd.grad((states * torch.randn(states.shape, generator=draws)).sum(), leaves)]


@pytest.mark.parametrize("given", ["", "c", "h", "hc"])
@pytest.mark.parametrize("sizes", [(1, 32, 18, 32), (3, 5, 7, 33), (2, 9, 2, 16), (2, 40, 20, 100)], ids=str)
def test_it_is_what_its_steps_give(sizes, given, monkeypatch):
    """States and gradients, with a state before the first step or a part of it, or none."""
    assert compiled_lstm.usable(torch.empty(*sizes[:3], 4 * sizes[3]), torch.empty(sizes[0], sizes[3], 4 * sizes[3]))
    found = states_and_gradients(*sizes, given)
    monkeypatch.setattr(compiled_lstm, "usable", lambda *_: False)
    step_by_step = states_and_gradients(*sizes, given)
    assert all(torch.equal(a, b) for a, b in zip(found, step_by_step, strict=True))


def test_a_gradient_is_differentiated_again_through_the_plain_steps():
    """As in the refinement steps of semi-amortised inference; the same numbers as in float64 but for rounding."""
    draws = torch.Generator().manual_seed(1)
    args = [torch.randn(shape, generator=draws) for shape in ((2, 6, 5, 64), (2, 16, 64))]

    def second(dtype):
        inputs, recurrent = (each.to(dtype).requires_grad_() for each in args)
        (first,) = torch.autograd.grad(lstm(inputs, recurrent).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(first.square().sum(), recurrent)[0].double()

    exact = second(torch.float64)
    assert (second(torch.float32) - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize(
    ("sizes", "precision"), [((2, 5, 4, 1), "float32"), ((2, 1, 4, 8), "float32"), ((2, 5, 4, 16), "tf32")]
)
def test_where_something_else_is_asked_for_steps_are_called_one_by_one(sizes, precision, monkeypatch):
    """Of one unit, of one row, and in another precision."""
    monkeypatch.setattr(compiled_lstm, "forward", lambda *_: pytest.fail("as one call"))
    with products.precision(precision):
        assert states_and_gradients(*sizes, "")[0].shape == sizes
