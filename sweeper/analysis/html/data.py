"""What a page shows, as plain values: the one place where a report's findings become blocks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from models.cell import Cell
from sweeper.analysis.curves import select
from sweeper.analysis.html.activity_maps import activity_blocks
from sweeper.analysis.html.blocks import Block, links, notes, paragraph, section, table
from sweeper.analysis.html.curve_chart import order_chart
from sweeper.analysis.html.drawn import Picture, drawn
from sweeper.analysis.html.findings import findings, steps_chart
from sweeper.analysis.html.means import means_blocks
from sweeper.analysis.html.methods import method_blocks
from sweeper.analysis.html.posterior_means import posterior_blocks
from sweeper.analysis.html.provenance import provenance, without_value
from sweeper.analysis.html.training_chart import training_chart
from sweeper.analysis.methods import for_transition
from sweeper.analysis.report import Report
from sweeper.analysis.sentences import conditions_line
from sweeper.analysis.tables import points_table
from sweeper.parameters.control import STEPS
from sweeper.store.status import Failure


def page_data(
    report: Report,
    cells: pd.DataFrame,
    history: pd.DataFrame,
    *,
    folder: Path,
    question: str = "",
    study_text: str = "",
    asked: Mapping[str, Cell] | None = None,
    failures: Sequence[Failure] = (),
    picture: Picture = lambda _: None,
    sections: Sequence[Block] = (),
) -> Block:
    """The page of a report as plain values for JSON (`sweeper.analysis.html.blocks`).

    cells, history: the store's rows; folder: where the page will lie, from which its links start; question, study_text:
    the study's; asked: its cells by id [all of the store]; failures: of the last run; picture: the PNG of a cell
    by id, with what its rows show; sections: further ones, shown after the critical values.
    """
    kept = select(cells, asked) if len(cells) else cells
    by_method = section("methods", "Methods", *method_blocks(report.methods))
    shown = [_critical(report), by_method, *sections]
    if report.curves:
        shown.append(_curves(report, kept, history))
        if report.curves[0].axis.name != STEPS.name:
            shown.append(section("activity", "Active units", *activity_blocks(report.curves, kept)))
            if len(history):
                shown.append(section("training", "Training", training_chart(report.curves, history)))
            shown.append(section("posterior-means", "Posterior means", *posterior_blocks(report.figures)))
            shown.append(section("pictures", "Pictures", *drawn(report.curves, picture)))
            shown.append(section("means", "Posterior means", *means_blocks(report.curves, kept)))
    shown.append(section("lost", "Cells without a value", *without_value(kept, asked, failures)))
    shown.append(section("provenance", "How it was made", *provenance(kept, study_text)))
    shown.append(section("files", "Files", _files(report, folder)))
    return {
        "title": report.study,
        "question": question,
        "sections": [part for part in shown if part["blocks"]],
    }


def _critical(report: Report) -> Block:
    """The headline."""
    if not report.curves:
        return section("critical", "Critical values", paragraph("No cell has a result yet."), notes(report.notes))
    symbol = report.curves[0].axis.symbol
    beside = report.second.lines() if report.second else []
    if any(curve.transition.onset.value is not None for curve in report.curves):
        beside.append(conditions_line(report.curves))
    told = for_transition(report.curves, report.methods is not None)
    if not told:
        few = f"No curve has values of {symbol} enough for a transition: what was trained is compared method by method."
        return section("critical", f"Critical {symbol}", paragraph(few))
    found = findings(told, report.order_parameter)
    return section("critical", f"Critical {symbol}", *found, notes(beside), notes(report.notes))


def _curves(report: Report, cells: pd.DataFrame, history: pd.DataFrame) -> Block:
    points = points_table(report.curves)
    varying = [name for name in ("data", "architecture", "objective", "variant") if points[name].nunique() > 1]
    control = report.curves[0].axis
    columns = [*varying, control.name, "mean", "deviation", "seeds", "n_diverged", "n_missing"]
    words = {control.name: control.symbol, "deviation": "s.d.", "n_diverged": "diverged", "n_missing": "missing"}
    numbers = table(
        "The numbers",
        [words.get(name, name) for name in columns],
        points[columns].to_numpy(dtype=object).tolist(),
        fold=True,
        sortable=True,
    )
    over_steps = control.name == STEPS.name or not len(history)
    moving = None if over_steps else steps_chart(report.curves, history, report.order_parameter)
    return section("curves", "Curves", order_chart(report.curves, cells, report.order_parameter), numbers, moving)


def _files(report: Report, folder: Path) -> Block:
    """Links that hold wherever the whole store is moved to."""
    rows = [
        (folder.parent / name, f"{words}, Parquet, one file per cell")
        for name, words in (("cells", "rows"), ("history", "curves over steps"))
    ]
    named = [(path, path.name) for path in [*report.tables, *report.figures]]
    return links((quote(Path(os.path.relpath(path, folder)).as_posix()), words) for path, words in [*named, *rows])
