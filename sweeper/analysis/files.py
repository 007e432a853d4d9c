"""The files of a report: its tables as Parquet and CSV, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sweeper.analysis import figures
from sweeper.analysis.report import Report
from sweeper.analysis.tables import critical_table, points_table, write_table
from sweeper.parameters.control import STEPS


def write_files(found: Report, kept: pd.DataFrame, history: pd.DataFrame, folder: Path) -> Report:
    """Write tables and figures into `folder`, which is made if it is missing; the report with their paths.

    kept, history: the rows behind the report. Nothing is written where there is no curve, and figures that the rows do
    not allow are left out. Raises OSError if a file cannot be written.
    """
    if not found.curves:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    tables = [path for name, table in _tables(found, history).items() for path in write_table(table, folder, name)]
    made = {"phase": figures.phase_figure(found.curves, found.order_parameter)}
    if found.curves[0].axis.name != STEPS.name:  # these show one value of a cell, or steps themselves
        made["activity_by_layer"] = figures.activity_by_layer_figure(found.curves, kept)
        made["activity_grid"] = figures.activity_grid_figure(found.curves, kept)
        made["spectrum"] = figures.spectrum_figure(found.curves, kept)
        made["posterior_mean_space"] = figures.space_figure(found.curves, kept)
        made["means"] = figures.means_figure(found.curves, kept)
        if len(history):
            made["training"] = figures.training_figure(found.curves, history)
            made["posterior_mean_trajectory"] = figures.trajectory_figure(found.curves, history)
            made["information_training"] = figures.information_figure(found.curves, history)
            made["critical_by_step"] = figures.steps_figure(found.curves, history, found.order_parameter)
    if found.methods is not None:
        made["nll_activity"] = figures.nll_activity_figure(found.curves, kept)
    made["comparisons"] = figures.comparisons_figure(found.relations.comparisons)
    made["trends"] = figures.trend_figure(found.curves)
    made["scaling"] = figures.scaling_figure(found.relations.scalings, found.order_parameter)
    paths = []
    with figures.styled():
        for name, figure in made.items():
            if figure is not None:
                paths += figures.save(figure, folder, name)
    return replace(found, tables=tables, figures=paths)


def _tables(found: Report, history: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    tables = {
        "critical": critical_table(found.curves, found.order_parameter, history),
        "points": points_table(found.curves),
    }
    if found.second is not None:
        tables["critical_second"] = critical_table(found.second.curves, found.second.order_parameter)
    if found.methods is not None:
        tables["methods"] = found.methods
    return tables | found.relations.tables()
