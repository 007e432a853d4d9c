"""A study's report from its rows: the critical value of every curve, how sure it is, and how curves relate.

Nothing is written here: tables and figures are `sweeper.analysis.files`, and `sweeper.report` makes all of it from a
store. The sentences are `sweeper.analysis.sentences`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.analysis.checks import Checks, check
from sweeper.analysis.comparisons import SAME_WITHIN, comparison_lines
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.methods import method_table, several_methods
from sweeper.analysis.relations import Relations, relate
from sweeper.analysis.sentences import (
    check_notes,
    conditions_line,
    full_sentence,
    row_notes,
    shallow_note,
    short_sentence,
)
from sweeper.analysis.split import split_sentence
from sweeper.parameters.control import RHO, STEPS, Axis
from sweeper.parameters.order import parse_order_parameter, second_of


@dataclass(frozen=True, eq=False)
class Second:
    """Curves of an order parameter that is reported beside the first."""

    order_parameter: str
    curves: list[Curve]
    relations: Relations

    def lines(self) -> list[str]:
        """The report's critical values and how data sets compare by it, each line beginning with what it is about."""
        by = f"by {parse_order_parameter(self.order_parameter).words}"
        lines = [f"{curve.label}: {by}: {short_sentence(curve)}" for curve in self.curves]
        return lines + [f"{by}: {line}" for line in comparison_lines(self.relations.comparisons, ["data"])]


@dataclass(frozen=True, eq=False)
class Report:
    """What was found: the curves with their onset and midpoint, the files written, and what a reader must know.

    `second`: the same cells' curves of a second order parameter, with how they relate; None where there is none.
    `methods`: one row per method (`sweeper.analysis.methods`); None where the study does not compare methods.
    `tables`, `figures`, `page`: the files written so far; `unwritten`: why there are none, where they could not be
    written.
    """

    study: str
    order_parameter: str
    curves: list[Curve]
    relations: Relations = field(default_factory=Relations)
    second: Second | None = None
    methods: pd.DataFrame | None = None
    tables: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checks: list[Checks] = field(default_factory=list)
    page: Path | None = None
    unwritten: str | None = None

    def headline(self) -> list[str]:
        """A line per curve: its critical value with interval, or why there is none; then where seeds are split, the
        same by the second order parameter, how curves relate, and what all of it is conditional on."""
        lines = [f"{curve.label}: {full_sentence(curve)}" for curve in self.curves]
        lines += [f"{curve.label}: {said}" for curve in self.curves if (said := split_sentence(curve))]
        lines += self.second.lines() if self.second else []
        conditions = (
            [conditions_line(self.curves)] if any(curve.transition.onset.value for curve in self.curves) else []
        )
        return lines + self.relations.lines() + conditions

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: numbers, strings, lists and None."""
        found = [
            _plain(curve) | {"checks": asdict(checks)} for curve, checks in zip(self.curves, self.checks, strict=True)
        ]
        second = None
        if self.second:
            second = {
                "order_parameter": self.second.order_parameter,
                "unit": parse_order_parameter(self.second.order_parameter).unit,
                "curves": [_plain(curve) for curve in self.second.curves],
                **self.second.relations.to_dict(),
            }
        return {
            "study": self.study,
            "order_parameter": self.order_parameter,
            "unit": parse_order_parameter(self.order_parameter).unit,
            "curves": found,
            **self.relations.to_dict(),
            "second": second,
            "methods": _records(self.methods),
            "headline": self.headline(),
            "tables": [str(path) for path in self.tables],
            "figures": [str(path) for path in self.figures],
            "notes": self.notes,
            "page": str(self.page) if self.page else None,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The rows of a table as plain values; a number that is not there is None."""
    if table is None:
        return []
    return [{k: v for k, v in row.items()} for row in json.loads(table.to_json(orient="records"))]


def _plain(curve: Curve) -> dict[str, Any]:
    """A curve and its critical values as plain values."""
    transition = curve.transition
    return {
        "data": curve.data,
        "architecture": curve.architecture,
        "objective": curve.objective,
        "variant": curve.variant,
        "control": curve.axis.name,
        "reference": curve.reference,
        "steps": list(curve.steps),
        **{critical.kind: asdict(critical) for critical in transition.criticals},
        "floor_points": list(transition.collapsed),
        "onset_at_5_and_20_percent": transition.band,
        "other_reference": transition.other_reference,
        "onset_at_other_reference": transition.other_onset,
    }


def analyse(
    cells: pd.DataFrame,
    history: pd.DataFrame,
    *,
    study_name: str,
    axis: Axis = RHO,
    reference: float | None = None,
    order_parameter: str = "kl_top",
    second_order_parameter: str = "auto",
    same_within: float = SAME_WITHIN,
    asked: Collection[str] | None = None,
) -> Report:
    """The critical values of a store's rows.

    Args:
        cells, history: a store's rows; either may be empty.
        axis: the control parameter [ρ]; `reference`: its value that counts as uncollapsed [the axis's, 0.8 for ρ].
        order_parameter: see `sweeper.parameters.order`; over steps it is taken from `history`.
        second_order_parameter: what is reported beside it [of a KL, the active units of its layer].
        same_within: the ratio of 1 − ρ within which two critical values count as the same.
        asked: ids of the cells that the study asks for [all].

    Raises ValueError on an unknown order parameter.
    """
    kept = select(cells, asked) if len(cells) else cells
    found = curves(kept, order_parameter, reference, axis, history)
    notes = row_notes(cells, kept, found, asked, axis) + shallow_note(
        kept, parse_order_parameter(order_parameter).layer
    )
    if not found:
        return Report(study_name, order_parameter, [], notes=notes)
    checks = [check(curve, history, order_parameter) for curve in found]
    notes += check_notes(found, checks)
    name = second_of(order_parameter, second_order_parameter)
    second = None
    if name is not None and (axis.name != STEPS.name or parse_order_parameter(name).in_history):
        beside = curves(kept, name, reference, axis, history)
        second = Second(name, beside, relate(beside, same_within))
    methods = method_table(kept, found, axis) if several_methods(found) else None
    relations = relate(found, same_within)
    return Report(study_name, order_parameter, found, relations, second, methods, notes=notes, checks=checks)
