"""How many cells each stack gets, so that all workers are done at about the same time.

Stacks are taken longest first, by whichever worker is free. Where shapes do not fill all workers, stacks of one size
leave some of them idle at the end: of 36 cells and 3 cheaper ones on two workers, one would train 18, and the other 18
and then the 3. Here the workers are filled up to a common end, with stacks as large as go in, and the earliest end is
looked for at which everything has its place.

The workers' time is estimated: operations of matrix products, and for each step of a stack a fixed cost.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

# What a step of a stack costs however many cells it has, in operations of matrix products. On a CPU 2.3 ms of a core:
# a step of one small cell takes 2.8 ms, of 16 of them 10 (`benchmarks jax`). On a GPU it is not measured.
STEP_FLOPS = {"cpu": 1.5e8, "cuda": 1e10}
MIN_GAIN = 0.02  # of the whole time: for less, stacks stay equal
MAX_ROUNDS = 20  # of stacks per worker: with more of them little time is lost at the end
HALVINGS = 12  # of the range in which the earliest end lies


@dataclass(frozen=True)
class Group:
    """Cells that may share a stack: `cells` of them, at most `max_stack` in one, with what a stack of them takes.

    `fixed`: however many cells it has; `per_cell`: for each of them. Both in operations, of all steps.
    """

    cells: int
    max_stack: int
    fixed: float
    per_cell: float

    def work(self, cells: int) -> float:
        """Of a stack of so many."""
        return self.fixed + cells * self.per_cell


def balanced(groups: Sequence[Group], sizes: Sequence[Sequence[int]], workers: int) -> list[list[int]]:
    """Cells of each group's stacks: those in `sizes`, or others, as many in all, with which the last worker is done
    sooner by `MIN_GAIN` or more."""
    found = [list(each) for each in sizes]
    before = _end(groups, found, workers)
    least, most = sum(group.work(group.cells) for group in groups) / workers, before
    best = before
    few = workers > 1 and sum(map(len, sizes)) <= MAX_ROUNDS * workers
    for _ in range(HALVINGS if few else 0):
        aimed = (least + most) / 2
        tried = _filled(groups, workers, aimed)
        if tried is None:
            least = aimed
            continue
        most, end = aimed, _end(groups, tried, workers)
        if end < min(best, (1 - MIN_GAIN) * before):
            found, best = tried, end
    return found


def _end(groups: Sequence[Group], sizes: Sequence[Sequence[int]], workers: int) -> float:
    """When all workers are done, who take the longest stack first, each as soon as it is free."""
    ends = [0.0] * workers
    for work in sorted((g.work(n) for g, each in zip(groups, sizes, strict=True) for n in each), reverse=True):
        heapq.heapreplace(ends, ends[0] + work)
    return max(ends)


def _filled(groups: Sequence[Group], workers: int, end: float) -> list[list[int]] | None:
    """Cells of each group's stacks if each worker works until `end`; None if not all cells have a place then.

    The groups with most work come first: of them there is something for several workers. What is left of one goes
    where it just fits as one stack, or else fills the worker who has most time.
    """
    found: list[list[int]] = [[] for _ in groups]
    time = [end] * workers
    for place in sorted(range(len(groups)), key=lambda i: -groups[i].work(groups[i].cells)):
        group, left = groups[place], groups[place].cells
        while left:
            wanted = min(left, group.max_stack)
            enough = [free for free in time if free >= group.work(wanted)]
            free = min(enough) if enough and wanted == left else max(time)
            stack = min(wanted, math.floor((free - group.fixed) / group.per_cell))
            if stack < 1:
                return None
            found[place].append(stack)
            left -= stack
            time[time.index(free)] -= group.work(stack)
    return [sorted(each, reverse=True) for each in found]
