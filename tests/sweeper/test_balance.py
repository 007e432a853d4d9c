"""How many cells each stack gets, so that workers are done at about the same time."""

import heapq
import itertools

import pytest

from sweeper.planning.balance import MOST_ROUNDS, STEP_FLOPS, Group, balanced

LARGE, SMALL = 5e8, 3e7  # operations of a step of one 40-40-40-40 cell, and of one of the quickstart's


def ends(groups, sizes, workers):
    """When each worker is done, who takes the longest stack first as soon as it is free."""
    free = [0.0] * workers
    for work in sorted((g.work(n) for g, each in zip(groups, sizes, strict=True) for n in each), reverse=True):
        heapq.heapreplace(free, free[0] + work)
    return sorted(free)


def shortest(groups, workers):
    """The least that any division could take, were there no cost per step and no cell undivided."""
    return sum(g.cells * g.steps * g.flops for g in groups) / workers


def test_the_quickstart_leaves_no_worker_idle():
    """36 cells and 3 that are cheaper: 18, 18 and 3 would have one worker do nothing for a fifth of the time."""
    groups = [Group(36, 48, 4000, SMALL), Group(3, 48, 4000, SMALL / 2)]
    before = ends(groups, [[18, 18], [3]], 2)
    sizes = balanced(groups, [[18, 18], [3]], 2)
    after = ends(groups, sizes, 2)
    assert before[1] / before[0] > 1.2 and after[1] / after[0] < 1.05
    assert [sum(each) for each in sizes] == [36, 3] and len(sizes[0]) == 2 and sizes[1] == [3]


def test_a_shape_is_divided_where_no_stack_of_it_lies_with_the_worker_that_is_done_first():
    """Three shapes of equal work on two workers: one of them becomes two stacks."""
    groups = [Group(12, 12, 1000, LARGE)] * 3
    sizes = balanced(groups, [[12]] * 3, 2)
    assert sorted(map(len, sizes)) == [1, 1, 2]
    assert ends(groups, sizes, 2)[1] < 0.8 * ends(groups, [[12]] * 3, 2)[1]


def test_several_late_workers_give_to_several_early_ones():
    """Four shapes on six workers: two would have nothing to do."""
    groups = [Group(12, 12, 1000, LARGE)] * 4
    after = ends(groups, balanced(groups, [[12]] * 4, 6), 6)
    assert after[-1] < 0.8 * ends(groups, [[12]] * 4, 6)[-1]


def test_small_stacks_are_not_divided_where_the_fixed_cost_of_a_step_eats_the_gain():
    groups = [Group(2, 48, 1000, STEP_FLOPS / 10)] * 3
    assert balanced(groups, [[2]] * 3, 2) == [[2]] * 3


def test_what_is_even_already_stays_and_one_worker_gets_what_it_got():
    groups = [Group(25, 12, 1000, LARGE)]
    assert balanced(groups, [[7, 6, 6, 6]], 2) == [[7, 6, 6, 6]]
    groups = [Group(36, 48, 4000, SMALL), Group(3, 48, 4000, SMALL / 2)]
    assert balanced(groups, [[36], [3]], 1) == [[36], [3]]
    assert balanced([], [], 4) == []


def test_studies_of_many_stacks_are_left_as_they_are():
    workers, groups = 2, [Group(12 * 2 * (MOST_ROUNDS + 1), 12, 1000, LARGE), Group(3, 12, 1000, LARGE)]
    sizes = [[12] * (2 * (MOST_ROUNDS + 1)), [3]]
    assert balanced(groups, sizes, workers) == sizes


CASES = [*itertools.product([(36, 3), (5, 5, 5), (40, 1, 1), (7, 30, 2, 11)], [LARGE, SMALL], [2, 3, 7], [12, 48])]


@pytest.mark.parametrize(("counts", "flops", "workers", "most"), CASES)
def test_no_cell_is_lost_no_stack_too_large_and_nothing_takes_longer(counts, flops, workers, most):
    groups = [Group(n, most, 1000 * (1 + k % 2), flops * (1 + k)) for k, n in enumerate(counts)]
    sizes = [[n // -(-n // most)] * -(-n // most) for n in counts]
    sizes = [[each[0] + n - sum(each), *each[1:]] for each, n in zip(sizes, counts, strict=True)]
    groups = [Group(g.cells, max(most, *each), g.steps, g.flops) for g, each in zip(groups, sizes, strict=True)]
    found = balanced(groups, sizes, workers)
    assert [sum(each) for each in found] == list(counts)
    assert all(0 < n <= g.most for g, each in zip(groups, found, strict=True) for n in each)
    assert shortest(groups, workers) <= ends(groups, found, workers)[-1] <= ends(groups, sizes, workers)[-1]
