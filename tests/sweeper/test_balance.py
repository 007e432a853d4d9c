"""How many cells each stack gets, so that workers are done at about the same time."""

import heapq
import itertools

import pytest

from models.cell import Cell, cell_work, joint_steps
from sweeper.planning.balance import MAX_ROUNDS, MIN_GAIN, STEP_FLOPS, Group, balanced

LARGE, SMALL = 5e8, 3e7  # operations of a step of one 40-40-40-40 cell, and of one of the quickstart's


def group(cells, max_stack, flops, steps=4000):
    return Group(cells, max_stack, steps * STEP_FLOPS["cpu"], steps * flops)


def ends(groups, sizes, workers):
    """When each worker is done, who takes the longest stack first as soon as it is free."""
    free = [0.0] * workers
    for work in sorted((g.work(n) for g, each in zip(groups, sizes, strict=True) for n in each), reverse=True):
        heapq.heapreplace(free, free[0] + work)
    return sorted(free)


def least(groups, workers):
    """Less time than any division takes: each shape as a single stack, and work that could be cut anywhere."""
    return sum(g.work(g.cells) for g in groups) / workers


def test_the_quickstart_leaves_no_worker_idle():
    """36 cells and 3 that are cheaper: 18, 18 and 3 would have one worker do nothing for a fifth of the time."""
    groups = [group(36, 48, SMALL), group(3, 48, SMALL / 2)]
    before = ends(groups, [[18, 18], [3]], 2)
    sizes = balanced(groups, [[18, 18], [3]], 2)
    after = ends(groups, sizes, 2)
    assert before[1] / before[0] > 1.2 and after[1] / after[0] < 1.05
    assert [sum(each) for each in sizes] == [36, 3] and len(sizes[0]) == 2 and sizes[1] == [3]


def test_a_shape_is_divided_where_there_is_one_too_many_for_the_workers():
    """Three shapes of equal work on two workers: one of them becomes two stacks; so do four on six."""
    for shapes, workers in ((3, 2), (4, 6)):
        groups = [group(12, 12, LARGE)] * shapes
        sizes = balanced(groups, [[12]] * shapes, workers)
        assert ends(groups, sizes, workers)[-1] < 0.8 * ends(groups, [[12]] * shapes, workers)[-1]
        assert sum(map(len, sizes)) > shapes


def test_stacks_are_merged_where_the_fixed_cost_of_a_step_outweighs_their_cells():
    """Three small cells of two shapes on two workers: a stack of two beside one of one, not three of one."""
    groups = [group(2, 48, STEP_FLOPS["cpu"] / 10), group(1, 48, STEP_FLOPS["cpu"] / 10)]
    assert balanced(groups, [[1, 1], [1]], 2) == [[2], [1]]


def test_a_little_gain_is_not_worth_unequal_stacks():
    """Of two stacks of 18 the one that has a worker to itself gets more only where that gains 2 % of the time."""
    groups, equal = [group(72, 48, LARGE), group(1, 48, 1.4 * LARGE)], [[36, 36], [1]]
    other = ends(groups, [[37, 35], [1]], 2)[-1] / ends(groups, equal, 2)[-1]
    assert 1 - MIN_GAIN < other < 1 and balanced(groups, equal, 2) == equal
    groups = [group(36, 48, LARGE), group(1, 48, LARGE * 8)]
    assert balanced(groups, [[18, 18], [1]], 2) == [[22, 14], [1]]


def test_what_is_even_already_stays_and_one_worker_gets_what_it_got():
    groups = [group(25, 12, LARGE)]
    assert balanced(groups, [[7, 6, 6, 6]], 2) == [[7, 6, 6, 6]]
    groups = [group(36, 48, SMALL), group(3, 48, SMALL / 2)]
    assert balanced(groups, [[36], [3]], 1) == [[36], [3]]
    assert balanced([], [], 4) == []


def test_studies_of_many_stacks_are_left_as_they_are():
    """Even where it would help: here a second shape leaves one worker over for long."""
    few, many = ([[12] * 2 * rounds, [12]] for rounds in (MAX_ROUNDS // 2 - 1, MAX_ROUNDS))
    for sizes, stays in ((few, False), (many, True)):
        groups = [group(sum(sizes[0]), 12, LARGE), group(12, 12, LARGE * 20)]
        assert (balanced(groups, sizes, 2) == sizes) == stays


def test_a_step_with_inner_updates_has_their_fixed_cost_too():
    fields = dict(data="digits", latents="10-10", hidden="64-64", objective="vae", seed=0)
    joint = Cell.of(fields)
    inner = Cell.of(fields | dict(procedure="aggressive", inner_updates=20, aggressive_steps=100))
    assert joint_steps(joint, 10, 60) == 50
    assert joint_steps(inner, 0, 100) == pytest.approx(cell_work(inner, 0, 100) / cell_work(joint, 0, 1))
    assert joint_steps(inner, 0, 100) > 500 and joint_steps(inner, 100, 200) == 100


CASES = [*itertools.product([(36, 3), (5, 5, 5), (40, 1, 1), (7, 30, 2, 11)], [LARGE, SMALL], [2, 3, 7, 16], [12, 48])]


@pytest.mark.parametrize(("counts", "flops", "workers", "most"), CASES)
def test_no_cell_is_lost_no_stack_too_large_and_nothing_takes_longer(counts, flops, workers, most):
    groups = [group(n, most, flops * (1 + k), 1000 * (1 + k % 2)) for k, n in enumerate(counts)]
    stacks = [-(-n // most) for n in counts]
    sizes = [[(i + 1) * n // k - i * n // k for i in range(k)] for n, k in zip(counts, stacks, strict=True)]
    found = balanced(groups, sizes, workers)
    assert [sum(each) for each in found] == list(counts)
    assert all(0 < n <= most for each in found for n in each)
    assert least(groups, workers) <= ends(groups, found, workers)[-1] <= ends(groups, sizes, workers)[-1]
