"""Halving on a validation loss: its rules as tables, what it takes back, when training ends, and plain descent."""

from __future__ import annotations

import math

import pytest
import torch

from models.cell import Cell
from models.procedures.halving import Record, Rule, decide
from models.procedures.validation import validation_loss
from models.stack.stack import Stack
from tests.models.test_aggressive import SMALL, same, snapshot

LOSSES = [10, 9, 8, 8.5, 8.6, 8.55, 8.4, 8.45, 8.46, 7.9]


def rates(losses: list[float], most: int = 9, start: int = 0) -> list[list[float]]:
    """The rate, from 1, of a cell of either rule after each validation, and the step at which it ended."""
    two = torch.tensor([2, 2])
    rule = Rule(two, torch.tensor([False, True]), two * 0 + start, two * 0 + most)
    infinite = torch.full((2,), math.inf, dtype=torch.float64)
    record, found = Record(infinite, infinite, two * 0, two * 0, two * 0 - 1), []
    for step, loss in enumerate(losses, start=1):
        record = decide(record, torch.full((2,), loss, dtype=torch.float64), step, rule).record
        found.append((0.5**record.halvings).tolist())
    return [*map(list, zip(*found, strict=True)), record.ended_at.tolist()]


def test_rates_are_halved_as_in_the_published_code():
    """Validation losses, patience 2: by the last reference, of text, and by the best loss, of images."""
    text, image, _ = rates(LOSSES)
    assert text == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert image == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_training_ends_after_so_many_halvings_and_not_before_a_step():
    """At the validation of the last halving, for good; a start puts the first one off, and those before count."""
    assert rates(LOSSES, most=2)[2] == [9, 7]
    text, image, _ = rates(LOSSES, start=8)
    assert text == image == [1] * 7 + [0.5, 0.5, 0.5]


def test_a_loss_that_is_no_number_is_above():
    """It becomes neither the reference nor the best."""
    assert rates([10, math.nan, math.nan])[0] == [1, 1, 0.5]


def cells(count: int = 2, **more: object) -> list[Cell]:
    base = SMALL | {"halve_after": 1, "validate_every": 2, "halvings": 3, "learning_rate": 0.3, "validate_images": 40}
    return [Cell.of(base | {"seed": i} | more) for i in range(count)]


@pytest.mark.parametrize(
    "more", [{}, {"optimizer": "sgd", "gradient_clip": 2.0}, {"procedure": "aggressive", "inner_updates": 2}]
)
def test_a_schedule_is_a_function_of_what_was_recorded(more, images):
    """So steep a rate halves soon. Interrupted at any step, training goes on to the same bits; when the schedule ends a
    cell has the weights of its best validation, and keeps them."""
    straight = Stack(cells(**more), images)
    straight.train(40)
    ended = straight.state["schedule_ended_at"].tolist()
    assert all(0 < step <= 40 for step in ended) and not straight.active.any()
    assert straight.state["halvings_done"].tolist() == [3, 3]
    assert torch.equal(straight.best, straight.block.values)
    torch.testing.assert_close(validation_loss(straight), straight.state["loss_best"], rtol=1e-12, atol=0)
    for stop in (min(ended), min(ended) - 1):
        first = Stack(cells(**more), images)
        first.train(stop)
        second = Stack(cells(**more), images)
        second.load(snapshot(first), stop)
        second.train(40)
        assert same(snapshot(straight), snapshot(second))


def test_a_halving_takes_back_the_best_weights_and_begins_the_optimiser_anew(images):
    """The step after it is the first of a fresh Adam at half the rate."""
    stack = Stack(cells(1), images)
    while not stack.state["halvings_done"].item():
        stack.train(stack.step + 1)
    assert torch.equal(stack.block.values, stack.best)
    assert not stack.optimizer.first.any() and not stack.optimizer.updates.any()
    assert float(stack.optimizer.learning_rate(stack.step)) == 0.15
    stack.train(stack.step + 1)
    moved = (stack.block.values - stack.best).abs().max()
    torch.testing.assert_close(float(moved), 0.15, rtol=1e-4, atol=0)  # Adam's first step is its rate


def test_plain_descent_follows_the_gradient(images):
    """One step is minus rate times gradient, clipped together or by group; a masked cell keeps its bits, NaN or not."""
    for clip in ("together", "group"):
        stack = Stack(cells(2, optimizer="sgd", halve_after=0, gradient_clip=0.7, clip_norm=clip), images)
        before, gradient = stack.block.values.clone(), torch.randn_like(stack.block.values)
        stack.block.gradient.copy_(gradient)
        gradient[1] = math.nan
        norm = torch.linalg.vector_norm(gradient, dim=1)
        stack.optimizer.update(gradient, 0, torch.tensor([True, False]), norm)
        assert torch.equal(stack.block.values[1], before[1])
        for group, ranges in stack.block.ranges.items():
            length = norm[0] if clip == "together" else stack.block.norm([group])[0]
            for columns in ranges:
                expected = before[0, columns] - 0.3 * 0.7 / length * gradient[0, columns]
                torch.testing.assert_close(stack.block.values[0, columns], expected)


def test_what_makes_no_sense_is_refused_before_training():
    """Adam's options with plain descent, and a schedule that ends by itself in a branch of equal steps."""
    with pytest.raises(ValueError, match="adam_beta1 is an option of optimizer adam: optimizer sgd has none"):
        Cell(**SMALL, seed=0, optimizer="sgd", adam_beta1=0.5)
    branch = {"objective": "ou", "rho": 0.9, "procedure": "continue 1 > 0.95, 10 steps each"}
    with pytest.raises(ValueError, match="a branch trains for equally many steps"):
        Cell(**SMALL, seed=0, halve_after=2, **branch)
