"""Points at which some seeds have collapsed and others have not: where a system has two states, seeds take either.

Near such a transition the mean over seeds says of no seed what it does, and the share of seeds that are alive is the
order parameter to look at. A seed is alive above half of the way from the floor to the value at the reference; seeds
are split where each lies above that or below a quarter, and there are both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.analysis.curves import Curve

ALIVE, DEAD = 0.5, 0.25  # of the way from the floor to the value at the reference
MIN_SEEDS = 3


@dataclass(frozen=True)
class Split:
    """So many of the seeds with a value at a point of the control parameter are alive."""

    value: float
    alive: int
    seeds: int


def levels(curve: Curve) -> tuple[float, float] | None:
    """The values below which a seed is dead and above which it is alive; None where floor or reference are unknown."""
    floor, height = curve.transition.floor, curve.transition.height
    if floor is None or height is None or height <= floor:
        return None
    return floor + DEAD * (height - floor), floor + ALIVE * (height - floor)


def alive(curve: Curve, index: int) -> float:
    """Share of the seeds with a value at a point that are alive; NaN where that cannot be told."""
    at, here = levels(curve), _values(curve, index)
    return float((here > at[1]).mean()) if at is not None and len(here) else float("nan")


def splits(curve: Curve) -> list[Split]:
    """The points at which seeds are split, in the order of the control parameter."""
    at, found = levels(curve), []
    for index, value in enumerate(curve.control):
        here = _values(curve, index)
        if at is None or len(here) < MIN_SEEDS:
            continue
        dead, living = int((here < at[0]).sum()), int((here > at[1]).sum())
        if dead and living and dead + living == len(here):
            found.append(Split(float(value), living, len(here)))
    return found


def split_sentence(curve: Curve) -> str | None:
    """`seeds are split: 3 of 8 are alive at K = 6, 7 of 8 at K = 7`; None where they are nowhere."""
    found = splits(curve)
    if not found:
        return None
    said = [f"{each.alive} of {each.seeds}{' are alive' * (not place)} at {curve.axis.at(each.value)}"
            for place, each in enumerate(found)]  # fmt: skip
    return f"seeds are split: {', '.join(said)}"


def _values(curve: Curve, index: int) -> np.ndarray:
    column = curve.values[:, index]
    finite: np.ndarray = column[np.isfinite(column)]
    return finite
