"""A study's report: its store's rows analysed, and tables, figures and the page written into `analysis/` of the store.

from sweeper.report import write_report

found = write_report(study, store)
found.headline(), found.to_dict(), found.page
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models.cell import cell_id
from sweeper.environment import load_matplotlib
from sweeper.errors import StoreUnwritable
from sweeper.planning import asked_cells
from sweeper.store import Store
from sweeper.store.atomic import make_folder, reported, write_bytes
from sweeper.study import Study

if TYPE_CHECKING:
    from sweeper.analysis.report import Report


def write_report(study: Study, store: Store) -> Report:
    """Analyse what the store has of the study's cells, and write tables, figures and the page.

    Where the store takes nothing more, what was found is returned all the same, without files and with the reason in
    `Report.unwritten`. Needs no lock, also while a run goes on. Raises StoreUnwritable where rows cannot be read.
    """
    folder = store.paths.analysis
    try:
        with reported(folder):
            make_folder(folder)
            if not os.access(folder, os.W_OK):  # rather than after all figures are drawn
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return make_report(study, store, folder)
    except StoreUnwritable as fault:
        return replace(make_report(study, store), unwritten=f"no table or figure was written: {fault}")


def make_report(study: Study, store: Store, folder: Path | None = None) -> Report:
    """The store's rows analysed; tables, figures and the page go into `folder`, if one is given."""
    load_matplotlib()  # before the imports below do
    from sweeper.analysis.curves import select
    from sweeper.analysis.files import write_files
    from sweeper.analysis.html import page_data, render
    from sweeper.analysis.report import analyse

    cells, history = store.cells(), store.history()
    asked = {cell_id(cell): cell for cell in asked_cells(study, store)}
    found = analyse(
        cells,
        history,
        study_name=study.name,
        axis=study.analysis.axis,
        reference=study.analysis.uncollapsed,
        order_parameter=study.analysis.order_parameter,
        second_order_parameter=study.analysis.second_order_parameter,
        asked=asked,
        same_within=study.analysis.same_within,
    )
    if folder is None:
        return found
    found = write_files(found, select(cells, asked) if len(cells) else cells, history, folder)
    shown = page_data(
        found,
        cells,
        history,
        folder=folder,
        question=study.question,
        study_text=study.to_yaml(),
        asked=asked,
        failures=store.failures(),
        picture=partial(store.pictures, committed=store.committed()),
    )
    page = folder / "report.html"
    write_bytes(page, render(shown).encode(errors="backslashreplace"))  # a folder's name need not be text
    return replace(found, page=page)
