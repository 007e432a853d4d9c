"""The command line. Results go to stdout, everything else to stderr; modules load when a command needs them.

Exit codes: 0 done, 1 cells or a comparison failed, 2 usage or study error, 65 store damaged or newer, 74 input or
output failed, 75 store in use, 130 and 143 interrupted (checkpoints were written).
"""

from __future__ import annotations

import gc
import io
import json
import math
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from sweeper.analysis.report import Report
    from sweeper.driver import Executor
    from sweeper.estimate import Cost
    from sweeper.machine import Machine
    from sweeper.plan import Plan
    from sweeper.store import Damaged, Store
    from sweeper.study import Study

# Cells live as long as the command: with Python's 700 a tenth of planning ten thousand is looking for garbage.
OBJECTS_BETWEEN_COLLECTIONS = 100_000

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing the coloured one takes a fifth of a second
    help="Train grids of hierarchical VAEs, resume whatever was interrupted, and find the critical ρ.",
    epilog="Exit codes: 0 done, 1 cells or a comparison failed, 2 usage or study error, 65 store damaged or newer, "
    "74 I/O, 75 store in use, 130 and 143 interrupted.",
)

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file, YAML.")]
StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of results.")]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of results.  [default: results/<study name>]")
]
Executors = Annotated[
    str | None, typer.Option("--executor", help="ray, or inline: in this process.  [default: the study's]")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Stacks trained at a time; 0: as the machine allows.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override of the study, as in train.steps=1000; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", callback=lambda on: _debug(on))]


def _debug(on: bool) -> None:
    if on:
        os.environ["SWEEPER_DEBUG"] = "1"


@app.command()
def run(
    study: StudyPath,
    store: StoreOption = None,
    overrides: Sets = None,
    executor: Executors = None,
    workers: Workers = None,
    address: Annotated[
        str | None, typer.Option(help="Join the Ray cluster at HOST:PORT; auto: the one on this machine.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train what is missing of a study; run it again to go on after an interruption."""
    from sweeper.cloud import to_run
    from sweeper.run import default_store

    loaded = _study(study, overrides, executor, workers)
    with to_run(store or default_store(loaded)) as folder:
        _run(loaded, folder, address, as_json)


def _run(loaded: Study, store: Path, address: str | None, as_json: bool) -> None:
    from sweeper.progress import Watch
    from sweeper.run import run_study
    from sweeper.settled import settled, settled_lines
    from sweeper.show import failure_lines, plan_dict, plan_lines

    where = _cluster(loaded, address)
    opened = _open(loaded, store, create=True)
    asked, loaded = loaded, settled(loaded, opened)
    changes = settled_lines(asked, loaded) + _changes(loaded, opened)

    def announce(plan: Plan, damaged: tuple[Damaged, ...]) -> None:
        for line in [*plan_lines(plan, opened, damaged), *changes]:
            _say(line)

    outcome = run_study(loaded, opened, lambda plan: _executor(plan, address), announce, Watch, where)
    found: Report | None = None
    try:
        found = _report(loaded, opened)
    except Exception as error:  # the results are safe, and which cells failed is still to be said
        unreported: Exception | None = error
    else:
        unreported = None
    if as_json:
        failures = [{"cell_id": f.cell_id, "traceback": f.traceback, "log": f.log} for f in outcome.failures]
        _print_json(plan_dict(outcome.after) | {"failures": failures, "report": found and found.to_dict()})
    elif found is not None:
        _print_report(found, opened)
        _print(f"next: sweeper report {shlex.quote(str(opened.paths.root))}")
    for line in failure_lines(outcome):
        _say(line)
    if unreported is not None:
        _say(f"the results are whole, but their report failed: {type(unreported).__name__}: {unreported}")
        _say(f"next: sweeper report --debug {shlex.quote(str(opened.paths.root))}")
    unfinished = bool(outcome.after.missing or outcome.failures)
    if unfinished or unreported is not None:
        raise typer.Exit(1 if unfinished else getattr(unreported, "exit_code", 1))


@app.command()
def plan(
    study: StudyPath,
    store: StoreOption = None,
    overrides: Sets = None,
    probe: Annotated[bool, typer.Option("--probe", help="Time a few steps of each shape here, to estimate.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run would do, why, and what it would cost; nothing is trained or written."""
    from sweeper import estimate
    from sweeper.cloud import to_read
    from sweeper.plan import make_plan
    from sweeper.run import default_store, fetch_data
    from sweeper.settled import settled_lines
    from sweeper.show import cost_lines, plan_dict, plan_lines, plan_table

    loaded = _study(study, overrides)
    root = default_store(loaded) if store is None else to_read(store, missing_ok=True)
    empty = not root.exists() or (root.is_dir() and next(root.iterdir(), None) is None)
    opened = None if empty else _open(loaded, root, create=False)
    made = make_plan(loaded, opened)
    cost: Cost | None
    if probe:
        fetch_data(made)
        cost = estimate.estimate(made, estimate.probe(made), "from steps measured just now")
    else:
        cost = estimate.estimate(made, estimate.times_of(made, opened), "from cells finished earlier")
    if as_json:
        _print_json(plan_dict(made, cost) | {"store": str(root)})
        return
    for line in [*plan_lines(made, opened), *settled_lines(loaded, made.study), *cost_lines(made, cost)]:
        _print(line)
    _print_table(["data", "architecture", "objective", "state", "cells", "why"], plan_table(made.items))
    if made.missing:
        words = ["sweeper", "run", str(study), *(["--store", str(store)] if store else [])]
        _print("next: " + shlex.join(words + [word for each in overrides or () for word in ("--set", each)]))


@app.command()
def status(store: StorePath, as_json: Json = False, debug: Debug = False) -> None:
    """Say how far a store is, also while a run is going on."""
    from sweeper.cloud import to_read
    from sweeper.errors import StudyError
    from sweeper.machine import ANYWHERE
    from sweeper.plan import make_plan
    from sweeper.show import status_dict, status_lines
    from sweeper.store import Store
    from sweeper.study import load_study

    opened = Store.open(to_read(store))
    made, fault = None, None
    try:
        study = load_study(opened.paths.study) if opened.paths.study.exists() else None
        made = make_plan(study, opened, ANYWHERE) if study else None
    except StudyError as error:  # of another version, or edited: what is committed can be told all the same
        fault = str(error)
    found = status_dict(made, opened, fault)
    if as_json:
        _print_json(found)
    else:
        for line in status_lines(found):
            _print(line)


@app.command()
def report(store: StorePath, as_json: Json = False, debug: Debug = False) -> None:
    """Find the critical ρ and draw the figures again, from the store alone."""
    study, opened = _of_store(store)
    found = _report(study, opened)
    if as_json:
        _print_json(found.to_dict())
    else:
        _print_report(found, opened)


export = typer.Typer(no_args_is_help=True, help="Hand results to other tools.")
app.add_typer(export, name="export")


@export.command("optuna")
def export_to_optuna(
    store: StorePath,
    storage: Annotated[
        str | None,
        typer.Option(
            help="A database, as in sqlite:///optuna.db, or a journal file.  [default: STORE/analysis/optuna.journal]"
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the cells as trials of Optuna studies, one a curve, for optuna-dashboard."""
    from sweeper.cloud import to_read
    from sweeper.errors import StudyError
    from sweeper.refine.export import export_optuna, open_storage
    from sweeper.store import Store
    from sweeper.study import load_study

    opened = Store.open(to_read(store))
    study = load_study(opened.paths.study) if opened.paths.study.exists() else None
    place = storage or str(opened.paths.analysis / "optuna.journal")
    opened.paths.analysis.mkdir(exist_ok=True)
    rows, history = (opened.read(kind)[0].to_pylist() for kind in ("cells", "history"))
    order_parameter = study.analysis.order_parameter if study else "kl_top"
    try:
        names = export_optuna(
            rows, history, open_storage(place), study.name if study else opened.paths.root.name, order_parameter
        )
    except ValueError as fault:
        raise StudyError(str(fault)) from fault
    if as_json:
        _print_json({"storage": place, "studies": names, "trials": len(rows)})
        return
    for name in names:
        _print(name)
    _print(f"next: optuna-dashboard {shlex.quote(place)}")


@app.command()
def doctor(
    store: Annotated[Path | None, typer.Argument(metavar="STORE", help="Folder of results to verify as well.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print versions, devices, limits, open ports, data sets and free space, and verify every file of a store."""
    from sweeper.cloud import to_read
    from sweeper.doctor import examine
    from sweeper.findings import lines

    found = examine(store and to_read(store))
    if as_json:
        _print_json(found)
    else:
        for line in lines(found):
            _print(line)
    if found["exit_code"]:
        raise typer.Exit(found["exit_code"])


@app.command()
def merge(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Store to bring them into; made if it is new.")],
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE", help="Stores to take from; only read.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring finished cells of other stores into one, each once; run it again to go on after an interruption."""
    from sweeper.cloud import to_read, url_of
    from sweeper.errors import StudyError
    from sweeper.merge import merge as bring
    from sweeper.show import merge_dict, merge_lines

    if url_of(target):
        raise StudyError(f"{target}: stores are merged into a folder")
    merged = bring(target, [to_read(source) for source in sources])
    if as_json:
        _print_json(merge_dict(merged))
    else:
        for line in merge_lines(merged):
            _print(line)
        if merged.target.paths.study.exists():
            _print(f"next: sweeper report {shlex.quote(str(target))}")
    if merged.damaged:
        raise typer.Exit(65)


@app.command()
def predict(
    store: StorePath,
    below: Annotated[
        float | None, typer.Option(help="ρ of the uncollapsed cells, safely below.  [default: the study's rho_ref]")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict the critical ρ from cells at one smaller ρ and at ρ = 1, beside the one that was found."""
    from sweeper.analysis.prediction import prediction_table
    from sweeper.prediction import predictions
    from sweeper.show import PREDICTION_HEADER, prediction_rows

    study, opened = _of_store(store)
    found = predictions(study, opened, below, _say)
    if as_json:
        _print_json(prediction_table(found).to_dict("records"))
    else:
        _print_table(PREDICTION_HEADER, prediction_rows(found))
        for each in found:
            if each.reason:
                _print(f"{each.curve.label}: no prediction: {each.reason}")


@app.command()
def compare(
    store: StorePath,
    reference: Annotated[
        Path, typer.Option("--reference", metavar="FILE", help="Published numbers, YAML, as in studies/paper/.")
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print what a store measured beside published numbers; exit 1 if it disagrees under the same conditions."""
    from sweeper.cloud import to_read
    from sweeper.compare import compare as beside
    from sweeper.show import COMPARED_HEADER, compared_dict, compared_lines, compared_table
    from sweeper.store import Store
    from sweeper.study import load_study
    from sweeper.study.reference import load_reference
    from sweeper.study.schema import Analysis

    published = load_reference(reference)
    opened = Store.open(to_read(store))
    analysis = load_study(opened.paths.study).analysis if opened.paths.study.exists() else Analysis()
    found = beside(opened.cells(), published, analysis.rho_ref, analysis.order_parameter, opened.history())
    if as_json:
        _print_json(compared_dict(found))
    else:
        if rows := compared_table(found):
            _print_table(COMPARED_HEADER, rows)
        for line in compared_lines(found):
            _print(line)
    if found.failed:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from sweeper.study import json_schema

    _print_json(json_schema())


def _study(path: Path, overrides: list[str] | None, executor: str | None = None, workers: int | None = None) -> Study:
    from sweeper.study import load_study

    sets = list(overrides or [])
    sets += [f"run.executor={executor}"] if executor is not None else []
    sets += [f"run.workers={workers}"] if workers is not None else []
    return load_study(path, sets)


def _open(study: Study, store: Path | None, create: bool) -> Store:
    from sweeper.run import default_store
    from sweeper.store import Store

    return Store.open(store or default_store(study), create=create)


def _of_store(path: Path) -> tuple[Study, Store]:
    """A store, and the study that was last run on it."""
    from sweeper.cloud import to_read
    from sweeper.errors import StudyError
    from sweeper.settled import settled
    from sweeper.store import Store
    from sweeper.study import load_study

    opened = Store.open(to_read(path))
    if not opened.paths.study.exists():
        raise StudyError(f"{opened.paths.study}: no study was run on this store yet")
    return settled(load_study(opened.paths.study), opened), opened


def _changes(study: Study, store: Store) -> list[str]:
    """What the study says otherwise than at the last run on this store."""
    from sweeper.errors import StudyError
    from sweeper.settled import settled
    from sweeper.study import load_study

    if not store.paths.study.exists():
        return []
    try:
        before = settled(load_study(store.paths.study), store)
        return [f"changed since the last run: {line}" for line in before.diff(study)]
    except StudyError:  # of another version
        return []


def _cluster(study: Study, address: str | None) -> Callable[[], Machine] | None:
    """What asks the Ray cluster at `address` for all that it has; None: the run is on this machine."""
    from sweeper.errors import StudyError

    if address is None:
        return None
    if study.run.executor != "ray":
        raise StudyError(f"--address joins a Ray cluster, and run.executor is {study.run.executor}")
    if address != "auto" and not re.fullmatch(r"[^/\s]+:[0-9]{1,5}", address):
        raise StudyError(f"--address should be HOST:PORT, or auto for the Ray on this machine, got {address!r}")

    def ask() -> Machine:
        from sweeper.driver.tune import cluster

        return cluster(address)

    return ask


def _executor(plan: Plan, address: str | None) -> Executor:
    if plan.study.run.executor == "inline":
        from sweeper.driver.inline import Inline

        return Inline()
    from sweeper.driver.tune import RayTune

    return RayTune(address)


def _report(study: Study, store: Store) -> Report:
    from dataclasses import replace

    from models.registry import cell_id
    from sweeper.analysis.html import page_data, render
    from sweeper.analysis.report import report as analyse
    from sweeper.plan import asked_cells
    from sweeper.store.atomic import make_folder, reported, write_bytes

    folder, cells, history = store.paths.analysis, store.cells(), store.history()
    asked = {cell_id(cell): cell for cell in asked_cells(study, store)}
    with reported(folder):
        found = analyse(
            cells,
            history,
            folder,
            study_name=study.name,
            axis=study.analysis.axis,
            reference=study.analysis.uncollapsed,
            order_parameter=study.analysis.order_parameter,
            asked=asked,
            same_within=study.analysis.same_within,
        )
    shown = page_data(
        found,
        cells,
        history,
        folder=folder,
        question=study.question,
        study_text=study.to_yaml(),
        asked=asked,
        failures=store.failures(),
        picture=store.pictures,
    )
    page = folder / "report.html"
    make_folder(folder)
    write_bytes(page, render(shown).encode())
    return replace(found, page=page)


def _print_report(found: Report, store: Store) -> None:
    from sweeper.show import report_header, report_lines, report_table

    if found.curves:
        _print_table(report_header(found), report_table(found))
    for line in report_lines(found, store):
        _print(line)


def _print(text: str) -> None:
    """A result, to stdout."""
    _write(text, sys.stdout)


def _say(text: str) -> None:
    """Anything else, to stderr."""
    _write(text, sys.stderr)


def _write(text: str, stream: TextIO | None) -> None:
    """A line, at once. A reader that went away, as in `| head -1`, ends the printing and not the command."""
    if stream is None:  # it was closed before we started
        return
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_json(value: Any) -> None:
    _print(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout and sys.stdout.isatty() else 160)
    with console.capture() as printed:
        console.print(table)
    _print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def main() -> None:
    """Entry point: errors become one line and an exit code, tracebacks only with --debug."""
    from sweeper.errors import SweeperError

    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ρ gets \u03c1, not a traceback
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    try:
        app()
    except SweeperError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(str(error), 74)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    if os.environ.get("SWEEPER_DEBUG"):
        traceback.print_exc()
    _say(message)
    sys.exit(code)
