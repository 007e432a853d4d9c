"""Studies and stores opened for a command, and the report that two of them print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.cli.output import show_lines, show_table

if TYPE_CHECKING:
    from pathlib import Path

    from sweeper.analysis.report import Report
    from sweeper.drawn import Drawn
    from sweeper.store import Store
    from sweeper.study import Study


def open_study(
    path: Path, overrides: list[str] | None, executor: str | None = None, workers: int | None = None
) -> Study:
    """The study at `path` with what the options of the command override."""
    from sweeper.study import load_study

    sets = list(overrides or [])
    sets += [f"run.executor={executor}"] if executor is not None else []
    sets += [f"run.workers={workers}"] if workers is not None else []
    return load_study(path, sets)


def open_store_of_study(path: Path) -> tuple[Study, Store]:
    """A store, and the study that was last run on it. Raises StudyError where none was."""
    from sweeper.cloud import to_read
    from sweeper.errors import StudyError
    from sweeper.planning.settled import settled
    from sweeper.store import Store
    from sweeper.study import load_study

    opened = Store.open(to_read(path))
    if not opened.paths.study.exists():
        raise StudyError(f"{opened.paths.study}: no study was run on this store yet")
    return settled(load_study(opened.paths.study), opened), opened


def show_report(found: Report, store: Store, study: Study) -> None:
    """The table of critical values, what else was found, and where everything lies; and remember it."""
    show_drawn(remembered(found, store, study))


def remembered(found: Report, store: Store, study: Study) -> Drawn:
    """A report as it is printed, remembered for a run that changes nothing, unless its files could not be written."""
    from sweeper.cli.words.report import methods_table, report_header, report_lines, report_table
    from sweeper.drawn import Drawn, note_drawn

    tables = [(report_header(found), report_table(found))] if found.curves else []
    tables = [(heads, rows) for heads, rows in [*tables, methods_table(found)] if rows]
    lines, report = report_lines(found, store), found.to_dict()
    if found.page:
        note_drawn(study, store, tables, lines, report)
    return Drawn(tuple(tables), tuple(lines), report)


def show_drawn(drawn: Drawn) -> None:
    """Print it."""
    for heads, rows in drawn.tables:
        show_table(heads, rows)
    show_lines(drawn.lines)
