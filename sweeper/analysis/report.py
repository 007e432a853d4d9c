"""A study's report from its rows: the critical value of every curve, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.analysis import figures
from sweeper.analysis.checks import PLACES, Checks, check
from sweeper.analysis.comparisons import MAX_LINES, SAME_WITHIN, comparison_lines
from sweeper.analysis.critical_value import DROP
from sweeper.analysis.curves import Curve, curves, select
from sweeper.analysis.intervals import CONFIDENCE
from sweeper.analysis.relations import Relations, relate
from sweeper.analysis.tables import critical_table, points_table, write_table
from sweeper.analysis.transition import FRACTIONS, Critical
from sweeper.parameters.control import RHO, STEPS, Axis
from sweeper.parameters.order import parse_order_parameter, second_of


@dataclass(frozen=True, eq=False)
class Second:
    """Curves of an order parameter that is reported beside the first."""

    order_parameter: str
    curves: list[Curve]
    relations: Relations

    def lines(self) -> list[str]:
        """Its critical values and how data sets compare by it, each line beginning with what it is about."""
        by = f"by {parse_order_parameter(self.order_parameter).words}"
        lines = [f"{curve.label}: {by}: {short_sentence(curve)}" for curve in self.curves]
        return lines + [f"{by}: {line}" for line in comparison_lines(self.relations.comparisons, ["data"])]


@dataclass(frozen=True, eq=False)
class Report:
    """What was found: the curves with their onset and midpoint, the files written, and what a reader must know.

    `second`: the same cells' curves of a second order parameter, with how they relate; None where there is none.
    `unwritten`: why there are no files, where they could not be written.
    """

    study: str
    order_parameter: str
    curves: list[Curve]
    relations: Relations = field(default_factory=Relations)
    second: Second | None = None
    tables: list[Path] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checks: list[Checks] = field(default_factory=list)
    page: Path | None = None
    unwritten: str | None = None

    def headline(self) -> list[str]:
        """A line per curve: its critical value with interval, or why there is none; then the same by the second order
        parameter, how curves relate, and what all of it is conditional on."""
        lines = [f"{curve.label}: {_sentence(curve)}" for curve in self.curves]
        lines += self.second.lines() if self.second else []
        conditions = (
            [conditions_line(self.curves)] if any(curve.transition.onset.value for curve in self.curves) else []
        )
        return lines + self.relations.lines() + conditions

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: numbers, strings, lists and None."""

        def plain(curve: Curve) -> dict[str, Any]:
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

        found = [
            plain(curve) | {"checks": asdict(checks)} for curve, checks in zip(self.curves, self.checks, strict=True)
        ]
        second = None
        if self.second:
            second = {
                "order_parameter": self.second.order_parameter,
                "unit": parse_order_parameter(self.second.order_parameter).unit,
                "curves": [plain(curve) for curve in self.second.curves],
                **self.second.relations.to_dict(),
            }
        return {
            "study": self.study,
            "order_parameter": self.order_parameter,
            "unit": parse_order_parameter(self.order_parameter).unit,
            "curves": found,
            **self.relations.to_dict(),
            "second": second,
            "headline": self.headline(),
            "tables": [str(path) for path in self.tables],
            "figures": [str(path) for path in self.figures],
            "notes": self.notes,
            "page": str(self.page) if self.page else None,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)


def report(
    cells: pd.DataFrame,
    history: pd.DataFrame,
    out_dir: Path | None,
    *,
    study_name: str,
    axis: Axis = RHO,
    reference: float | None = None,
    order_parameter: str = "kl_top",
    second_order_parameter: str = "auto",
    same_within: float = SAME_WITHIN,
    asked: Collection[str] | None = None,
) -> Report:
    """Analyse a store's rows and write tables and figures into `out_dir`, which is made if it is missing [nothing].

    cells, history: a store's rows, either may be empty; asked: ids of the cells that the study asks for [all];
    axis: the control parameter [ρ]; reference: its value that counts as uncollapsed [the axis's, 0.8 for ρ];
    order_parameter: see `sweeper.parameters.order`, taken from `history` over steps; second_order_parameter:
    reported beside it [of a KL, the active units of its layer]. Figures that the rows do not allow are left out.
    Raises ValueError on an unknown order parameter and OSError if a file cannot be written."""
    kept = select(cells, asked) if len(cells) else cells
    found = curves(kept, order_parameter, reference, axis, history)
    notes = _notes(cells, kept, found, asked, axis)
    layer = parse_order_parameter(order_parameter).layer
    shallow = 0 if layer is None or not len(kept) else int((kept["depth"] < layer).sum())
    if shallow:
        notes.append(f"{_cells(shallow)} of networks without a layer {layer}, left out")
    if not found:
        return Report(study_name, order_parameter, [], notes=notes)
    checks = [check(curve, history, order_parameter) for curve in found]
    notes += _checks(found, checks)
    related = relate(found, same_within)
    name = second_of(order_parameter, second_order_parameter)
    second = None
    if name is not None and (axis.name != STEPS.name or parse_order_parameter(name).in_history):
        beside = curves(kept, name, reference, axis, history)
        second = Second(name, beside, relate(beside, same_within))
    if out_dir is None:
        return Report(study_name, order_parameter, found, related, second, notes=notes, checks=checks)
    out_dir.mkdir(parents=True, exist_ok=True)
    tables = write_table(critical_table(found, order_parameter, history), out_dir, "critical")
    tables += write_table(points_table(found), out_dir, "points")
    if second is not None:
        tables += write_table(critical_table(second.curves, second.order_parameter), out_dir, "critical_second")
    for name, table in related.tables().items():
        tables += write_table(table, out_dir, name)
    made = {"phase": figures.phase_figure(found, order_parameter)}
    if axis.name != STEPS.name:  # these show one value of a cell, or steps themselves
        made["activity_by_layer"] = figures.activity_by_layer_figure(found, kept)
        made["activity_grid"] = figures.activity_grid_figure(found, kept)
        if len(history):
            made["training"] = figures.training_figure(found, history)
            made["critical_by_step"] = figures.steps_figure(found, history, order_parameter)
    made["comparisons"] = figures.comparisons_figure(related.comparisons)
    made["trends"] = figures.trend_figure(found)
    made["scaling"] = figures.scaling_figure(related.scalings, order_parameter)
    paths = []
    with figures.styled():
        for name, figure in made.items():
            if figure is not None:
                paths += figures.save(figure, out_dir, name)
    return Report(study_name, order_parameter, found, related, second, tables, paths, notes, checks)


def _notes(
    cells: pd.DataFrame, kept: pd.DataFrame, found: list[Curve], asked: Collection[str] | None, axis: Axis
) -> list[str]:
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
            where = ""
            if axis.name in diverged:
                counts = diverged[axis.name].value_counts().sort_index()
                where = " (" + ", ".join(f"{axis.at(value)}: {count}" for value, count in counts.items()) + ")"
            notes.append(f"{_cells(len(diverged))} diverged{where}, counted as points without a value")
    for curve in found:
        if curve.steps[0] != curve.steps[1]:
            notes.append(
                f"{curve.label}: cells trained for {curve.steps[0]:,} to {curve.steps[1]:,} steps in one curve"
            )
    return notes


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _sentence(curve: Curve) -> str:
    """The onset with all that a reader of a single line should know of it, or why there is none."""
    onset, midpoint = curve.transition.criticals
    if onset.value is None:
        return short_sentence(curve)
    warnings = "".join(f"; {warning}" for warning in onset.warnings if not warning.startswith(DROP))
    smooth = ""
    if onset.resolved:
        smooth = (
            f", [{onset.written(onset.low_smooth)}, {onset.written(onset.high_smooth)}] if smooth between grid points"
        )
    half = f"no midpoint: {midpoint.reason}" if midpoint.value is None else f"midpoint {_interval(midpoint)}"
    return f"{short_sentence(curve)}{smooth}{warnings}; {half}; {_convention(curve)}; {_steps(curve)} steps"


def short_sentence(curve: Curve) -> str:
    """The onset with its interval, or why there is none."""
    onset, symbol = curve.transition.onset, curve.axis.symbol
    lost = [
        f"{count} {word}" for count, word in ((onset.n_diverged, "diverged"), (onset.n_missing, "missing")) if count
    ]
    tail = f" ({', '.join(lost)})" if lost else ""
    if onset.bound is not None:
        return f"critical {symbol} (onset) {curve.axis.beyond} {onset.bound:.4g}, {onset.reason}{tail}"
    if onset.value is None:
        return f"no critical {symbol}: {onset.reason}{tail}"
    seeds = f"{len(onset.seeds)} seeds"
    drop = next((warning for warning in onset.warnings if warning.startswith(DROP)), None)
    if drop is not None and (onset.low, onset.high) == (onset.low_gap, onset.high_gap):
        return f"critical {symbol} (onset) between {onset.low:.6g} and {onset.high:.6g}: {drop} ({seeds}){tail}"
    because = f": {drop}" if drop else ""
    interval = f"{100 * CONFIDENCE:g} % interval over {seeds} and what the grid leaves open"
    return f"critical {symbol} (onset) {_interval(onset)}, {interval}{because}{tail}"


def _convention(curve: Curve) -> str:
    """What the onset would be by other conventions: `0.981 and 0.972 at 5 and 20 %, 0.979 if ρ = 0.93 is the
    reference`."""
    transition, onset = curve.transition, curve.transition.onset
    said = ["the 5 and 20 % levels lie in the same step"]
    if transition.band is not None:
        low, high = (onset.written(value) for value in transition.band)
        said = [f"{low} and {high} at the 5 and 20 % levels"]
    if transition.other_reference is not None and transition.other_onset is not None:
        other = curve.axis.at(transition.other_reference)
        said.append(f"{onset.written(transition.other_onset)} if {other} were the reference")
    return ", ".join(said)


def _steps(curve: Curve) -> str:
    return "–".join(f"{step:,}" for step in sorted(set(curve.steps)))


CONDITIONS = ("smoothing_samples", "batch_size", "learning_rate")  # fields that move the place, besides steps


def conditions_line(found: list[Curve]) -> str:
    """What the critical values hold for: the convention, and what all curves were trained and evaluated with."""
    axis = found[0].axis
    said = [f"onset at {100 * FRACTIONS['onset']:g} % of the way to {axis.at(found[0].reference)}"]
    for name in CONDITIONS:
        values = sorted({curve.fields[name] for curve in found if name in curve.fields})
        if name != axis.name and values:
            said.append(f"{name.replace('_', ' ')} {' and '.join(f'{value:g}' for value in values)}")
    return f"all conditional on: {', '.join(said)}, the training steps, one split and one binarisation of the data"


def _checks(found: list[Curve], checks: list[Checks]) -> list[str]:
    """One line per curve, or one in all where there are many."""
    if len(found) <= MAX_LINES:
        return [f"{curve.label}: {_checked(curve, each)}" for curve, each in zip(found, checks, strict=True)]
    halves = [each.half_steps.converged for each in checks if each.half_steps is not None]
    counts = f"not converged {halves.count(False)}, converged {halves.count(True)}, cannot tell "
    counts += str(len(found) - halves.count(False) - halves.count(True))
    return [f"checks of {len(found)} curves: {counts}; each in the table of critical values"]


def _checked(curve: Curve, checks: Checks) -> str:
    """The checks in words, beside the onset."""
    said = []
    for name in PLACES:
        place, agrees = getattr(checks, name), checks.agrees["onset"][name]
        if place is not None:
            word = "" if agrees is None else " (agrees)" if agrees else " (off the onset)"
            said.append(f"{name.replace('_', ' ')} {curve.axis.at(float(f'{place:.4g}'))}{word}")
    if checks.drop_in_spreads is not None:
        said.append(f"drop {checks.drop_in_spreads:.3g} seed spreads")
    half = checks.half_steps
    if half is not None and half.critical is not None and half.converged is not None:
        onset = curve.transition.onset
        moved = "converged" if half.converged else "not converged"
        said.append(
            f"onset {onset.written(half.critical)} at {half.step:,} of {half.end:,} steps against "
            f"{onset.written(half.critical_end)}: {moved}"
        )
    return f"checks: {'; '.join(said)}" if said else "checks: none, too few points"


def _interval(critical: Critical) -> str:
    written = critical.written
    return f"{written(critical.value)} [{written(critical.low)}, {written(critical.high)}]"
