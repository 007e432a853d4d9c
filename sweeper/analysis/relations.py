"""How a study's curves relate: pair by pair, over depth and width, and by finite-size scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.analysis.comparisons import (
    SAME_WITHIN,
    Comparison,
    compare_curves,
    comparison_lines,
    comparisons_table,
)
from sweeper.analysis.curves import Curve
from sweeper.analysis.scaling import MIN_SIZES, Scaling, family_scaling, scaling_sentence, scaling_table
from sweeper.analysis.trends import Family, Trend, families, find_trends, trends_table


@dataclass(frozen=True, eq=False)
class Relations:
    """Comparisons of pairs, trends of families, and the families that can be scaled."""

    comparisons: tuple[Comparison, ...] = ()
    trends: tuple[Trend, ...] = ()
    scalings: tuple[tuple[Family, Scaling], ...] = ()

    def lines(self) -> list[str]:
        """What a headline says of them."""
        lines = comparison_lines(self.comparisons) + [trend.sentence() for trend in self.trends]
        return lines + [scaling_sentence(*found) for found in self.scalings]

    def tables(self) -> dict[str, pd.DataFrame]:
        """`comparisons`, `trends` and `scaling`, those that have rows."""
        tables = {}
        if self.comparisons:
            tables["comparisons"] = comparisons_table(self.comparisons)
        if self.trends:
            tables["trends"] = trends_table(self.trends)
        if self.scalings:
            tables["scaling"] = scaling_table(self.scalings)
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "comparisons": [vars(one) for one in self.comparisons],
            "trends": [vars(trend) for trend in self.trends],
            "scaling": scaling_table(self.scalings).to_dict("records"),
        }


def relate(curves: Sequence[Curve], same_within: float = SAME_WITHIN) -> Relations:
    """Everything that can be said of the curves beside each other.

    same_within: the ratio of 1 − ρ within which two critical values count as the same. Raises ValueError if it is not
    above 1.
    """
    scalings = [(family, family_scaling(family)) for family in families(curves, MIN_SIZES)]
    return Relations(
        comparisons=tuple(compare_curves(curves, same_within)),
        trends=tuple(find_trends(curves, same_within)),
        scalings=tuple((family, found) for family, found in scalings if found is not None),
    )
