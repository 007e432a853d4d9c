"""Planted curves by the hundred: how often intervals hold the truth, how far estimates lie from it, how often a number
comes out where there is no transition, and how often the right family is found.

In every replicate the planted place falls anywhere within a step of the grid. Noise is 1 % of the drop, the places of
the seeds scatter by 0.03 in log u.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sweeper.analysis.critical import FRACTIONS, find_transition
from sweeper.analysis.families import fit_families, mean_weights
from tests.sweeper.synthetic import GRID, broken, logistic, onset, planted, sample

STEP = 0.2  # of the grid near the planted places, in log u
NOISE, SPREAD = 0.01, 0.03
FAMILIES = {  # shape, u_c in the middle of the step, and the estimand that is the family's own
    "broken": (broken, 0.05, "onset"),
    "onset": (onset, 0.045, "onset"),
    "logistic": (logistic, 0.085, "midpoint"),
}


@dataclass(frozen=True)
class Coverage:
    """Counts of `replicates`: intervals that hold the planted place, raw and wide, and curves without a number;
    `error`: median distance of estimate and truth, `bias`: mean of the difference, both in log u."""

    replicates: int
    raw: int
    wide: int
    refused: int
    error: float
    bias: float


def coverage(family: str, kind: str, seeds: int, replicates: int) -> Coverage:
    """Estimate `kind` on planted curves of `family`."""
    shape, u_c, _ = FAMILIES[family]
    rng = np.random.default_rng([seeds, len(family), len(kind)])
    errors, raw, wide = [], 0, 0
    for _ in range(replicates):
        place = u_c * np.exp(STEP * rng.uniform(-0.5, 0.5))
        found = getattr(find_transition(GRID, sample(shape, place, seeds, NOISE, SPREAD, rng)), kind)
        if found.value is not None:
            truth = planted(shape, place, FRACTIONS[kind])
            raw += found.low <= truth <= found.high
            wide += found.low_wide <= truth <= found.high_wide
            errors.append(np.log((1 - found.value) / (1 - truth)))
    refused = replicates - len(errors)
    return Coverage(replicates, raw, wide, refused, float(np.median(np.abs(errors))), float(np.mean(errors)))


def told(family: str, seeds: int, replicates: int) -> int:
    """How many curves of `family`, onset or logistic, weigh it above the other."""
    shape, u_c, _ = FAMILIES[family]
    (other,) = {"onset", "logistic"} - {family}
    rng, right = np.random.default_rng([seeds, len(family)]), 0
    for _ in range(replicates):
        place = u_c * np.exp(STEP * rng.uniform(-0.5, 0.5))
        rows = sample(shape, place, seeds, NOISE, SPREAD, rng)
        weights = mean_weights(fit_families(GRID, row, 0.8) for row in rows)
        right += weights[family] > weights[other]
    return right


def _noisy(shape: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Curves of `shape` (u to the order parameter, height 10 at the reference) with a seed's own scale and noise."""

    def curves(rng: np.random.Generator, seeds: int) -> np.ndarray:
        scale = np.exp(SPREAD * rng.normal(size=(seeds, 1)))
        return scale * shape(np.round(1 - GRID, 12)) + 10 * NOISE * rng.normal(size=(seeds, len(GRID)))

    return curves


WITHOUT = {  # curves without a transition
    "flat": _noisy(lambda u: np.full_like(u, 0.5)),
    "flat, low": _noisy(lambda u: np.full_like(u, 0.01)),
    "noise about zero": lambda rng, seeds: rng.normal(size=(seeds, len(GRID))),
    "noise above zero": lambda rng, seeds: np.abs(rng.normal(size=(seeds, len(GRID)))),
    "a level a seed": lambda rng, seeds: np.abs(rng.normal(size=(seeds, len(GRID))) + rng.normal(size=(seeds, 1))),
    "u": _noisy(lambda u: 10 * u / 0.2),
    "√u": _noisy(lambda u: 10 * np.sqrt(u / 0.2)),
    "u to the 0.3": _noisy(lambda u: 10 * (u / 0.2) ** 0.3),
    "u² over a floor that has not collapsed": _noisy(lambda u: 3 + 7 * (u / 0.2) ** 2),
    "log u down to the last point": _noisy(lambda u: 10 * np.log(np.maximum(u, 0.01) / 0.01) / np.log(20)),
}  # fmt: skip


def alarms(name: str, seeds: int, replicates: int) -> int:
    """How many curves without a transition give a number, onset or midpoint."""
    rng = np.random.default_rng([seeds, len(name)])
    found = (find_transition(GRID, WITHOUT[name](rng, seeds)) for _ in range(replicates))
    return sum(any(each.value is not None for each in transition.criticals) for transition in found)
