"""A report's findings as sentences, which stand in its JSON, on its page and on the terminal alike."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from sweeper.analysis.checks import PLACES, Checks
from sweeper.analysis.comparisons import MAX_LINES
from sweeper.analysis.critical_value import DROP
from sweeper.analysis.curves import Curve
from sweeper.analysis.intervals import CONFIDENCE
from sweeper.analysis.transition import FRACTIONS, Critical
from sweeper.parameters.control import Axis


def full_sentence(curve: Curve) -> str:
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


def _interval(critical: Critical) -> str:
    written = critical.written
    return f"{written(critical.value)} [{written(critical.low)}, {written(critical.high)}]"


def row_notes(
    cells: pd.DataFrame, kept: pd.DataFrame, found: list[Curve], asked: Collection[str] | None, axis: Axis
) -> list[str]:
    """Which cells are missing, left out or diverged, and which curves are of cells trained unequally long.

    cells: all rows of the store; kept: those that count; found: their curves; asked: ids of the study's cells.
    """
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


def shallow_note(kept: pd.DataFrame, layer: int | None) -> list[str]:
    """A sentence that networks without the order parameter's layer are left out, where there are any."""
    shallow = 0 if layer is None or not len(kept) else int((kept["depth"] < layer).sum())
    return [f"{_cells(shallow)} of networks without a layer {layer}, left out"] if shallow else []


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def check_notes(found: list[Curve], checks: list[Checks]) -> list[str]:
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
