"""What is done with a store alone: `sweeper status`, `report`, `doctor` and `merge`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.commands.opening import open_store_of_study, remembered, show_report
from sweeper.cli.options import Debug, Json, StorePath, at_home
from sweeper.cli.output import JSON_VERSION, fail, show, show_json, show_json_line, show_lines

if TYPE_CHECKING:
    from sweeper.status import Status


def status(
    store: StorePath,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until the run has ended or Ctrl-C; --json: by lines.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say how far a store is, also while a run is going on."""
    from sweeper.cli.words.status import status_lines
    from sweeper.status import look

    if watch:
        _watch(store, as_json)
        return
    found = look(store)
    if as_json:
        show_json(_status_dict(found))
    else:
        show_lines(status_lines(found))


def _watch(store: Path, as_json: bool) -> None:
    from rich.console import Console

    from sweeper.cli.watching import watch_changes, watch_lines, watch_screen

    try:
        if as_json:
            watch_changes(store, lambda found: show_json_line(_status_dict(found)))
        elif sys.stdout is not None and sys.stdout.isatty():
            watch_screen(store, Console())
        else:
            watch_lines(store, show)
    except KeyboardInterrupt:  # of the watching: the run goes on, and nothing was interrupted
        raise typer.Exit(130) from None


def _status_dict(found: Status) -> dict[str, Any]:
    return {"json_version": JSON_VERSION} | found.to_dict()


def report(store: StorePath, as_json: Json = False, debug: Debug = False) -> None:
    """Find the critical ρ and draw the figures again, from the store alone."""
    from sweeper.report import write_report

    study, opened = open_store_of_study(store)
    found = write_report(study, opened)
    if as_json:
        show_json(remembered(found, opened, study).report)
    else:
        show_report(found, opened, study)
    if found.unwritten:
        fail(found.unwritten, 74)


def doctor(
    store: Annotated[
        Path | None, typer.Argument(metavar="STORE", help="Folder of results to verify as well.", callback=at_home)
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print versions, devices, limits, open ports, data sets and free space, and verify every file of a store."""
    from sweeper.cli.words.doctor import doctor_lines
    from sweeper.cloud import to_read
    from sweeper.doctor import examine

    found = examine(store and to_read(store))
    if as_json:
        show_json(found)
    else:
        show_lines(doctor_lines(found))
    if found["exit_code"]:
        raise typer.Exit(found["exit_code"])


def merge(
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Store to bring them into; made if it is new.", callback=at_home)
    ],
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="Stores to take from; only read.", callback=at_home)
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring finished cells of other stores into one, each once; run it again to go on after an interruption."""
    from sweeper.cli.words.merge import merge_lines
    from sweeper.cloud import to_read, url_of
    from sweeper.errors import StudyError
    from sweeper.merge import merge as bring

    if url_of(target):
        raise StudyError(f"{target}: stores are merged into a folder")
    merged = bring(target, [to_read(source) for source in sources])
    if as_json:
        show_json({"json_version": JSON_VERSION} | merged.to_dict())
    else:
        show_lines(merge_lines(merged))
        if merged.target.paths.study.exists():
            show(f"next: sweeper report {shlex.quote(str(target))}")
    if merged.damaged:
        raise typer.Exit(74 if all(fault.left_alone for fault in merged.damaged) else 65)
