"""What a report found, and where everything lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def report_lines(found: Report, store: Store) -> list[str]:
    """The headline, the notes, and where everything lies."""
    lines = [*found.headline(), *found.notes]
    if found.page:
        lines += ["page:", f"  {found.page}"]
    if found.figures:
        lines += ["figures:", *(f"  {path}" for path in found.figures if path.suffix == ".png")]
    lines += ["tables:", f"  {store.paths.cells}", f"  {store.paths.history}"]
    return [*lines, *(f"  {path}" for path in found.tables if path.suffix == ".parquet")]
