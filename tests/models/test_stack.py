"""Stacks are a matter of speed only: a cell's numbers do not depend on its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.draws.draws import Draws, Purpose, generator
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """300 images of 5 × 7 grey pixels: sizes that fill no vector register."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 17, (300, 35)).astype(np.uint8)
    return Dataset("grey", grey[:200], grey[200:240], grey[240:], 16, ImageShape(1, 5, 7))


def make(n: int, **fields) -> list[Cell]:
    """Cells that differ in every number a stack may mix."""
    common = dict(data="digits", latents="5-3", hidden="13-9/11", objective="ou", smoothing_samples=3, batch_size=10)
    return [
        Cell.of(
            common
            | fields
            | dict(
                seed=i % 3,
                rho=0.9 - 0.07 * i,
                learning_rate=1e-3 * (i + 1),
                gradient_clip=0.0 if i % 2 else 0.5,
                kl_warmup_steps=4 * (i % 2),
                free_bits=0.1 * (i % 3),
                adam_beta1=0.9 - 0.01 * i,
            )
        )
        for i in range(n)
    ]


def trained(cells: list[Cell], dataset: Dataset, steps: int = 12) -> Stack:
    stack = Stack(cells, dataset)
    stack.train(steps)
    return stack


def same(a: Stack, i: int, b: Stack, j: int) -> bool:
    one, other = a.tensors(), b.tensors()
    return all(torch.equal(one[k][i], other[k][j]) for k in one)


@pytest.mark.parametrize("partition", [[[0], [1], [2], [3], [4]], [[4, 2, 0], [3, 1]], [[3], [1, 0, 4, 2]]])
@pytest.mark.parametrize(("objective", "network"), [("ou", "mlp"), ("vae", "mlp"), ("ou", "null_mlp")])
def test_a_stack_equals_its_cells_alone_bitwise(dataset, partition, objective, network):
    """Any order, any partition: weights, moments, counters and evaluation are bitwise the same."""
    cells = make(5, objective=objective, network=network)
    whole = trained(cells, dataset)
    rows = evaluate(whole, Evaluation(importance_samples=12))
    for places in partition:
        part = trained([cells[i] for i in places], dataset)
        for j, i in enumerate(places):
            assert same(whole, i, part, j)
        for j, row in enumerate(evaluate(part, Evaluation(importance_samples=12))):
            assert row == rows[places[j]]


def test_a_nan_in_one_cell_leaves_the_others_bitwise_as_they_were(dataset):
    """The poisoned cell is diverged at its step and keeps its weights; the other four never notice."""
    cells = make(5)
    healthy, poisoned = Stack(cells, dataset), Stack(cells, dataset)
    healthy.train(5)
    poisoned.train(5)
    next(iter(poisoned.params.values())).data[2].view(-1)[7] = float("nan")
    before = {k: t[2].clone() for k, t in poisoned.tensors().items() if "/" in k}
    healthy.train(12)
    poisoned.train(12)
    assert poisoned.diverged_at.tolist() == [-1, -1, 5, -1, -1]
    assert poisoned.active.tolist() == [True, True, False, True, True]
    assert all(same(healthy, i, poisoned, i) for i in (0, 1, 3, 4))
    after = poisoned.tensors()
    assert all(torch.equal(before[k].nan_to_num(7e7), after[k][2].nan_to_num(7e7)) for k in before)


def test_stopping_and_going_on_equals_going_straight(dataset):
    """5 steps, a checkpoint into a fresh stack, 7 more: bitwise 12 steps."""
    cells = make(3)
    straight = trained(cells, dataset)
    first = trained(cells, dataset, 5)
    again = Stack(cells, dataset)
    again.load(first.tensors(), 5)
    again.train(12)
    assert all(same(straight, i, again, i) for i in range(3))


def test_select_keeps_cells_bitwise(dataset):
    """Compacting a stack in mid-training changes no cell that stays."""
    cells = make(4)
    straight, cut = trained(cells, dataset), trained(cells, dataset, 5)
    cut.select([3, 1])
    cut.train(12)
    assert same(straight, 3, cut, 0) and same(straight, 1, cut, 1)


def test_the_two_forms_of_the_optimiser_agree(dataset):
    """The fused pass (CPU) and the expressions (GPU) are one update to rounding, and both skip a masked cell."""
    cells = make(3, precision="float64")
    one, other = trained(cells, dataset, 3), trained(cells, dataset, 3)
    gradient = torch.randn_like(one.block.values)
    gradient[1, ::7] = float("nan")
    active = torch.tensor([True, False, True])
    for stack, update in ((one, one.optimizer.update_each), (other, other.optimizer.update_all)):
        update(gradient, stack.optimizer.learning_rate(3), active, stack.optimizer.updates[:, :1] + 1, [slice(None)])
    for name, a in one.tensors().items():
        torch.testing.assert_close(a, other.tensors()[name], rtol=1e-12, atol=1e-14)
    for stack in (one, other):
        assert same(stack, 1, trained(cells, dataset, 3), 1)


def test_cells_of_one_seed_see_the_same_draws_whatever_their_rho():
    """Common random numbers: equal within a seed, different between seeds, steps, purposes and layers."""
    draws = Draws([4, 4, 7])
    z = draws.normal(Purpose.LATENT, (6, 2), step=3, layer=1)
    assert torch.equal(z[0], z[1]) and not torch.equal(z[0], z[2])
    assert torch.equal(Draws([7]).normal(Purpose.LATENT, (6, 2), step=3, layer=1)[0], z[2])
    addresses = [(4, Purpose.LATENT, 3, 1, 0), (4, Purpose.LATENT, 4, 1, 0), (4, Purpose.LATENT, 3, 2, 0)]
    addresses += [(4, Purpose.SMOOTH, 3, 1, 0), (4, Purpose.LATENT, 3, 1, 1), (5, Purpose.LATENT, 3, 1, 0)]
    assert len({float(generator(*a).standard_normal()) for a in addresses}) == len(addresses)


def test_streams_are_addressed_not_summed():
    """(seed 1, step 0) and (seed 0, step 1) are different streams; the first numbers of this release are frozen."""
    assert generator(1, Purpose.BATCH, 0).random() != generator(0, Purpose.BATCH, 1).random()
    first = [int(generator(s, p, t, layer, i).integers(2**63)) for s, p, t, layer, i in ADDRESSES]
    assert first == FROZEN


ADDRESSES = [(0, Purpose.BATCH, 0, 0, 0), (1, Purpose.LATENT, 2, 3, 4), (2**62, Purpose.SMOOTH, 10**9, 7, 1)]
FROZEN = [3781142308989424505, 5112656575050128977, 2588442992458096675]


def test_an_epoch_uses_every_image_once():
    """Batches of an epoch are disjoint; the next epoch has another order; a too large batch is refused."""
    draws = Draws([0, 1])
    epoch = torch.cat([draws.batch(step, 21, 5) for step in range(4)], dim=1)
    assert all(len(set(row)) == 20 for row in epoch.tolist())
    assert not torch.equal(draws.batch(0, 21, 5), draws.batch(4, 21, 5))
    with pytest.raises(ValueError, match="batch_size"):
        draws.batch(0, 21, 22)
