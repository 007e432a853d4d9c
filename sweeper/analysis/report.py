"""A study's report from its rows: critical ρ of every curve, tables and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.analysis import figures
from sweeper.analysis.critical import CONFIDENCE, Critical
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.tables import critical_table, points_table, write_table


@dataclass(frozen=True, eq=False)
class Report:
    """What was found: the curves with their onset and midpoint, the files written, and what a reader must know."""

    study: str
    order_parameter: str
    curves: list[Curve]
    tables: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def headline(self) -> list[str]:
        """One line a curve: critical ρ with interval, or why there is none."""
        return [f"{curve.label}: {_sentence(curve)}" for curve in self.curves]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: numbers, strings, lists and None."""
        found = [
            {
                "data": curve.data,
                "architecture": curve.architecture,
                "objective": curve.objective,
                "variant": curve.variant,
                "rho_ref": curve.rho_ref,
                "steps": list(curve.steps),
                **{critical.kind: asdict(critical) for critical in curve.transition.criticals},
            }
            for curve in self.curves
        ]
        return {
            "study": self.study,
            "order_parameter": self.order_parameter,
            "curves": found,
            "headline": self.headline(),
            "tables": [str(path) for path in self.tables],
            "figures": [str(path) for path in self.figures],
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)


def report(
    cells: pd.DataFrame,
    history: pd.DataFrame,
    out_dir: Path,
    *,
    study_name: str,
    rho_ref: float = 0.8,
    order_parameter: str = "kl_top",
    asked: Collection[str] | None = None,
) -> Report:
    """Analyse a store's rows and write tables and figures into `out_dir`, which is made if it is missing.

    cells, history: a store's rows, either may be empty; asked: ids of the cells that the study asks for [all];
    order_parameter: a column of numbers of `cells`. Figures that the rows do not allow are left out.
    Raises ValueError on an unknown order parameter and OSError if a file cannot be written.
    """
    kept = select(cells, asked) if len(cells) else cells
    found = curves(kept, order_parameter, rho_ref)
    notes = _notes(cells, kept, found, asked)
    if not found:
        return Report(study_name, order_parameter, [], notes=notes)
    out_dir.mkdir(parents=True, exist_ok=True)
    tables = write_table(critical_table(found, order_parameter), out_dir, "critical")
    tables += write_table(points_table(found), out_dir, "points")
    made = {
        "activity_by_layer": figures.activity_by_layer_figure(found, kept),
        "activity_grid": figures.activity_grid_figure(found, kept, rho_ref if (kept["rho"] == rho_ref).any() else None),
    }
    if (kept["rho"] < 1).any():
        made = {"phase": figures.phase_figure(found, order_parameter), **made}
    if len(history):
        made["training"] = figures.training_figure(found, history)
        made["critical_by_step"] = figures.steps_figure(found, history, order_parameter)
    paths = []
    with figures.styled():
        for name, figure in made.items():
            if figure is not None:
                paths += figures.save(figure, out_dir, name)
    return Report(study_name, order_parameter, found, tables, paths, notes)


def _notes(cells: pd.DataFrame, kept: pd.DataFrame, found: list[Curve], asked: Collection[str] | None) -> list[str]:
    notes = []
    if asked is not None:
        missing = len(set(asked)) - len(kept)
        if missing:
            notes.append(f"{missing} of the study's {_cells(len(set(asked)))} without a result yet")
        outside = (cells["cell_id"].nunique() if len(cells) else 0) - len(kept)
        if outside:
            notes.append(f"{_cells(outside)} of the store not in the study, left out")
    if len(kept):
        diverged = kept[kept["state"] == "diverged"]
        if len(diverged):
            counts = diverged["rho"].value_counts().sort_index()
            where = ", ".join(f"ρ = {rho:g}: {count}" for rho, count in counts.items())
            notes.append(f"{_cells(len(diverged))} diverged ({where}), counted as points without a value")
    for curve in found:
        if curve.steps[0] != curve.steps[1]:
            notes.append(
                f"{curve.label}: cells trained for {curve.steps[0]:,} to {curve.steps[1]:,} steps in one curve"
            )
    return notes


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _sentence(curve: Curve) -> str:
    onset, midpoint = curve.transition.criticals
    lost = [
        f"{count} {word}" for count, word in ((onset.n_diverged, "diverged"), (onset.n_missing, "missing")) if count
    ]
    tail = f" ({', '.join(lost)})" if lost else ""
    if onset.rho is None:
        return f"no critical ρ: {onset.reason}{tail}"
    decimals = _decimals(onset)
    wide = f"[{onset.low_wide:.{decimals}f}, {onset.high_wide:.{decimals}f}]"
    half = f"no midpoint: {midpoint.reason}" if midpoint.rho is None else f"midpoint {_interval(midpoint)}"
    return (
        f"critical ρ (onset) {_interval(onset)}, {100 * CONFIDENCE:g} % t interval over {len(onset.seeds)} seeds, "
        f"{wide} with half a grid step; {half}{tail}"
    )


def _interval(critical: Critical) -> str:
    decimals = _decimals(critical)
    return f"{critical.rho:.{decimals}f} [{critical.low:.{decimals}f}, {critical.high:.{decimals}f}]"


def _decimals(critical: Critical) -> int:
    """Enough decimals for two digits of the interval's half-width, from 3 to 6."""
    assert critical.low is not None and critical.high is not None
    half = max((critical.high - critical.low) / 2, 1e-9)
    return min(max(3, 1 - math.floor(math.log10(half))), 6)
