"""What a report found, and where everything lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.wording import plural

if TYPE_CHECKING:
    from sweeper.analysis.report import Report
    from sweeper.store import Store


def report_header(found: Report) -> list[str]:
    """The columns of `report_table`."""
    symbol = found.curves[0].axis.symbol
    return ["curve", f"critical {symbol}", "95 % interval", "if smooth", "midpoint", "seeds", "steps"]


def report_table(found: Report) -> list[list[str]]:
    """One row per curve: where it collapses, how sure that is, or why there is no number."""
    rows = []
    for curve in found.curves:
        if curve.label in _short(found):
            continue
        onset, midpoint = curve.transition.onset, curve.transition.midpoint
        row = [curve.label]
        if onset.value is None:
            row += ["–" if onset.bound is None else f"{curve.axis.beyond} {onset.bound:.4g}", "–", "–", "–"]
        else:
            row += [
                onset.written(onset.value),
                f"{onset.written(onset.low)} – {onset.written(onset.high)}",
                f"{onset.written(onset.low_smooth)} – {onset.written(onset.high_smooth)}" if onset.resolved else "–",
                midpoint.written(midpoint.value),
            ]
        rows.append([*row, str(len(onset.seeds)), f"{max(curve.steps, default=0):,}"])
    return rows


def _short(found: Report) -> set[str]:
    """Labels of curves too short for a transition where methods are compared: their cells are rows of methods."""
    from sweeper.analysis.methods import for_transition

    told = {curve.label for curve in for_transition(found.curves, found.methods is not None)}
    return {curve.label for curve in found.curves} - told


def methods_table(found: Report) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the methods, one row each; no row where the study does not compare methods.

    Of a method with a curve over the control parameter only its ends are here: the page and `methods.csv` have all.
    """
    from sweeper.analysis.methods import printed, shortened

    if found.methods is None or not len(found.methods):
        return [], []
    first = found.curves[0]
    heads, rows = printed(shortened(found.methods, first.axis, first.reference))
    kept = [place for place in range(len(heads)) if any(row[place].text for row in rows)]
    return [heads[place] for place in kept], [[row[place].text or "–" for place in kept] for row in rows]


def report_lines(found: Report, store: Store) -> list[str]:
    """The headline, the notes, and where everything lies."""
    short = _short(found)
    about = tuple(f"{label}: " for label in short)
    lines = [line for line in [*found.headline(), *found.notes] if not line.startswith(about)]
    if short:
        symbol = found.curves[0].axis.symbol
        lines.append(
            f"{plural(len(short), 'curve')} with too few values of {symbol} for a transition: "
            "the cells are in the table of methods"
        )
    if found.page:
        lines += ["page:", f"  {found.page}"]
    if found.figures:
        lines += ["figures:", *(f"  {path}" for path in found.figures if path.suffix == ".png")]
    lines += ["tables:", f"  {store.paths.cells}", f"  {store.paths.history}"]
    return [*lines, *(f"  {path}" for path in found.tables if path.suffix == ".parquet")]
