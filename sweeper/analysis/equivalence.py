"""Are two critical values the same? Paired differences over seeds, judged against a margin of equivalence.

A difference d_s, one per seed, is that of two crossings on a logarithmic scale, so that exp(d) is a ratio. "The same"
means |d| < log m for a stated ratio m: no test can show that d is 0, and that a test finds no difference shows
nothing.

    interval   of mean d over seeds, 95 %, joined with what the grids leave open (`sweeper.analysis.intervals`)
    yes        two one-sided tests (Schuirmann 1987), 5 % each, find |d| below log m: the 90 % interval lies within the
               margin
    no         the 95 % interval lies outside the margin
    cannot tell, in any other case, with the reason

The seeds' scatter alone is not enough for a verdict: where the order parameter drops within one step of the grid, all
seeds are interpolated to nearly the same crossing, and the t interval of their differences shrinks to nothing wherever
in that step the crossings are. So each seed's difference is known only between the ends that the grid points around its
two crossings leave. Then step functions planted a margin apart, whose crossings grids of one step cannot tell apart,
are never called the same, nor called different.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr

from sweeper.analysis.intervals import CONFIDENCE, Interval, Known, hull_of, t_half_width

ERROR = 0.05  # of each one-sided test
COARSE, ACROSS = "the grid's steps are too coarse for this margin", "the interval over seeds reaches across the margin"
Verdict = Literal["yes", "no", "cannot tell"]


@dataclass(frozen=True)
class Judged:
    """A mean difference with its intervals, in the unit of the differences (a logarithm), and the verdict.

    `low`, `high`: the 95 % interval on which the verdict rests; `low_wide`, `high_wide`: its hull with what the grids
    leave open in any seed; `low_seeds`, `high_seeds`: the t interval over seeds alone, as if the grids resolved the
    curves. `p` is the larger p value of the two one-sided t tests, which see the seeds' scatter and not the grid.
    `reason` says why nothing can be told, None where something can.
    """

    mean: float
    low: float
    high: float
    low_wide: float
    high_wide: float
    low_seeds: float
    high_seeds: float
    p: float
    verdict: Verdict
    reason: str | None = None


def judge(differences: Known, margin: float) -> Judged:
    """Judge paired differences, of 2 seeds or more, against |d| < `margin`.

    Raises ValueError on fewer than two differences or a margin that is not above 0.
    """
    d = differences.estimates
    if d.ndim != 1 or len(d) < 2:
        raise ValueError(f"differences should have shape (seeds,) with 2 or more, got {d.shape}")
    if not margin > 0:
        raise ValueError(f"margin should be above 0, got {margin}")
    mean, error = float(d.mean()), float(d.std(ddof=1) / np.sqrt(len(d)))

    def by_seeds(confidence: float) -> Interval:
        half = float(t_half_width(d, confidence))
        return mean - half, mean + half

    # A scatter of exactly 0 leaves no doubt but the grid's.
    p = float(stdtr(len(d) - 1, (abs(mean) - margin) / max(error, 1e-300)))  # above the quotient, by symmetry
    interval = differences.interval()
    verdict = _verdict(differences.interval(1 - 2 * ERROR), interval, margin)
    reason = None
    if verdict == "cannot tell":
        told = _verdict(by_seeds(1 - 2 * ERROR), by_seeds(CONFIDENCE), margin) != "cannot tell"
        reason = COARSE if told else ACROSS
    return Judged(mean, *interval, *hull_of(interval, differences.hull()), *by_seeds(CONFIDENCE), p, verdict, reason)


def _verdict(tests: Interval, interval: Interval, margin: float) -> Verdict:
    """tests: the 90 % interval of the two one-sided tests."""
    if max(-tests[0], tests[1]) < margin:
        return "yes"
    return "no" if interval[0] > margin or interval[1] < -margin else "cannot tell"
