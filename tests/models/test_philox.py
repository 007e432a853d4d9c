"""The generator for GPUs: its published test vectors, its laws, its addresses; a step whose number is a tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from models.draws.draws import DeviceDraws, Draws, Purpose, philox
from models.stack.stack import Stack
from tests.models.test_stack import dataset, make  # noqa: F401

# Random123's known answers for philox4x32, ten rounds: counter, key, result.
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    keys = philox.schedule(tuple(torch.tensor(k) for k in key))
    found = philox.philox([torch.tensor(c) for c in counter], keys)
    assert [int(word) for word in found] == expected


def test_addresses_do_not_meet_and_have_their_bounds():
    grid = [(p, layer, i) for p in (1, 5, 31, 33, 127) for layer in (0, 1, 127) for i in (0, 1, 1023, (1 << 18) - 1)]
    assert len({philox.address(*each) for each in grid}) == len(grid)
    assert max(philox.address(*each) for each in grid) < 2**32
    assert philox.address(31, 5, 9) == 31 | 5 << 5 | 9 << 12  # where it was when there were 32 purposes
    for each in ((128, 0, 0), (0, 128, 0), (0, 0, 1 << 18), (0, -1, 0)):
        with pytest.raises(ValueError, match=r"should be in \[0, "):
            philox.address(*each)


def test_laws():
    """Uniform on [0, 1) and standard normal: moments, Kolmogorov–Smirnov; neighbours uncorrelated."""
    draws = DeviceDraws([3])
    z = draws.normal(Purpose.LATENT, (300, 334), step=7, layer=2)[0].flatten().numpy()
    u = draws.uniform(Purpose.BINARISE, (300, 333), step=7)[0].flatten().numpy()
    assert z.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    assert stats.kstest(z, "norm").pvalue > 1e-3 and stats.kstest(u, "uniform").pvalue > 1e-3
    for numbers in (z, u):
        for lag in (1, 2, 4):
            assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < 4 / len(numbers) ** 0.5


def test_a_draw_follows_from_its_address_alone():
    """Whatever was asked for before or beside it; cells of a seed share it; steps, layers and seeds differ."""
    one, other = DeviceDraws([4, 4, 7]), DeviceDraws([7])
    first = one.normal(Purpose.LATENT, (5, 3), step=2, layer=1)
    one.normal(Purpose.SMOOTH, (2, 5, 3), step=2, layer=2)
    one.uniform(Purpose.BINARISE, (5, 9), step=2)
    assert torch.equal(first, one.normal(Purpose.LATENT, (5, 3), step=2, layer=1))
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert torch.equal(first[2], other.normal(Purpose.LATENT, (5, 3), step=2, layer=1)[0])
    second = one.normal(Purpose.LATENT, (5, 3), step=torch.tensor(3), layer=1)
    assert torch.equal(second[2], other.normal(Purpose.LATENT, (5, 3), step=3, layer=1)[0])
    several = [
        first,
        second,
        one.normal(Purpose.LATENT, (5, 3), step=2, layer=2),
        one.normal(Purpose.SMOOTH, (5, 3), 2, 1),
    ]
    assert len({float(each[0, 0, 0]) for each in several}) == len(several)
    large = DeviceDraws([2**62 + 1]).normal(Purpose.LATENT, (4,), step=10**12, layer=1)
    assert torch.isfinite(large).all()


def test_first_weights_and_batches_come_from_the_host():
    here, there = Draws([1, 2]), DeviceDraws([1, 2])
    assert torch.equal(here.uniform(Purpose.INIT, (3, 4), layer=1), there.uniform(Purpose.INIT, (3, 4), layer=1))
    for step in (0, 3, 4, 9):
        assert torch.equal(here.batch(step, 21, 5), there.batch(step, 21, 5))
        there.shuffle(step, 21, 5)
        assert torch.equal(here.batch(step, 21, 5), there.batch(torch.tensor(step), 21, 5))


def test_a_step_whose_number_is_a_tensor_is_the_same_step(dataset):  # noqa: F811
    """What a GPU records and replays is bitwise the step whose number is known; with no cell active nothing changes."""
    fields = dict(learning_rate_decay_steps=7, kl_warmup_steps=9)
    cells = [replace(cell, **fields) for cell in make(3)]
    known, recorded = Stack(cells, dataset), Stack(cells, dataset)
    for stack in (known, recorded):
        stack.draws, stack._own_draws = DeviceDraws([c.seed for c in cells]), DeviceDraws([0, 1, 2])
    number = torch.tensor(0)
    before = {name: tensor.clone() for name, tensor in recorded.tensors().items()}
    active = recorded.active.clone()
    recorded.active.zero_()
    recorded.shuffle()
    recorded.procedure.advance(recorded, number)
    assert all(torch.equal(before[k], t) for k, t in recorded.tensors().items() if k != "active")
    recorded.active.copy_(active)
    for step in range(25):  # 20 batches of 10 in an epoch of 200 images
        known.train(step + 1)
        recorded.step = step
        recorded.shuffle()
        recorded.forget_draws()
        recorded.procedure.advance(recorded, number.fill_(step))
    assert all(torch.equal(t, recorded.tensors()[k]) for k, t in known.tensors().items())


@pytest.mark.gpu
def test_a_captured_step_is_the_step(dataset):  # noqa: F811
    """Replayed on a GPU: bitwise what the same kernels give one by one; other stacks are captured anew."""
    cells = make(5)
    captured, eager = Stack(cells, dataset, "cuda"), Stack(cells, dataset, "cuda")
    captured.train(45)
    for step in range(45):
        eager.procedure.advance(eager, step)
        eager.step += 1
    for name, tensor in eager.tensors().items():
        torch.testing.assert_close(captured.tensors()[name], tensor, rtol=1e-5, atol=1e-6)
    captured.select([3, 1])
    captured.train(50)
    assert captured.active.all() and captured.step == 50


@pytest.mark.gpu
def test_a_cell_that_diverges_in_a_captured_step_leaves_the_others(dataset):  # noqa: F811
    stack = Stack(make(3), dataset, "cuda")
    stack.train(5)
    next(iter(stack.params.values())).data[1].view(-1)[7] = float("nan")
    stack.train(8)
    assert stack.diverged_at.tolist() == [-1, 5, -1] and stack.active.tolist() == [True, False, True]
