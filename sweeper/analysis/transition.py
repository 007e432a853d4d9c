"""What is found on one curve: onset and midpoint, each a value with its interval or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

FRACTIONS = {"onset": 0.10, "midpoint": 0.50}  # of the way from the floor to the value at the reference


@dataclass(frozen=True)
class Critical:
    """A critical value with its interval, or the `reason` why there is none (then the numbers are None).

    `value` is one of the control parameter and `low`, `high` its 95 % interval: the numbers to quote. The interval
    joins the scatter over seeds with the grid: nothing is taken for granted about the curve between the two points
    around a seed's crossing. `resolved`: whether the grid resolves the curve there; if not, `value` is the middle of
    the interval, for where in the step the curve drops is not known. `low_smooth`, `high_smooth`: the narrower interval
    that holds if the curve bends no more between grid points than its neighbouring steps show. `low_gap`, `high_gap`:
    the grid points between which all seeds cross; `low_wide`, `high_wide`: the hull of those and of the interval.
    `per_seed` holds each used seed's value in the order of `seeds`, `per_seed_low`, `per_seed_high` the grid points
    around it. `bound` is given in place of a value where that lies between the last grid point and the physical end: a
    lower bound where the high end collapses, as of ρ, else an upper one. `n_diverged` and `n_missing` count the cells
    of the curve that gave no value. `warnings`: what a reader should know beside the number."""

    kind: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    resolved: bool | None = None
    low_smooth: float | None = None
    high_smooth: float | None = None
    low_gap: float | None = None
    high_gap: float | None = None
    low_wide: float | None = None
    high_wide: float | None = None
    bound: float | None = None
    per_seed: tuple[float, ...] = ()
    per_seed_low: tuple[float, ...] = ()
    per_seed_high: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    n_diverged: int = 0
    n_missing: int = 0
    reason: str | None = None
    warnings: tuple[str, ...] = ()

    def written(self, number: float | None, wide: bool = False) -> str:
        """`number` with the decimals that give two digits of the interval's half-width, or one digit of that of the
        wide interval; `–` where there is none."""
        low, high = (self.low_wide, self.high_wide) if wide else (self.low, self.high)
        if number is None or low is None or high is None:
            return "–"
        decimals = (0 if wide else 1) - math.floor(math.log10(max((high - low) / 2, 1e-9)))
        return f"{number:,.{min(max(3 if high < 1 else 0, decimals), 6)}f}"


@dataclass(frozen=True)
class Transition:
    """Onset and midpoint of a curve, and what they rest on.

    `reference` is the control parameter's value that counts as uncollapsed. `floor` and `height` (the value there) are
    means over the used seeds, in the order parameter's unit, None where no seed can be used; `collapsed` lists the
    control parameter's values whose mean is the floor, and `tail` those that lie on it as far as a number needs.

    The onset depends on a convention: `band` has the values at which the curve has risen by 5 % and by 20 % (None where
    the grid does not resolve these), and `other_onset` the onset where `other_reference`, the grid point midway
    between onset and reference, counts as uncollapsed. None where there is no onset, or no such point."""

    reference: float
    onset: Critical
    midpoint: Critical
    floor: float | None = None
    height: float | None = None
    collapsed: tuple[float, ...] = ()
    tail: tuple[float, ...] = ()
    band: tuple[float, float] | None = None
    other_reference: float | None = None
    other_onset: float | None = None

    @property
    def criticals(self) -> tuple[Critical, Critical]:
        """Onset, then midpoint."""
        return self.onset, self.midpoint
