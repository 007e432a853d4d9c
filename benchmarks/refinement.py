"""How few cells does the onset take: refinement against uniform grids, bisection and Optuna's own samplers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import optuna
from scipy.optimize import isotonic_regression

from benchmarks.measure import circumstances, table
from sweeper.analysis.critical import find_transition
from sweeper.analysis.curves import Curve, curves
from sweeper.analysis.transition import FRACTIONS
from sweeper.refine.points import Advice, Goal, Point, Points, transition_of
from sweeper.refine.proposal import propose
from sweeper.store import Store
from tests.sweeper.synthetic import Shape, broken, jump, logistic, onset, planted

FAMILIES = {"broken line": broken, "onset-log": onset, "logistic": logistic}
JUMPS = {f"jump of {height} of 20 nats": jump(height) for height in (3, 6, 18)}
CELLS = (12, 15, 21, 30, 45, 60)
RANGE = (0.2, 0.005)  # of u that every method is told to look in; ρ = 1 beside it
SEEDS = 3  # of every method that does not choose them itself
COARSE = [(0.8, 0), (0.95, 0), (1.0, 0)]
COARSE_3 = list(product((0.8, 0.9, 0.95, 0.98, 1.0), range(3)))


def options(parser: ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--replicates", type=int, default=100, help="curves per family  [default: %(default)s]")
    parser.add_argument(
        "--sampler-replicates", type=int, default=10, help="the same for GP and TPE, which are slow  [%(default)s]"
    )
    parser.add_argument("--store", type=Path, help="replay the curves of this store instead")


def run(args: Namespace) -> None:
    """Print the tables."""
    circumstances(f"optuna {optuna.__version__}.")
    if args.store:
        replay(args.store)
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    errors(args.replicates, args.sampler_replicates)
    targets(args.replicates)


@dataclass(frozen=True)
class Planted:
    """A curve whose onset is known: each seed has its own log u_c, each cell its own noise in units of the drop."""

    family: str
    number: int
    spread: float = 0.03
    noise: float = 0.01

    @property
    def u_c(self) -> float:
        """Drawn log-evenly from 0.02 to 0.12, so that no grid lies well for all."""
        return float(np.exp(np.random.default_rng([self.number, 1]).uniform(np.log(0.02), np.log(0.12))))

    @property
    def shape(self) -> Shape:
        """The order parameter in nats, of u and u_c."""
        return (FAMILIES | JUMPS)[self.family]

    @property
    def truth(self) -> float:
        """The onset, as log u."""
        return float(np.log(1 - planted(self.shape, self.u_c, FRACTIONS["onset"])))

    def __call__(self, point: Point) -> float:
        rho, seed = point
        shape = self.shape
        place = np.random.default_rng([self.number, 2, seed]).normal()
        noise = np.random.default_rng([self.number, 3, seed, round(1e9 * rho)]).normal()
        drop = np.ptp(shape(np.array([0.0, RANGE[0]]), self.u_c))
        u = np.array([round(1 - rho, 12)])
        return float(shape(u, self.u_c * np.exp(self.spread * place))[0] + self.noise * drop * noise)


# --- the methods: a curve and a number of cells → the onset's log u, NaN if there is none


def uniform(curve: Planted, cells: int) -> float:
    """So many cells on a grid even in log u, and ρ = 1."""
    rho = np.append(1 - np.geomspace(*RANGE, cells // SEEDS - 1), 1.0)
    values = [[curve((each, seed)) for each in rho] for seed in range(SEEDS)]
    return _log_u(find_transition(rho, values).onset.value)


def bisection(curve: Planted, cells: int) -> float:
    """The mean over seeds against the level, half of the range each time; the level from ρ = 1 and ρ_ref."""
    level = _level(curve)
    low, high = np.log(RANGE[1]), np.log(RANGE[0])
    for _ in range(cells // SEEDS - 2):
        middle = (low + high) / 2
        mean = np.mean([curve((float(1 - np.exp(middle)), seed)) for seed in range(SEEDS)])
        low, high = (low, middle) if mean > level else (middle, high)
    return (low + high) / 2


def refined(coarse: Sequence[Point]) -> Callable[[Planted, int], float]:
    """Proposals until the cells are spent."""

    def method(curve: Planted, cells: int) -> float:
        if cells < len(coarse):
            return np.nan
        points, _ = follow(curve, Points(coarse), Goal(1e-4, cells))
        return _log_u(transition_of(points).onset.value)

    return method


def follow(curve: Callable[[Point], float | None], points: Points, goal: Goal) -> tuple[Points, Advice]:
    """What is known once the proposals end, and the last of them."""
    while (advice := propose(points, goal)).points:
        points = replace(points, values={**points.values, **{point: curve(point) for point in advice.points}})
    return points, advice


def sampled(
    make: Callable[[int], optuna.samplers.BaseSampler], curve: Planted, budgets: Sequence[int]
) -> Iterator[tuple[float, float]]:
    """One of Optuna's samplers, told to maximise −|value − level|, as near to the level as it can, at each budget.

    The level is the one of bisection; seeds take turns. What it found is its best trial; and where the isotonic fit to
    all its trials passes the level.
    """
    level = _level(curve)
    study = optuna.create_study(direction="maximize", sampler=make(curve.number))
    seen: list[tuple[float, float]] = []
    for number in range(2 * SEEDS, max(budgets) + 1):
        if number in budgets:
            yield study.best_params["log_u"], _crossing(seen, level)
        trial = study.ask()
        log_u = trial.suggest_float("log_u", np.log(RANGE[1]), np.log(RANGE[0]))
        value = curve((float(1 - np.exp(log_u)), number % SEEDS))
        study.tell(trial, -abs(value - level))
        seen.append((log_u, value))


def _crossing(seen: Sequence[tuple[float, float]], level: float) -> float:
    x, y = np.array(sorted(seen)).T
    fit = isotonic_regression(y).x
    if not fit[0] < level <= fit[-1]:
        return np.nan
    above = int(np.argmax(fit >= level))
    share = (level - fit[above - 1]) / (fit[above] - fit[above - 1])
    return float(x[above - 1] + share * (x[above] - x[above - 1]))


def _level(curve: Planted) -> float:
    """The onset's level from the two ends of three seeds: 6 cells."""
    floor, top = (np.mean([curve((rho, seed)) for seed in range(SEEDS)]) for rho in (1.0, 1 - RANGE[0]))
    return float(floor + FRACTIONS["onset"] * (top - floor))


def _log_u(rho: float | None) -> float:
    return np.nan if rho is None else float(np.log(1 - rho))


METHODS = {
    "uniform grid × 3 seeds": uniform,
    "bisection × 3 seeds": bisection,
    "refinement, 3 cells to begin with": refined(COARSE),
    "refinement, 5 ρ × 3 seeds to begin with": refined(COARSE_3),
}
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "GPSampler": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "TPESampler": lambda seed: optuna.samplers.TPESampler(seed=seed),
}


# --- the tables


def errors(replicates: int, sampler_replicates: int) -> None:
    """Median error of the onset's log u against cells used."""
    print(f"Median |error| of log u, all families together; {replicates} curves per family ({sampler_replicates} for")
    print("GP and TPE). In brackets, how many curves got no number.\n")
    names = list(product(FAMILIES, range(replicates)))
    found: dict[str, dict[str, list[list[float]]]] = {}
    for family, number in names:
        curve = Planted(family, number)
        for name, method in METHODS.items():
            each = [method(curve, cells) - curve.truth for cells in CELLS]
            found.setdefault(name, {}).setdefault(family, []).append(each)
    for (name, make), (family, number) in product(SAMPLERS.items(), names):
        if number < sampler_replicates:
            curve = Planted(family, number)
            both = np.array(list(sampled(make, curve, CELLS))) - curve.truth
            for column, what in enumerate(("best trial", "isotonic fit to its trials")):
                found.setdefault(f"{name}, {what}", {}).setdefault(family, []).append(both[:, column].tolist())
    rows = [[name, *_medians(np.concatenate(list(each.values())))] for name, each in found.items()]
    table(["cells", *map(str, CELLS)], rows)
    print("The same by family, at 30 cells:\n")
    at = CELLS.index(30)
    rows = [[name, *(_medians(np.array(each[f])[:, [at]])[0] for f in FAMILIES)] for name, each in found.items()]
    table(["family", *FAMILIES], rows)


def _medians(found: np.ndarray) -> list[str]:
    """Median of each column's absolute values; a curve without a number counts as an error beyond all others."""
    none = np.isnan(found).sum(0)
    medians = np.median(np.where(np.isnan(found), np.inf, np.abs(found)), axis=0)
    return [
        ("–" if np.isinf(median) else f"{median:.4f}") + (f" ({count})" if count else "")
        for median, count in zip(medians, none, strict=True)
    ]


def targets(replicates: int) -> None:
    """Cells used until a target is met, and whether the interval at which it stops may be believed."""
    print("Until a target is met, on the three families and on jumps. Stopping at a narrow interval favours those")
    print(
        "that are narrow by chance, so its coverage, nominal 95 %, is beside it. Grid: the same step, as many seeds.\n"
    )
    rows = []
    for (spread, half_width), (kind, families), (name, coarse) in product(
        ((0.03, 0.1), (0.03, 0.05), (0.03, 0.02), (0.1, 0.05)),
        (("smooth", FAMILIES), ("jumps", JUMPS)),
        (("3 cells", COARSE), ("5 ρ × 3 seeds", COARSE_3)),
    ):
        used, seeds, held, met = [], [], 0, 0
        for family, number in product(families, range(replicates)):
            curve = Planted(family, number, spread)
            points, advice = follow(curve, Points(coarse), Goal(half_width, 400))
            found, truth = transition_of(points).onset, 1 - np.exp(curve.truth)
            met += advice.state == "met"
            used.append(len(points.values))
            seeds.append(len(found.seeds))
            held += bool(found.low is not None and found.low <= truth <= found.high)
        total = len(used)
        steps = np.log(RANGE[0] / RANGE[1]) / (2 * half_width)
        same = (np.ceil(steps) + 2) * np.array(seeds)
        rows.append(
            [
                f"±{half_width:g}, seeds scatter {spread:g}, {kind}, {name}",
                f"{100 * met / total:.0f} %",
                f"{np.median(used):.0f} ({np.percentile(used, 5):.0f}–{np.percentile(used, 95):.0f})",
                f"{np.mean(seeds):.1f}",
                f"{np.median(same):.0f}",
                f"{np.median(np.array(used) / same):.2f}",
                f"{100 * held / total:.1f} %",
            ]
        )
    table(["target", "met", "cells (5–95 %)", "seeds", "uniform grid", "share of it", "interval covers"], rows)


def replay(root: Path) -> None:
    """The curves of a store, as if only the cells had been trained that the proposals pick from its grid."""
    rows = []
    for curve in curves(Store.open(root).cells()):
        whole = curve.transition.onset
        if whole.value is None:
            print(f"{curve.label}: no onset from all its cells, so nothing to compare: {whole.reason}\n")
            continue
        known = {
            (float(value), seed): float(curve.values[row, column])
            for row, seed in enumerate(curve.seeds)
            for column, value in enumerate(curve.control)
            if np.isfinite(curve.values[row, column])
        }
        for name, coarse in {"the two ends of one seed": [], "with the middle, three seeds": _middle(curve)}.items():
            points, advice = _replayed(known, curve, coarse)
            found = transition_of(points).onset
            rows.append(
                [
                    f"{curve.label}, {name}",
                    f"{len(points.values)} of {len(known)}",
                    f"{len(points.values) / len(known):.0%}",
                    _said(found),
                    _said(whole),
                    advice.state,
                ]
            )
    table(["curve, begun with", "cells", "share", "onset from them", "from all", "end"], rows)


def _middle(curve: Curve) -> list[Point]:
    inside = curve.control[curve.axis.coordinate(curve.control) < curve.axis.coordinate(curve.reference)]
    return [(float(inside[len(inside) // 2]), seed) for seed in curve.seeds[:SEEDS]]


def _replayed(known: dict[Point, float], curve: Curve, coarse: Sequence[Point]) -> tuple[Points, Advice]:
    """Proposals among the cells that there are, until these narrow the interval no more."""
    begin = [*coarse, (curve.reference, curve.seeds[0])]
    points = Points(begin, axis=curve.axis, reference=curve.reference, allowed=[float(v) for v in curve.control])
    goal = Goal(1e-6, len(known))
    while (advice := propose(points, goal)).points and known.keys() >= set(advice.points):
        points = replace(points, values={**points.values, **{point: known[point] for point in advice.points}})
    return points, advice


def _said(found: object) -> str:
    value, low, high = (getattr(found, name) for name in ("value", "low", "high"))
    return "–" if value is None else f"{value:.4f} [{low:.4f}, {high:.4f}]"
