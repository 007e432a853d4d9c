"""Are two critical values the same? Paired differences over seeds, judged against a margin of equivalence.

A difference d_s, one a seed, is that of two places on a logarithmic scale, so that exp(d) is a ratio. "The same" means
|d| < log m for a stated ratio m: no test can show that d is 0, and that a test finds no difference shows nothing.

    interval   mean d ± t(S − 1) standard errors over seeds, 95 %
    wide       the same, with a half-width of at least `resolution`: as finely as the grids know the difference
    yes        two one-sided t tests (Schuirmann 1987), 5 % each, find |d| below log m: the 90 % interval lies within
               the margin; and so does mean d ± resolution
    no         the wide interval lies outside the margin
    cannot tell, in any other case, with the reason

The verdict rests on the wide interval because the raw one knows the seeds' scatter alone: where the order parameter
drops within one step of the grid, all seeds are interpolated to nearly the same place, and the raw interval of their
differences shrinks to nothing wherever in that step the places are. A place is known to half a step either way, so the
difference of two places to half a step of the one and half a step of the other: that is the resolution. Then step
functions planted a margin apart, whose places grids of one step cannot tell apart, are never called the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from sweeper.analysis.axis import Array
from sweeper.analysis.critical import CONFIDENCE

ERROR = 0.05  # of each one-sided test
COARSE, ACROSS = "the grid's steps are too coarse for this margin", "the interval over seeds reaches across the margin"
Verdict = Literal["yes", "no", "cannot tell"]


@dataclass(frozen=True)
class Judged:
    """A mean difference with its intervals, in the unit of the differences (a logarithm), and the verdict.

    `p` is the larger p value of the two one-sided tests, which see the seeds' scatter and not the grid.
    `reason` says why nothing can be told, None where something can.
    """

    mean: float
    low: float
    high: float
    low_wide: float
    high_wide: float
    p: float
    verdict: Verdict
    reason: str | None = None


def half_width(values: ArrayLike, confidence: float = CONFIDENCE) -> Array:
    """Half the t interval of a mean over seeds: values, (seeds, …) with 2 or more, to (…,)."""
    rows = np.asarray(values, dtype=np.float64)
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return np.asarray(student_t.ppf(0.5 + confidence / 2, len(rows) - 1) * error)


def judge(differences: ArrayLike, resolution: float, margin: float) -> Judged:
    """Judge paired differences, (seeds,) with 2 or more, against |d| < `margin`; `resolution` as above.

    Raises ValueError on fewer than two differences or a margin that is not above 0.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2:
        raise ValueError(f"differences should have shape (seeds,) with 2 or more, got {d.shape}")
    if not margin > 0:
        raise ValueError(f"margin should be above 0, got {margin}")
    freedom = len(d) - 1
    mean, error = float(d.mean()), float(d.std(ddof=1) / np.sqrt(len(d)))
    half, half_one_sided = float(half_width(d)), float(half_width(d, 1 - 2 * ERROR))
    wide = max(half, resolution)
    # A scatter of exactly 0 leaves no doubt but the grid's.
    p = float(student_t.sf((margin - abs(mean)) / max(error, 1e-300), freedom))
    within, within_raw = (abs(mean) + max(half_one_sided, least) < margin for least in (resolution, 0.0))
    outside, outside_raw = (abs(mean) - max(half, least) > margin for least in (resolution, 0.0))
    verdict: Verdict = "yes" if within else "no" if outside else "cannot tell"
    reason = None
    if verdict == "cannot tell":
        coarse = within_raw or outside_raw
        reason = COARSE if coarse else ACROSS
    return Judged(mean, mean - half, mean + half, mean - wide, mean + wide, p, verdict, reason)
