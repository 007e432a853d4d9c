"""Whether the lines of a published table lie the same way round in a store, whatever the steps.

Two lines are compared by one quantity if both are printed, farther apart than the margin, and measured over at least
three common seeds. Measured is the paired difference over seeds with its 95 % t interval: cells of one seed share
initialisation, batches and noise. An interval that contains 0 cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeper.analysis.critical import MIN_SEEDS
from sweeper.analysis.intervals import t_half_width

if TYPE_CHECKING:
    from sweeper.compare import Beside

Verdict = Literal["the same way", "the other way", "cannot tell"]


@dataclass(frozen=True)
class Pair:
    """Two lines: published and measured difference (first − second), the latter with its interval over seeds."""

    first: str
    second: str
    published: float
    measured: float
    low: float
    high: float
    seeds: int
    verdict: Verdict


@dataclass(frozen=True)
class Order:
    """All pairs of one quantity."""

    quantity: str
    pairs: tuple[Pair, ...]

    def count(self, verdict: Verdict) -> int:
        """How many pairs have this verdict."""
        return sum(pair.verdict == verdict for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"quantity": self.quantity, "pairs": [asdict(pair) for pair in self.pairs]}


def orders(found: Sequence[Beside]) -> tuple[Order, ...]:
    """The orders that can be looked at, one per quantity, of results that are one number per seed."""
    by_quantity: dict[str, list[Beside]] = {}
    for one in found:
        if len(one.published.value) == 1 and one.by_seed:
            by_quantity.setdefault(one.published.quantity, []).append(one)
    made = [Order(quantity, tuple(_pairs(results))) for quantity, results in by_quantity.items()]
    return tuple(order for order in made if order.pairs)


def _pairs(results: Sequence[Beside]) -> list[Pair]:
    pairs = []
    for first, second in combinations(results, 2):
        published = first.published.value[0] - second.published.value[0]
        seeds = sorted(first.by_seed.keys() & second.by_seed.keys())
        apart = abs(published) > max(first.published.margin, second.published.margin)
        if first.published is second.published or not apart or len(seeds) < MIN_SEEDS:
            continue
        differences = np.array([[first.by_seed[seed] - second.by_seed[seed]] for seed in seeds])
        mean, half = float(differences.mean()), float(t_half_width(differences)[0])
        known = abs(mean) > half
        verdict: Verdict = "cannot tell" if not known else "the same way" if mean * published > 0 else "the other way"
        one, other = (" · ".join(filter(None, [side.published.name, side.setting])) for side in (first, second))
        pairs.append(Pair(one, other, published, mean, mean - half, mean + half, len(seeds), verdict))
    return pairs
