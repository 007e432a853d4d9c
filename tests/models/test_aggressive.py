"""Aggressive training: its rules as tables, its bits where it is `joint`, and what becomes of an interrupted step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cell import Cell, cell_id, cell_size, cell_work
from models.draws.draws import Purpose
from models.procedures.inner import BLOCK, Blocks, Phase, decide_block, decide_phase
from models.procedures.spec import MAX_INNER
from models.stack.stack import Stack
from tests.models.planted import LinearGaussian, stack_of

SMALL = {"data": "digits", "latents": "4-2", "hidden": "9", "batch_size": 10}


def cells(*each: dict[str, object], **common: object) -> list[Cell]:
    """One cell of each of these, of seeds 0, 1, …"""
    return [Cell.of(SMALL | {"procedure": "aggressive", "seed": i} | common | more) for i, more in enumerate(each)]


def snapshot(stack: Stack, *skip: str) -> dict[str, torch.Tensor]:
    """Copies of all that training goes on from."""
    return {name: tensor.clone() for name, tensor in stack.tensors().items() if not name.startswith(skip)}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], place: int | None = None) -> bool:
    """To the last bit; `b` cut to the cell at `place`."""
    return a.keys() == b.keys() and all(
        torch.equal(tensor, b[name] if place is None else b[name][place : place + 1]) for name, tensor in a.items()
    )


def updates(means: list[float], most: int = MAX_INNER, block: int = BLOCK) -> int:
    """Inner updates of a cell whose blocks have these mean losses, the last one for ever."""
    record, done = Blocks.first(torch.tensor([True])), 0
    while bool(record.running) and done < most:
        done = min(done + block, most)
        if done % block == 0:
            mean = means[min(done // block, len(means)) - 1]
            record = decide_block(record, torch.tensor([mean], dtype=torch.float64))
    return done


@pytest.mark.parametrize(
    ("means", "by_ten", "by_fifteen"),
    [
        ([100 - i for i in range(20)], 99, 99),
        ([10.0], 99, 99),
        ([10, 11], 20, 30),
        ([10, 9, 9.5], 30, 45),
        ([10, 9, 8, 8.1], 40, 60),
        ([1e5, 1e4], 99, 99),  # images of a high loss: the first block is compared with nothing
    ],
)
def test_inner_updates_stop_as_in_the_published_code(means, by_ten, by_fifteen):
    """After a block whose mean loss is higher than that of the block before: never after one block, nor after equal
    ones."""
    assert (updates(means), updates(means, block=15)) == (by_ten, by_fifteen)


def test_the_phase_ends_as_in_the_published_code():
    """At the first fall after validation 4; at the fifth one below the best after 11; and for the third cell never."""
    first, best = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    zeros = torch.zeros(3, dtype=torch.float64)
    record = Phase(torch.ones(3, dtype=torch.bool), torch.full((3,), -1), zeros, torch.zeros(3, dtype=torch.int64))
    for step, value in enumerate([0.2, 0.9, 1.4, 1.3, 1.5, 1.6, 1.55, 1.58, 1.59, 1.7, 1.6, 1.65], start=1):
        record = decide_phase(record, zeros + value, step, first, best)
    assert record.until.tolist() == [4, 11, -1] and record.aggressive.tolist() == [False, False, True]


def test_equal_or_unknown_information_is_no_fall():
    """An image's worth of NaN, as of a flow without density, stops nothing."""
    on = torch.tensor([True])
    record = Phase(on, torch.tensor([-1]), torch.tensor([0.5]).double(), torch.tensor([0]))
    for value in (0.5, 0.5, math.nan, 0.1):
        record = decide_phase(record, torch.tensor([value]).double(), 1, on, ~on)
    assert record.aggressive.item()


def test_without_inner_updates_training_is_joint(images):
    """To the last bit, with clipping and smoothing; and a cell whose phase is over goes on by counts of its own."""
    more = {"objective": "ou", "rho": 0.8, "gradient_clip": 1.0}
    joint, none = (Stack(cells({}, {}, procedure=p, **more), images) for p in ("joint", "aggressive"))
    joint.train(7)
    none.train(7)
    assert same(snapshot(joint), {k: t for k, t in snapshot(none).items() if k in joint.tensors()})
    assert none.state["inner_updates_done"].tolist() == [0, 0]


@pytest.mark.parametrize("clip", ["together", "group"])
def test_inner_updates_move_inference_alone_and_the_step_the_rest(images, clip):
    """No byte of the generative network in the one, none of the inference network in the other."""
    procedure_moves: list[set[str]] = []
    stack = Stack(cells({"inner_updates": 4}, {"inner_updates": 4}, gradient_clip=0.5, clip_norm=clip), images)
    update = stack.optimizer.update

    def watched(*arguments, groups, **more):
        before = {name: param.detach().clone() for name, param in stack.params.items()}
        update(*arguments, groups=groups, **more)
        procedure_moves.append({n.split(".")[0] for n, p in stack.params.items() if not torch.equal(p, before[n])})

    stack.optimizer.update = watched
    stack.train(2)
    assert procedure_moves == ([{"inference"}] * 4 + [{"generative"}]) * 2
    assert stack.optimizer.updates.tolist() == [[8, 2]] * 2
    assert stack.state["inner_updates_done"].tolist() == [8, 8]


MIXED = ({}, {"inner_updates": 5}, {"inner_rule": "yes"}, {"inner_updates": 12, "aggressive_steps": 1})


@pytest.mark.parametrize("more", [{}, {"gradient_clip": 0.5}, {"objective": "ou", "rho": 0.7, "free_bits": 0.1}])
def test_cells_of_one_stack_have_inner_updates_of_their_own(images, more):
    """0, 5, as the rule says, and 12 for two steps: each trains as it does alone, to the last bit."""
    together = Stack(cells(*MIXED, learning_rate=0.02, **more), images)
    together.train(2)
    for place, cell in enumerate(together.cells):
        alone = Stack([cell], images)
        alone.train(2)
        assert same(snapshot(alone), snapshot(together), place)
    done = together.state["inner_updates_done"].tolist()
    assert done[0] == 0 and done[1] == 10 and 40 <= done[2] < 2 * MAX_INNER and done[3] == 12
    assert together.state["aggressive_until"].tolist() == [-1, -1, -1, 1]


class Killed(Exception):
    """As a signal ends a process."""


@pytest.mark.parametrize("inner", [11, 25])
def test_a_step_that_is_killed_within_its_inner_updates_is_taken_again(images, inner):
    """From the checkpoint before it, in another stack: to the last bit as if nothing had been."""
    chosen = cells({"inner_updates": 5}, {"inner_rule": "yes"}, {"inner_updates": 30}, learning_rate=0.02)
    straight, cut = Stack(chosen, images), Stack(chosen, images)
    straight.train(2)
    cut.train(1)
    checkpoint = snapshot(cut)
    infer = cut.procedure._infer

    def dying(stack, x, number):
        if number == inner:
            raise Killed
        return infer(stack, x, number)

    cut.procedure._infer = dying
    with pytest.raises(Killed):
        cut.train(2)
    fresh = Stack(chosen, images)
    fresh.load(checkpoint, 1)
    fresh.train(2)
    assert same(snapshot(straight), snapshot(fresh))


def test_validations_come_at_absolute_steps_and_once(images):
    """Stopped right after one, or between two, training goes on as if it had not been; they see the split's first
    images under the same noise each time."""
    chosen = cells({"inner_updates": 2, "mi_stop": "first_fall"}, {"inner_updates": 2, "mi_stop": "fifth_below_best"},
                   validate_every=3, validate_images=30)  # fmt: skip
    straight = Stack(chosen, images)
    straight.train(12)
    assert (straight.state["mi_reference"] > 0).all()
    for stop in (6, 7):
        stack = Stack(chosen, images)
        stack.train(stop)
        fresh = Stack(chosen, images)
        fresh.load(snapshot(stack), stop)
        fresh.train(12)
        assert same(snapshot(straight), snapshot(fresh))


def test_a_cell_that_diverges_in_an_inner_update_leaves_the_others(images):
    """It is masked at that step, and they have the bits that they have without it."""
    chosen = cells({"inner_updates": 7}, {"inner_rule": "yes"}, {"inner_updates": 12})
    whole, broken = Stack(chosen, images), Stack(chosen, images)
    whole.train(3)
    broken.train(1)
    with torch.no_grad():
        broken.params["inference.1.0.weight"][1] = math.inf
    broken.train(3)
    assert broken.diverged_at.tolist() == [-1, 1, -1]
    for place in (0, 2):
        cell = {name: tensor[place : place + 1] for name, tensor in snapshot(broken).items()}
        assert same(cell, snapshot(whole), place)


def test_inner_updates_to_convergence_find_the_posterior():
    """Of a linear-Gaussian model: q(z|x) becomes N(b x, s²), its closed form, and nothing else moves."""
    model = LinearGaussian(a=1.2, gamma=0.5, b=(0.1,), s=(0.9,))
    x = np.random.default_rng(0).normal(0, 1.3, (64, 1))
    stack = stack_of(model, x, procedure="aggressive", inner_updates=150, learning_rate=0.05, batch_size=64, hidden="2",
                     learning_rate_end=5e-4, learning_rate_decay_steps=2)  # fmt: skip
    before = {name: param.detach().clone() for name, param in stack.params.items() if name.startswith("gen")}
    x1 = stack.minibatch(0)
    for step in range(3):
        stack.step = step
        stack.procedure._inner_updates(stack, x1, [0], [150])
    assert all(torch.equal(stack.params[name], tensor) for name, tensor in before.items())
    exact = model.exact()
    grid = torch.tensor([[-1.5], [-0.4], [1.3]], dtype=torch.float64).view(1, 1, 3, 1)
    with torch.no_grad():
        layer = stack.network.terms(stack.params, grid, [torch.zeros(1, 1, 3, 1, dtype=torch.float64)]).layers[0]
    torch.testing.assert_close(layer.q_mean, exact.b[0] * grid, rtol=0, atol=0.02)
    torch.testing.assert_close(layer.q_deviation, torch.full_like(grid, exact.s[0]), rtol=0.05, atol=0)


def test_what_makes_no_sense_is_refused_before_training():
    """In one line that names the option."""
    with pytest.raises(ValueError, match="inner_updates should be 0 where inner_rule is yes"):
        cells({"inner_updates": 5, "inner_rule": "yes"})
    with pytest.raises(ValueError, match=r"in \[0, 1000\]"):
        cells({"inner_updates": 1001})
    with pytest.raises(ValueError, match="a branch trains jointly"):
        Cell(**SMALL, seed=0, objective="ou", rho=0.9, procedure="continue 1 > 0.95, 10 steps each", inner_updates=5)
    with pytest.raises(ValueError, match="inner_updates is an option of procedure aggressive"):
        Cell(**SMALL, seed=0, inner_updates=5)


def test_options_without_effect_do_not_count():
    """Without inner updates there is no phase to end, and without `mi_stop` no validation."""
    (plain,) = cells({})
    assert cell_id(plain) == cell_id(cells({"aggressive_steps": 9, "mi_stop": "first_fall", "validate_every": 3})[0])
    (five,) = cells({"inner_updates": 5})
    assert cell_id(five) == cell_id(replace(five, validate_every=7))
    assert cell_id(five) != cell_id(plain) != cell_id(replace(plain, procedure="joint"))


def test_numbers_of_draws_are_frozen():
    """80 to 88 are those of procedures."""
    assert [purpose.value for purpose in Purpose if 80 <= purpose < 90] == list(range(80, 89))


def test_the_work_of_steps_after_the_aggressive_ones_is_that_of_joint_training():
    given = {"data": "digits", "latents": "3", "seed": 0}
    joint = Cell(**given)
    step = cell_size(joint).flops
    for_ever = Cell(**given, procedure="aggressive", inner_updates=6)
    assert cell_size(for_ever).flops == 6 * step  # 1 + 5/6 · 6
    assert cell_work(joint, 10, 30) == 20 * step and cell_work(for_ever, 10, 30) == 120 * step
    some = Cell(**given, procedure="aggressive", inner_updates=6, aggressive_steps=25)
    assert [cell_work(some, *steps) / step for steps in ((0, 20), (20, 40), (30, 40), (0, 40))] == [120, 45, 10, 165]
