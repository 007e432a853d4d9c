"""Two curves side by side: is the critical value the same for two data sets, two architectures, two methods?

Compared are curves that differ in exactly one of the three. Cells of one seed share batches and noise as far as their
shapes allow, so differences are taken seed by seed, over the seeds that have a crossing on both sides, and the ratio of
1 − ρ (of the value itself on other axes) is judged by `sweeper.analysis.equivalence`. Nothing is told where a side has
no critical value, where fewer than 3 seeds are shared, or where the curves were trained for different numbers of steps,
because the crossing moves with steps. Each verdict stands alone: of many pairs that lie at the margin, about one in
twenty is called the same.

Where two smoothed curves differ in S, the ratio is that of (1 − ρ)(1 − 1/S): near ρ = 1 S fresh samples smooth by that
much, so 1 − ρ alone would show a difference that is S's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from models.cell import canonical_json
from sweeper.analysis.critical import MIN_SEEDS
from sweeper.analysis.curves import Curve
from sweeper.analysis.equivalence import Verdict, judge
from sweeper.analysis.intervals import Known
from sweeper.analysis.transition import FRACTIONS, Critical
from sweeper.analysis.variants import NAMED, differing, in_both, in_words, is_method
from sweeper.parameters.control import RHO, STEPS, Axis

SAME_WITHIN = 1.25  # ratio of 1 − ρ that still counts as the same
SEEDS_ALONE = ("low_seeds", "high_seeds")
ENDS = ("low", "high", "low_wide", "high_wide", *SEEDS_ALONE)
MAX_LINES = 6  # pairs of a kind that a headline spells out

Subject = Literal["data", "method", "architecture"]
SUBJECTS: dict[Subject, str] = {"data": "data sets", "method": "methods", "architecture": "architectures"}


@dataclass(frozen=True)
class Comparison:
    """The critical values of two curves beside each other.

    `subject`: what differs, and `first`, `second`: how; `shared`: what both have in common, as a label; `kind`: onset
    or midpoint; `scale`: what the ratio is one of (`1 − ρ`), first / second; `margin`: the ratio within which they
    count as the same. `ratio` is the geometric mean over seeds, `low`, `high` its 95 % interval, over seeds and joined
    with what both grids leave open, on which the verdict rests; `low_wide`, `high_wide` its hull with what they leave
    open in any seed; `low_seeds`, `high_seeds` the t interval over seeds alone, as if the grids resolved both curves;
    `p` of the two one-sided tests; `per_seed` the ratios in the order of `seeds`. Where one side has none, the numbers
    are None."""

    subject: Subject
    first: str
    second: str
    shared: str
    symbol: str
    scale: str
    kind: str
    margin: float
    verdict: Verdict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    low_wide: float | None = None
    high_wide: float | None = None
    low_seeds: float | None = None
    high_seeds: float | None = None
    p: float | None = None
    seeds: tuple[int, ...] = ()
    per_seed: tuple[float, ...] = ()
    reason: str | None = None

    @property
    def label(self) -> str:
        """`mnist and omniglot · mlp 40-40-40-40 (200-200)`."""
        both = f"{self.first} and {self.second}"
        parts = [both, self.shared] if self.subject == "data" else [self.shared, both]
        return " · ".join(filter(None, parts))

    def sentence(self) -> str:
        """Question, verdict, and what it rests on, in one line."""
        said = f"{self.label}: the same critical {self.symbol} within a ratio of {self.margin:g} in {self.scale}: "
        said += self.verdict
        if self.ratio is None:
            return f"{said} ({self.reason})"
        because = f"{self.reason}: " if self.reason else ""
        interval = f"95 % interval [{self.low:.3g}, {self.high:.3g}] with what both grids leave open"
        alone = f"; {seeds_alone(self.low_seeds, self.high_seeds, len(self.seeds))}"
        return f"{said} ({because}ratio {self.ratio:.3g}, {interval}{alone})"


def seeds_alone(low: float | None, high: float | None, seeds: int) -> str:
    """The t interval over seeds alone in words, or that there is none."""
    if low is None or high is None:
        return f"{seeds} seeds, whose scatter these grids do not show"
    return f"[{low:.3g}, {high:.3g}] over {seeds} seeds alone"


def compare_curves(curves: Sequence[Curve], same_within: float = SAME_WITHIN) -> list[Comparison]:
    """Every pair of curves that differ in one thing, by their onsets and by their midpoints.

    same_within: the ratio, above 1, within which two values count as the same. Curves of a single point are left out.
    Raises ValueError if it is not above 1.
    """
    if not same_within > 1:
        raise ValueError(f"same_within should be a ratio above 1, got {same_within}")
    return [
        _compare(first, second, subject, kind, same_within)
        for kind in FRACTIONS
        for subject, first, second in _pairs([curve for curve in curves if _is_curve(curve)])
    ]


def comparison_lines(comparisons: Sequence[Comparison], subjects: Collection[Subject] = ()) -> list[str]:
    """The onsets' comparisons in words: each pair, or, of more than 6 of one kind, how many came out which way.

    subjects: only these [all].
    """
    lines = []
    for subject, words in SUBJECTS.items():
        if subjects and subject not in subjects:
            continue
        found = [one for one in comparisons if one.subject == subject and one.kind == "onset"]
        if len(found) <= MAX_LINES:
            lines += [one.sentence() for one in found]
        else:
            verdicts = [one.verdict for one in found]
            counts = ", ".join(f"{name}: {verdicts.count(name)}" for name in ("yes", "no", "cannot tell"))
            lines.append(
                f"{len(found)} pairs of {words}: the same critical {found[0].symbol} within a ratio of "
                f"{found[0].margin:g} in {found[0].scale}: {counts} (each in the table of comparisons)"
            )
    return lines


def comparisons_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row per pair and kind: the fields of `Comparison`."""
    table = pd.DataFrame([vars(one) | {"seeds": len(one.seeds)} for one in comparisons])
    table["per_seed"] = table["per_seed"].map(list)
    return table.astype(dict.fromkeys(("ratio", *ENDS, "p"), "float64"))


def scale_of(axis: Axis) -> str:
    """What ratios are ratios of: `1 − ρ`, or the value itself."""
    return f"1 − {axis.symbol}" if axis.complement else axis.symbol


def crossings(curve: Curve, critical: Critical, seeds: Sequence[int]) -> Known:
    """Logarithms of 1 − ρ (of the value, on other axes) at the critical values of these seeds, (seeds,), each between
    the logarithms at the grid points around it."""
    rows = [critical.seeds.index(seed) for seed in seeds]
    values = np.array([critical.per_seed, critical.per_seed_low, critical.per_seed_high], dtype=np.float64)[:, rows]
    logarithms = np.log(1 - values if curve.axis.complement else values)
    return Known(logarithms[0], logarithms[1:].min(axis=0), logarithms[1:].max(axis=0))


def _is_curve(curve: Curve) -> bool:
    return int(np.isfinite(curve.axis.coordinate(curve.control)).sum()) > 1


def _pairs(curves: Sequence[Curve]) -> Iterator[tuple[Subject, Curve, Curve]]:
    """Pairs that differ in one of data set, architecture and everything else that training depends on."""
    for first, second in combinations(curves, 2):
        subjects = [name for name in SUBJECTS if _identity(first, name) != _identity(second, name)]
        if len(subjects) == 1:
            yield subjects[0], first, second


def _identity(curve: Curve, subject: Subject) -> str:
    if subject == "data":
        return curve.data
    if subject == "architecture":
        return canonical_json([curve.fields[name] for name in NAMED if name != "data"])
    return canonical_json({name: value for name, value in curve.fields.items() if name not in NAMED})


def _compare(first: Curve, second: Curve, subject: Subject, kind: str, same_within: float) -> Comparison:
    axis = first.axis
    a, b = (getattr(curve.transition, kind) for curve in (first, second))
    shift, scale = _samples_apart(first, second)
    names = _names(first, second, subject)
    blank = Comparison(subject, *names, axis.symbol, scale, kind, same_within, "cannot tell")

    def refused(reason: str) -> Comparison:
        return Comparison(**vars(blank) | {"reason": reason})

    for name, critical in zip(names[:2], (a, b), strict=True):
        if critical.value is None:
            return refused(f"no critical {axis.symbol} of {name}: {critical.reason}")
    if axis.name != STEPS.name and first.steps[1] != second.steps[1]:
        return refused(f"{first.steps[1]:,} training steps against {second.steps[1]:,}, with which the place moves")
    if not np.isfinite(shift):
        return refused("S = 1 does not smooth")
    shared = sorted(set(a.seeds) & set(b.seeds))
    if len(shared) < MIN_SEEDS:
        return refused(f"fewer than {MIN_SEEDS} seeds have a critical {axis.symbol} on both sides: {len(shared)}")
    between = crossings(first, a, shared) - crossings(second, b, shared)
    differences = Known(between.estimates + shift, between.lows + shift, between.highs + shift)
    judged = judge(differences, float(np.log(same_within)))
    numbers: dict[str, float | None] = {name: float(np.exp(getattr(judged, name))) for name in ENDS}
    if not (a.resolved and b.resolved):  # the middles of gaps do not scatter as the crossings in them do
        numbers |= dict.fromkeys(SEEDS_ALONE)
    return Comparison(
        **vars(blank)
        | numbers
        | {
            "verdict": judged.verdict,
            "ratio": float(np.exp(judged.mean)),
            "p": judged.p,
            "seeds": tuple(shared),
            "per_seed": tuple(np.exp(differences.estimates).tolist()),
            "reason": judged.reason,
        }
    )


def _names(first: Curve, second: Curve, subject: Subject) -> tuple[str, str, str]:
    """How the two differ, and what they share."""
    common = in_both(first.variant, second.variant)
    if subject == "method":
        different = differing([first.fields, second.fields])
        said = [in_words(curve.fields, different) for curve in (first, second)]
        if all(is_method(curve.variant, curve.fields) for curve in (first, second)):
            said, common = [first.variant, second.variant], ""
        parts = [first.data, first.architecture, common]
    else:
        said = [getattr(curve, subject) for curve in (first, second)]
        parts = [first.architecture if subject == "data" else first.data, common]
    return said[0], said[1], " · ".join(filter(None, parts))


def _samples_apart(first: Curve, second: Curve) -> tuple[float, str]:
    """log (1 − 1/S) of the first less that of the second where they differ, and what then is compared."""
    scale = scale_of(first.axis)
    samples = [curve.fields.get("smoothing_samples") for curve in (first, second)]
    if first.axis.name != RHO.name or samples[0] == samples[1]:
        return 0.0, scale
    with np.errstate(divide="ignore"):
        logarithms = np.log1p(-1 / np.asarray(samples, dtype=np.float64))
    return float(logarithms[0] - logarithms[1]), f"({scale})(1 − 1/S)"
