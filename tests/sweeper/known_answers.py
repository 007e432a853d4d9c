"""Planted curves by the hundred: how often intervals hold the truth, how far estimates lie from it, how often a number
comes out where there is no transition, and how often the right family is found.

In every replicate the planted place falls anywhere within a step of the grid, the places of the seeds scatter by 0.05
in log u, as those of trained networks do, and noise is 1 % of the drop, unless the scenario says otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sweeper.analysis.critical import find_transition
from sweeper.analysis.shapes import fit_shapes, mean_weights
from sweeper.analysis.transition import FRACTIONS, Critical
from sweeper.parameters.control import RHO
from tests.sweeper.synthetic import (
    GRID,
    Shape,
    broken,
    cloglog,
    gompertz,
    hump,
    jump,
    logistic,
    logistic_of,
    onset,
    planted,
    sample,
)

QUICKSTART = np.array([0.8, 0.87, 0.9, 0.93, 0.95, 0.96, 0.972, 0.98, 0.986, 0.99, 0.993, 0.995, 1.0])
GRIDS = {"phase_cpu": (GRID, 0.055), "quickstart": (QUICKSTART, 0.02)}  # with u in the middle of where places fall
STEP = 0.35  # of the wider grid there, in log u
NOISE, SPREAD = 0.01, 0.05

Noise = Callable[[np.ndarray, float], np.ndarray]  # x = log u and log u_c to a factor of the noise


@dataclass(frozen=True)
class Scenario:
    """How curves are planted.

    `spread`: of the seeds' places in log u, normal; `modes`: or each seed's at one or the other end of ± so much, with
    a tenth of it as spread. `noise`: standard deviation over the drop, times `noise_factor`. `lift`: how much higher,
    over the drop, the last point (ρ = 1) ends. `reasons`: beginnings of the reasons that are right in place of a
    number."""

    shape: Shape
    kind: str = "onset"
    spread: float = SPREAD
    modes: float = 0.0
    noise: float = NOISE
    noise_factor: Noise = lambda x, x_c: np.ones_like(x)
    lift: float = 0.0
    reasons: tuple[str, ...] = ()


def _grows_towards(x: np.ndarray, x_c: float) -> np.ndarray:
    """Five times the noise at the planted place, 1.03 times at log u = 1 from there."""
    return 1 + 4 * np.exp(-(((np.maximum(x, -50) - x_c) / 0.45) ** 2))


SCENARIOS = {
    "kink": Scenario(broken),
    "onset-log": Scenario(onset),
    "logistic, w = 0.2": Scenario(logistic),
    "logistic, w = 0.1": Scenario(logistic_of(0.1)),
    "logistic, w = 0.05": Scenario(logistic_of(0.05)),
    "logistic, w = 0.2, midpoint": Scenario(logistic, "midpoint"),
    "kink, midpoint": Scenario(broken, "midpoint"),
    "Gompertz, w = 0.2": Scenario(gompertz(0.2)),
    "Gompertz, w = 0.1": Scenario(gompertz(0.1)),
    "complementary log-log, w = 0.2": Scenario(cloglog(0.2)),
    "complementary log-log, w = 0.1": Scenario(cloglog(0.1)),
    "jump of 3 of 20 nats": Scenario(jump(3)),
    "jump of 6 of 20 nats": Scenario(jump(6)),
    "jump of 18 of 20 nats": Scenario(jump(18)),
    "jump of 18 of 20 nats, midpoint": Scenario(jump(18), "midpoint"),
    "hump of 1 nat": Scenario(hump(1), reasons=("not monotone",)),
    "hump of 2 nats": Scenario(hump(2), reasons=("not monotone",)),
    "noise growing towards the onset": Scenario(broken, noise_factor=_grows_towards),
    "noise growing, Gompertz": Scenario(gompertz(0.2), noise_factor=_grows_towards),
    "last point 2 % higher": Scenario(broken, lift=0.02),
    "last point 4 % higher": Scenario(broken, lift=0.04),
    "last point 4 % higher, jump": Scenario(jump(18), lift=0.04),
    "two modes": Scenario(broken, modes=0.2, reasons=("seeds in two modes",)),
    "two modes, jump": Scenario(jump(18), modes=0.2, reasons=("seeds in two modes",)),
    "scatter of 0.03": Scenario(broken, spread=0.03),
    "scatter of 0.1": Scenario(gompertz(0.2), spread=0.1),
}


@dataclass(frozen=True)
class Coverage:
    """Counts of `replicates`: headline intervals that hold the planted place, and those that hold it if the curve is
    smooth; curves with no number and a right reason, and with another, by reason. `error`: median distance of estimate
    and truth, `bias`: mean of the difference, `half`: median half-width of the interval, all in log u; `unresolved`:
    curves said to drop within a step."""

    replicates: int
    covered: int = 0
    covered_smooth: int = 0
    right: int = 0
    unresolved: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    error: float = 0.0
    bias: float = 0.0
    half: float = 0.0


def coverage(name: str, grid: str, seeds: int, replicates: int) -> Coverage:
    """Estimate the critical value on the planted curves of a scenario."""
    scenario, (rho, u_c) = SCENARIOS[name], GRIDS[grid]
    rng = np.random.default_rng([seeds, len(grid), *name.encode()])
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    errors, halves = [], []
    for _ in range(replicates):
        place = u_c * np.exp(STEP * rng.uniform(-0.5, 0.5))
        found, truth = _planted_once(scenario, rho, place, seeds, rng)
        if found.value is None:
            if found.reason.startswith(scenario.reasons or ("",)) and scenario.reasons:
                counts["right"] += 1
            else:
                wrong[found.reason.split(":")[0]] += 1
            continue
        counts["covered"] += found.low <= truth <= found.high
        counts["covered_smooth"] += found.low_smooth <= truth <= found.high_smooth
        counts["unresolved"] += not found.resolved
        low, value, high, true = np.log(1 - np.array([found.low, found.value, found.high, truth]))
        errors.append(value - true)
        halves.append((low - high) / 2)
    numbers = (np.median(np.abs(errors)), np.mean(errors), np.median(halves)) if errors else (0, 0, 0)
    return Coverage(
        replicates,
        **{key: counts[key] for key in ("covered", "covered_smooth", "right", "unresolved")},
        wrong=wrong,
        error=round(float(numbers[0]), 3),
        bias=round(float(numbers[1]), 3),
        half=round(float(numbers[2]), 3),
    )


def _planted_once(
    scenario: Scenario, rho: np.ndarray, place: float, seeds: int, rng: np.random.Generator
) -> tuple[Critical, float]:
    """What is found on one planted curve, and the truth: the place of the mean seed; of two modes, if all seeds are in
    the same one, that mode's, for nothing tells that there is another."""
    u = np.round(1 - rho, 12)
    truth = place
    if scenario.modes:
        sides = rng.choice([-1.0, 1.0], size=seeds)
        places = place * np.exp(scenario.modes * (sides + 0.1 * rng.normal(size=seeds)))
        if abs(sides.sum()) == seeds:
            truth = place * np.exp(scenario.modes * sides[0])
    else:
        places = place * np.exp(scenario.spread * rng.normal(size=seeds))
    rows = np.stack([scenario.shape(u, each) for each in places])
    drop = np.ptp(scenario.shape(np.array([0.0, 0.2]), place))
    with np.errstate(divide="ignore"):
        factor = scenario.noise_factor(np.log(u), np.log(place))
    rows += scenario.noise * drop * factor * rng.normal(size=rows.shape)
    rows[:, rho == 1] += scenario.lift * drop
    found = getattr(find_transition(rho, rows, 0.8, axis=RHO), scenario.kind)
    return found, planted(scenario.shape, truth, FRACTIONS[scenario.kind])


FAMILIES = {"onset": (onset, 0.045), "logistic": (logistic, 0.085)}  # shape, u_c in the middle of a step of 0.2


def told(family: str, seeds: int, replicates: int) -> int:
    """How many curves of `family`, onset or logistic, weigh it above the other."""
    shape, u_c = FAMILIES[family]
    (other,) = {"onset", "logistic"} - {family}
    rng, right = np.random.default_rng([seeds, len(family)]), 0
    for _ in range(replicates):
        place = u_c * np.exp(0.2 * rng.uniform(-0.5, 0.5))
        rows = sample(shape, place, seeds, NOISE, 0.03, rng)
        weights = mean_weights(fit_shapes(GRID, row, 0.8) for row in rows)
        right += weights[family] > weights[other]
    return right


def _noisy(shape: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Curves of `shape` (u to the order parameter, height 10 at the reference) with a seed's own scale and noise."""

    def curves(rng: np.random.Generator, seeds: int) -> np.ndarray:
        scale = np.exp(0.03 * rng.normal(size=(seeds, 1)))
        return scale * shape(np.round(1 - GRID, 12)) + 10 * NOISE * rng.normal(size=(seeds, len(GRID)))

    return curves


WITHOUT = {  # curves without a transition
    "flat": _noisy(lambda u: np.full_like(u, 0.5)),
    "flat, low": _noisy(lambda u: np.full_like(u, 0.01)),
    "noise about zero": lambda rng, seeds: rng.normal(size=(seeds, len(GRID))),
    "noise above zero": lambda rng, seeds: np.abs(rng.normal(size=(seeds, len(GRID)))),
    "a level per seed": lambda rng, seeds: np.abs(rng.normal(size=(seeds, len(GRID))) + rng.normal(size=(seeds, 1))),
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
