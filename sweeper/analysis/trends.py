"""The critical value against depth and against width.

A family holds curves that differ in nothing but the number of layers, or nothing but the units of every layer. From
three sizes with a critical value (onset) on:

    slope     least squares of log(1 − ρ) (of the logarithm of the value, on other axes) over the number of layers, or
              over log₂ of the width, seed by seed, over the seeds that have a crossing at every size. As a ratio: by
              how much 1 − ρ is multiplied per layer, or for twice the width
    interval  95 %, over seeds, joined with what the grids leave open: each crossing lies between two points of its grid
    rising, falling   the interval of the slope leaves out 0: of the critical value itself, so that ρ rises where
              1 − ρ falls
    none      otherwise, and the change from the smallest size to the largest is within the margin of equivalence
              (`sweeper.analysis.equivalence`)
    cannot tell, in any other case, with the reason

A trend is one over the sizes at hand; nothing is said of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from models.cell import canonical_json
from sweeper.analysis.comparisons import ENDS, SAME_WITHIN, SEEDS_ALONE, crossings, scale_of, seeds_alone
from sweeper.analysis.critical import MIN_SEEDS
from sweeper.analysis.curves import Curve
from sweeper.analysis.equivalence import judge
from sweeper.analysis.intervals import Known
from sweeper.parameters.control import Array

MIN_SIZES = 3

Along = Literal["depth", "width"]
PER: dict[Along, str] = {"depth": "per layer", "width": "for twice the width"}


@dataclass(frozen=True, eq=False)
class Family:
    """Curves of one `along` (depth or width), ascending in `sizes`, with all else in common, named by `label`."""

    along: Along
    label: str
    sizes: tuple[int, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Trend:
    """How the critical value moves with the sizes of a family.

    `sizes`: those that have one; `left_out`: those that have none. `ratio` multiplies `scale` (`1 − ρ`) per layer or
    for twice the width, with its intervals as in `Comparison`; `change` over the whole range of sizes. `per_seed`: the
    ratios in the order of `seeds`. The numbers are None where there is no trend, and `reason` says why."""

    along: Along
    label: str
    symbol: str
    scale: str
    sizes: tuple[int, ...]
    left_out: tuple[int, ...]
    verdict: Literal["rising", "falling", "none", "cannot tell"]
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    low_wide: float | None = None
    high_wide: float | None = None
    low_seeds: float | None = None
    high_seeds: float | None = None
    change: float | None = None
    seeds: tuple[int, ...] = ()
    per_seed: tuple[float, ...] = ()
    reason: str | None = None

    def sentence(self) -> str:
        """Family, verdict, and what it rests on, in one line."""
        sizes = f" ({', '.join(map(str, self.sizes))})" if self.sizes else ""
        said = f"{self.label}: critical {self.symbol} against {self.along}{sizes}: {self.verdict}"
        if self.ratio is None:
            return f"{said} ({self.reason})"
        because = f"{self.reason}: " if self.reason else ""
        return (
            f"{said} ({because}{self.scale} × {self.ratio:.3g} {PER[self.along]}, 95 % interval [{self.low:.3g}, "
            f"{self.high:.3g}] with what the grids leave open; "
            f"{seeds_alone(self.low_seeds, self.high_seeds, len(self.seeds))})"
        )


def families(curves: Sequence[Curve], fewest: int = MIN_SIZES) -> list[Family]:
    """All families of `fewest` sizes or more, among the networks whose layers are all as wide."""
    grouped: dict[tuple[Along, str], list[tuple[int, Curve]]] = {}
    for curve in curves:
        sizes = curve.layer_units
        if len(set(sizes)) != 1:
            continue
        others = {name: value for name, value in curve.fields.items() if name != "latents"}
        measures: dict[Along, tuple[int, int]] = {"depth": (len(sizes), sizes[0]), "width": (sizes[0], len(sizes))}
        for along, (size, other) in measures.items():
            grouped.setdefault((along, canonical_json([curve.data, other, others])), []).append((size, curve))
    found = []
    for (along, _), members in grouped.items():
        members.sort(key=lambda member: member[0])
        if len({size for size, _ in members}) == len(members) >= fewest:
            sizes_here, chosen = zip(*members, strict=True)
            found.append(Family(along, _label(along, chosen[0]), sizes_here, chosen))
    return found


def find_trends(curves: Sequence[Curve], same_within: float = SAME_WITHIN) -> list[Trend]:
    """The trend of every family of three sizes or more."""
    return [_trend(family, same_within) for family in families(curves)]


def trends_table(trends: Sequence[Trend]) -> pd.DataFrame:
    """One row per family: the fields of `Trend`."""
    table = pd.DataFrame([vars(trend) | {"seeds": len(trend.seeds)} for trend in trends])
    for name in ("sizes", "left_out", "per_seed"):
        table[name] = table[name].map(list)
    return table.astype(dict.fromkeys(("ratio", *ENDS, "change"), "float64"))


def size_scale(along: Along, sizes: Sequence[int]) -> Array:
    """The number of layers, or log₂ of the width."""
    values = np.asarray(sizes, dtype=np.float64)
    return np.asarray(values if along == "depth" else np.log2(values))


def _label(along: Along, curve: Curve) -> str:
    """What the curves of a family share: `mnist · mlp (200-200) · 40 units per layer`."""
    units = curve.layer_units
    network = curve.architecture.replace(f" {curve.fields['latents']}", "")
    kept = f"{units[0]} units per layer" if along == "depth" else f"{len(units)} layer{'s' * (len(units) > 1)}"
    return " · ".join(filter(None, [curve.data, network, kept, curve.variant]))


def _trend(family: Family, same_within: float) -> Trend:
    axis = family.curves[0].axis
    onsets = [curve.transition.onset for curve in family.curves]
    here = [index for index, onset in enumerate(onsets) if onset.value is not None]
    sizes = tuple(family.sizes[index] for index in here)
    left_out = tuple(size for size in family.sizes if size not in sizes)
    blank = Trend(family.along, family.label, axis.symbol, scale_of(axis), sizes, left_out, "cannot tell")

    def refused(reason: str) -> Trend:
        return Trend(**vars(blank) | {"reason": reason})

    if len(sizes) < MIN_SIZES:
        return refused(f"fewer than {MIN_SIZES} sizes with a critical {axis.symbol}")
    steps = {family.curves[index].steps[1] for index in here}
    if len(steps) > 1:
        return refused("trained for " + " and ".join(f"{each:,}" for each in sorted(steps)) + " steps")
    shared = sorted(set.intersection(*(set(onsets[index].seeds) for index in here)))
    if len(shared) < MIN_SEEDS:
        return refused(f"fewer than {MIN_SEEDS} seeds have one at every size: {len(shared)}")
    at = size_scale(family.along, sizes)
    span = float(at[-1] - at[0])
    weights = (at - at.mean()) / ((at - at.mean()) ** 2).sum() * span
    known = [crossings(family.curves[index], onsets[index], shared) for index in here]
    estimates, lows, highs = (
        np.stack([getattr(one, name) for one in known]) for name in ("estimates", "lows", "highs")
    )
    # A slope is least where the crossings of large sizes are lowest.
    up, down = np.maximum(weights, 0), np.minimum(weights, 0)
    changes = Known(
        weights @ estimates, up @ lows + down @ highs, up @ highs + down @ lows
    )  # (sizes,) @ (sizes, seeds)
    judged = judge(changes, float(np.log(same_within)))
    moves = judged.low > 0 or judged.high < 0
    upward = (judged.mean > 0) != axis.complement  # 1 − ρ falls where ρ rises
    verdict = ("rising" if upward else "falling") if moves else "none" if judged.verdict == "yes" else "cannot tell"
    ends: dict[str, float | None] = {name: float(np.exp(getattr(judged, name) / span)) for name in ENDS}
    if not all(onsets[index].resolved for index in here):
        ends |= dict.fromkeys(SEEDS_ALONE)
    return Trend(
        **vars(blank)
        | ends
        | {
            "verdict": verdict,
            "ratio": float(np.exp(judged.mean / span)),
            "change": float(np.exp(judged.mean)),
            "seeds": tuple(shared),
            "per_seed": tuple(np.exp(changes.estimates / span).tolist()),
            "reason": judged.reason if verdict == "cannot tell" else None,
        }
    )
