"""Products of cut operands, against answers known by hand; a step that runs without the host."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.cell import Cell
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.kernels.products import add_product, precision, product
from models.stack.stack import Stack
from tests.models.test_stack import dataset, make, same, trained  # noqa: F401

CUT = ("tf32", "bfloat16")
ONE = torch.ones(1, 1, 1)


def read(number: float, name: str) -> float:
    """What a product reads of a number."""
    with precision(name):
        return float(product(torch.full((1, 1, 1), number), ONE))


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("float32", 1 + 2**-23, 1 + 2**-23),
        ("tf32", 1 + 2**-10, 1 + 2**-10),
        ("tf32", 1 + 2**-10 - 2**-23, 1.0),  # what lies below the tenth bit is not read
        ("tf32", -1 - 2**-11, -1.0),
        ("bfloat16", 1 + 2**-7, 1 + 2**-7),
        ("bfloat16", 1 + 2**-8, 1.0),  # halfway: to even
        ("bfloat16", 1 + 3 * 2**-8, 1 + 2**-6),
        ("bfloat16", 1 + 2**-8 + 2**-20, 1 + 2**-7),
    ],
)
def test_bits_that_are_read(name, number, expected):
    assert read(number, name) == expected


@pytest.mark.parametrize("name", CUT)
def test_no_number_is_no_number_still(name):
    assert read(float("inf"), name) == float("inf") and read(float("-inf"), name) == float("-inf")
    assert torch.isnan(torch.tensor(read(float("nan"), name)))


@pytest.mark.parametrize("name", ["float32", *CUT])
def test_both_operands_are_cut_and_sums_are_not(name):
    """Against float64 products of the operands as read; written to `out`, added to a matrix, and transposed too."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(shape, generator=generator) for shape in ((3, 5, 40), (3, 40, 7), (3, 5, 7)))
    seen = [torch.tensor([read(x, name) for x in t.flatten().tolist()]).view(t.shape).double() for t in (a, b)]
    expected = seen[0] @ seen[1]
    with precision(name):
        out, added = torch.empty(3, 5, 7), c.clone()
        assert product(a, b, out=out) is out
        add_product(added, a, b)
        transposed = product(b.mT, a.mT).mT
    for found in (out, added - c, transposed):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    if name != "float32":
        assert not torch.allclose(expected, a.double() @ b.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["float32", *CUT])
@pytest.mark.parametrize("sizes", [(8, 200, 1), (1, 64, 200), (320, 64, 1), (1, 200, 1), (64, 1, 200)], ids=str)
def test_products_of_one_row_or_column_are_the_same_in_any_batch(name, sizes):
    """Bit for bit alone and among four, however the operands lie; and right."""
    rows, inner, columns = sizes
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, inner), (inner, columns), (rows, columns)
    a, b, more = (torch.randn(4, *size, generator=generator) for size in shapes)
    for x, y in ((a, b), (a.mT.contiguous().mT, b), (a, b.mT.contiguous().mT)):
        with precision(name):
            whole, added = product(x, y), more.clone()
            add_product(added, x, y)
            for count in (1, 2, 3):
                part = more[:count].clone()
                add_product(part, x[:count], y[:count])
                assert torch.equal(product(x[:count], y[:count]), whole[:count]) and torch.equal(part, added[:count])
            seen = [product(t, torch.eye(t.shape[2]).expand(4, -1, -1)).double() for t in (x, y)]  # as they are read
        torch.testing.assert_close(whole.double(), seen[0] @ seen[1], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(added, more + whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CUT)
def test_precision_holds_while_its_cells_train_and_at_no_other_time(dataset, monkeypatch, name):  # noqa: F811
    """torch has one switch for all of a process; evaluation and other stacks stay in float32, also after a fault."""
    number = 1 + 2**-9 + 2**-20

    def now() -> tuple[bool, float]:
        return torch.backends.cuda.matmul.allow_tf32, float(product(torch.full((1, 1, 1), number), ONE))

    usual, seen = now(), []
    for each in (name, "float32"):
        stack = Stack(make(1, precision=each), dataset)
        step = stack.procedure.step
        monkeypatch.setattr(stack.procedure, "step", lambda s, step=step: (seen.append(now()), step(s)))
        stack.train(2)
        assert now() == usual == (False, pytest.approx(number, abs=1e-7))
    assert seen == [(name == "tf32", read(number, name))] * 2 + [usual] * 2
    with pytest.raises(KeyError), precision(name):
        raise KeyError
    assert now() == usual


def gradients(dataset, device: str) -> dict[str, torch.Tensor]:  # noqa: F811
    """Adam's first moment after one step of the same cells, by precision."""
    first = {}
    for name in ("float32", *CUT):
        stack = Stack(make(3, precision=name, hidden="64-64"), dataset, device)
        stack.train(1)
        first[name] = stack.optimizer.first.clone()
    return first


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("name", "least", "most"), [("tf32", 1e-5, 1e-2), ("bfloat16", 1e-4, 5e-2)])
def test_a_step_of_cut_operands_is_nearly_the_step(dataset, device, name, least, most):  # noqa: F811
    """Its gradient is near that of float32, and not the same."""
    first = gradients(dataset, device)
    error = (first[name] - first["float32"]).norm() / first["float32"].norm()
    assert least < error < most


@pytest.mark.gpu
@pytest.mark.parametrize("name", CUT)
def test_a_gpu_reads_what_is_read_here(name):
    """Its products are off by no more than those of operands cut beforehand (less, where it rounds to TF32)."""
    a, b = torch.randn(4, 64, 200), torch.randn(4, 200, 200)
    whole = torch.bmm(a.double(), b.double())
    with precision(name):
        here, there = ((product(x, y).cpu() - whole).norm() for x, y in ((a, b), (a.cuda(), b.cuda())))
    assert 0.1 * here < there < 1.1 * here


@pytest.mark.parametrize("name", CUT)
def test_a_stack_of_cut_operands_equals_its_cells_alone_bitwise(dataset, name):  # noqa: F811
    cells = make(3, precision=name)
    whole = trained(cells, dataset)
    rows = evaluate(whole, Evaluation(importance_samples=12))
    for i, cell in enumerate(cells):
        alone = trained([cell], dataset)
        assert same(whole, i, alone, 0)
        assert evaluate(alone, Evaluation(importance_samples=12))[0]["elbo"] == rows[i]["elbo"]


class Elsewhere(TorchDispatchMode):
    """Notes what touches the host's memory while a device works: tensors of it that go in or come out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.strangers = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        self.calls += 1
        leaves, _ = torch.utils._pytree.tree_flatten((args, kwargs, found))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" for leaf in leaves):
            self.strangers.append(str(function))
        return found


@pytest.mark.parametrize(
    "fields",
    [
        dict(objective="vae"),
        dict(smoothing="ratio", learning_rate_decay_steps=7, kl_warmup_steps=9),
        dict(network="null_mlp"),
        dict(likelihood="gaussian", activation="elu"),
        *(dict(precision=name) for name in ("float64", *CUT)),
    ],
)
def test_a_step_whose_number_is_a_tensor_runs_without_the_host(dataset, fields):  # noqa: F811
    """On a device that has no memory at all ("meta"): it takes no number from the host and gives none back, which
    would raise here and could not be recorded on a GPU."""
    cells = [Cell.of(cell.flat() | fields) for cell in make(3)]
    stack = Stack(cells, dataset, "meta")
    stack.shuffle()
    number = torch.full((), 0, dtype=torch.int64, device="meta")
    with precision(cells[0].precision):
        stack.procedure.advance(stack, number)  # which numbers it draws is learnt here
        with Elsewhere() as noted:
            stack.procedure.advance(stack, number)
    assert noted.calls > 100 and not noted.strangers
    with pytest.raises((RuntimeError, NotImplementedError)):
        stack.state["objective_sum"].tolist()
