"""How many cells each stack gets, so that all workers are done at about the same time.

Stacks are taken longest first, by whichever worker is free. Stacks of one size for all cells of a shape would leave
workers idle at the end, where shapes do not fill all of them: of 36 cells and 3 of another shape on two workers, one
would train 18, and the other 18 and then the 3. So cells move from the worker that is done last to the one that is done
first, into a stack of their shape there, or into one of their own.

The workers' time is estimated: operations of matrix products, and for each step of a stack a fixed cost.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Of a step of a stack, however many cells it has, in operations of matrix products: 2.3 ms of a core (`benchmarks
# stacks` and `train`: a step of one small cell takes 2.8 ms, of 16 of them 10).
STEP_FLOPS = 1.5e8
GOOD_ENOUGH = 0.02  # a gain, as a share of the whole, that is not worth unequal stacks
MOST_ROUNDS = 10  # of stacks per worker: with more of them little time is lost at the end
MOST_MOVES = 40


@dataclass(frozen=True)
class Group:
    """Cells that may share a stack: `cells` of them, `most` in one, trained for `steps`, each of `flops` per step."""

    cells: int
    most: int
    steps: int
    flops: float

    def work(self, cells: int) -> float:
        """Of a stack of so many."""
        return self.steps * (STEP_FLOPS + cells * self.flops)


@dataclass(frozen=True)
class _Stack:
    group: int
    cells: int
    work: float


@dataclass(frozen=True)
class _Schedule:
    """What each worker does, and when it is done."""

    of_workers: tuple[tuple[_Stack, ...], ...]
    ends: tuple[float, ...]

    @property
    def last(self) -> int:
        """The worker that is done last."""
        return max(range(len(self.ends)), key=self.ends.__getitem__)

    @property
    def first(self) -> int:
        """The worker that is done first."""
        return min(range(len(self.ends)), key=self.ends.__getitem__)

    @property
    def end(self) -> float:
        """When all are done."""
        return max(self.ends)

    @property
    def unevenness(self) -> float:
        """Falls with each cell that goes from a late worker to an early one, even if another is as late."""
        return sum(end**2 for end in self.ends)


def balanced(groups: Sequence[Group], sizes: Sequence[Sequence[int]], workers: int) -> list[list[int]]:
    """Cells of each group's stacks, from those in `sizes`: as many in all, none above the group's most."""
    stacks = [_Stack(g, n, groups[g].work(n)) for g, each in enumerate(sizes) for n in each]
    if workers > 1 and len(stacks) <= MOST_ROUNDS * workers:
        before = _schedule(stacks, workers)
        after = _evened(groups, before)
        if after.end < (1 - GOOD_ENOUGH) * before.end:
            stacks = [stack for each in after.of_workers for stack in each]
    found: dict[int, list[int]] = defaultdict(list)
    for stack in stacks:
        found[stack.group].append(stack.cells)
    return [sorted(found[g], reverse=True) for g in range(len(groups))]


def _evened(groups: Sequence[Group], schedule: _Schedule) -> _Schedule:
    """After moves, each the best for now, until none is left that helps."""
    for _ in range(MOST_MOVES):
        if schedule.end <= (1 + GOOD_ENOUGH) * sum(schedule.ends) / len(schedule.ends):
            break
        tried = [_schedule(stacks, len(schedule.ends)) for stacks in _moves(groups, schedule)]
        best = min(tried, key=lambda each: each.unevenness, default=schedule)
        if best.unevenness >= schedule.unevenness:
            break
        schedule = best
    return schedule


def _schedule(stacks: Sequence[_Stack], workers: int) -> _Schedule:
    """The longest first, each by the worker that is free first."""
    free = [(0.0, worker) for worker in range(workers)]
    of_workers: list[list[_Stack]] = [[] for _ in range(workers)]
    for stack in sorted(stacks, key=lambda each: -each.work):
        end, worker = heapq.heappop(free)
        of_workers[worker].append(stack)
        heapq.heappush(free, (end + stack.work, worker))
    ends = {worker: end for end, worker in free}
    return _Schedule(tuple(map(tuple, of_workers)), tuple(ends[worker] for worker in range(workers)))


def _moves(groups: Sequence[Group], now: _Schedule) -> Iterator[list[_Stack]]:
    """All stacks, with some cells of the last worker's largest stack of each group given to the first worker."""
    others = [s for w, each in enumerate(now.of_workers) if w not in (now.last, now.first) for s in each]
    late, early = list(now.of_workers[now.last]), list(now.of_workers[now.first])
    gap = now.ends[now.last] - now.ends[now.first]
    for g in sorted({stack.group for stack in late}):
        group, giver = groups[g], max((s for s in late if s.group == g), key=lambda each: each.cells)
        kept = [s for s in late if s is not giver]
        each = group.steps * group.flops
        room = min((s for s in early if s.group == g), key=lambda stack: stack.cells, default=None)
        for taker in (room, None):
            cost = 0.0 if taker else group.steps * STEP_FLOPS
            there = taker.cells if taker else 0
            count = min(round((gap - cost) / 2 / each), giver.cells - 1, group.most - there)
            if count > 0:
                changed = [s for s in early if s is not taker]
                changed += [_stack(groups, g, giver.cells - count), _stack(groups, g, there + count)]
                yield others + kept + changed


def _stack(groups: Sequence[Group], group: int, cells: int) -> _Stack:
    return _Stack(group, cells, groups[group].work(cells))
