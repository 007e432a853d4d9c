"""Whether the seeds' crossings form two groups: then their mean is the crossing of none of them.

The sorted crossings are cut at their largest spacing. The two sides count as groups if that spacing is wide in itself
(`MIN_APART` in x: five times what seeds of trained networks scatter), against the seeds' scatter within the two sides,
and against the step of the grid, within which crossings are not known at all. A group of one is one seed apart from all
others.

Of two modes that are equally likely, three seeds show only one in a quarter of all cases, and five in a sixteenth:
nothing in such data says that there is another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.parameters.control import Array

MIN_APART = 0.25  # in x, a ratio of 1.28 in 1 − ρ
MIN_APART_IN_SCATTER = 3.0  # standard deviations within the groups
MIN_APART_IN_STEPS = 1.25  # of the widest gap in which a seed's crossing lies


@dataclass(frozen=True)
class Groups:
    """Indices of the seeds in the two groups, nearer to collapse first, and the groups' mean crossings in x."""

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    lower_mean: float
    upper_mean: float

    @property
    def single(self) -> bool:
        """Whether one of the groups is a single seed."""
        return min(len(self.lower), len(self.upper)) == 1


def groups(crossings: Array, step: float) -> Groups | None:
    """The two groups of `crossings`, (seeds,), in x; None where they are one. step: of the grid there, in x."""
    order = np.argsort(crossings)
    ascending = crossings[order]
    cut = int(np.argmax(np.diff(ascending))) + 1
    apart = float(ascending[cut] - ascending[cut - 1])
    sides = ascending[:cut], ascending[cut:]
    freedom = max(len(crossings) - 2, 1)
    within = float(np.sqrt(sum(((side - side.mean()) ** 2).sum() for side in sides) / freedom))
    if apart < max(MIN_APART, MIN_APART_IN_STEPS * step, MIN_APART_IN_SCATTER * within):
        return None
    lower, upper = (tuple(int(index) for index in part) for part in (order[:cut], order[cut:]))
    return Groups(lower, upper, float(sides[0].mean()), float(sides[1].mean()))
