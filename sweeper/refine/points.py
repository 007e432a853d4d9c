"""What is asked of the refinement of one curve, what is known of the curve, and what is advised."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.cell import nine_digits
from sweeper.analysis.critical import find_transition
from sweeper.analysis.transition import Transition
from sweeper.parameters.control import RHO, Axis

Point = tuple[float, int]  # value of the control parameter, seed


@dataclass(frozen=True)
class Goal:
    """When to stop: `half_width` of the interval, in x (0.05: 5 % of 1 − ρ), or so many `cells` of a curve."""

    half_width: float
    cells: int


@dataclass(frozen=True)
class Points:
    """What is known of a curve.

    `coarse`: the points to begin with; their seeds are trained everywhere. `values`: the order parameter at each
    finished point, None where there is none (the cell diverged or failed). `pending`: points in training.
    `allowed`: the only values of the control parameter that may be asked for [any].
    """

    coarse: Collection[Point]
    values: Mapping[Point, float | None] = field(default_factory=dict)
    pending: Collection[Point] = ()
    axis: Axis = RHO
    reference: float = 0.8
    allowed: Collection[float] | None = None


@dataclass(frozen=True)
class Advice:
    """What to do next, and `why` in words.

    `state`: `coarse`, `floor`, `place` (points nearer to the crossing) or `seeds`, with the `points` to train; or,
    without any, `wait` (for those in training), `met`, `spent` (the budget) or `stuck` (no point would help).
    `half_width` is the interval's as it stands, None while there is no number; `used`: points finished or in training.
    """

    state: str
    why: str
    used: int
    points: tuple[Point, ...] = ()
    half_width: float | None = None


@dataclass(frozen=True)
class Wish:
    """What one rule would have next, if the cells are left: the `points` to train, the `state` and the reason `why`.

    `spare`: cells that have to be left besides.
    """

    state: str
    why: str
    points: Sequence[Point]
    spare: int = 0


def transition_of(points: Points) -> Transition:
    """Onset and midpoint as the estimator has them from the finished points. Raises ValueError if there are none."""
    control = sorted({value for value, _ in points.values})
    seeds = sorted({seed for _, seed in points.values})
    table = np.full((len(seeds), len(control)), np.nan)
    lost = np.zeros(table.shape, bool)
    for (value, seed), found in points.values.items():
        place = seeds.index(seed), control.index(value)
        table[place], lost[place] = (np.nan, True) if found is None else (found, False)
    return find_transition(control, table, points.reference, seeds, lost, points.axis)


def tidy(point: Point) -> Point:
    """The point with its value rounded as cells have it."""
    return nine_digits(point[0]), int(point[1])
