"""The command line. Results go to stdout, everything else to stderr; modules load when a command needs them.

Exit codes: 0 done, 1 cells or a comparison failed, 2 usage or study error, 65 store damaged or newer, 69 no
workers, 74 input or output failed, 75 store in use; interrupted, checkpoints written, 128 + the signal's number: 130
Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import gc
import io
import json
import math
import os
import shlex
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.output import flush, write_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeper.analysis.report import Report
    from sweeper.estimate import Cost
    from sweeper.export.runs import Run
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
    "69 no workers, 74 I/O, 75 store in use, 130, 143 and other 128 + signal interrupted.",
)


def _at_home(given: Any) -> Any:
    """Paths as they are given; `~` is for us to replace where no shell did, as in `--store=~/results`."""
    if isinstance(given, (list, tuple)):
        return [_at_home(each) for each in given]
    try:
        return given and given.expanduser()
    except RuntimeError:
        raise typer.BadParameter(f"{given}: no home folder is known (is HOME set?): write the path in full") from None


StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file, YAML.", callback=_at_home)]
StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of results.", callback=_at_home)]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of results.  [default: results/<study name>]", callback=_at_home),
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


def _version(on: bool) -> None:
    if on:
        from sweeper import __version__

        _print(f"sweeper {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that come before a command."""


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
    from sweeper.executors import cluster_at, executor_for
    from sweeper.progress import Watch
    from sweeper.run import run_study
    from sweeper.settled import settled, settled_lines
    from sweeper.show import failure_lines, plan_dict, plan_lines

    where = cluster_at(loaded, address)
    opened = _open(loaded, store, create=True)
    asked, loaded = loaded, settled(loaded, opened)
    changes = settled_lines(asked, loaded) + _changes(loaded, opened)

    def announce(plan: Plan, damaged: tuple[Damaged, ...]) -> None:
        for line in [*plan_lines(plan, opened, damaged), *changes]:
            _say(line)

    outcome = run_study(loaded, opened, lambda plan: executor_for(plan, address), announce, Watch, where)
    found: Report | None = None
    try:
        found = _report(loaded, opened)
    except KeyboardInterrupt:
        _say("interrupted: the results are whole, their report was not written")
        _say(f"next: sweeper report {shlex.quote(str(opened.paths.root))}")
        raise
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
    if found is not None and found.unwritten:
        _say(f"the results are whole, but {found.unwritten}")
    unfinished = bool(outcome.after.missing or outcome.failures)
    if unfinished or found is None or found.unwritten:
        raise typer.Exit(1 if unfinished else 74 if found is not None else getattr(unreported, "exit_code", 1))


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
def status(
    store: StorePath,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until the run has ended or Ctrl-C; --json: by lines.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say how far a store is, also while a run is going on."""
    from sweeper.show import status_lines
    from sweeper.watching import look

    if watch:
        _watch(store, as_json)
        return
    found = look(store)
    if as_json:
        _print_json(found)
    else:
        for line in status_lines(found):
            _print(line)


def _watch(store: Path, as_json: bool) -> None:
    from rich.console import Console

    from sweeper.watching import watch_changes, watch_lines, watch_screen

    try:
        if as_json:
            watch_changes(store, lambda found: _print(json.dumps(_finite(found), ensure_ascii=False, allow_nan=False)))
        elif sys.stdout is not None and sys.stdout.isatty():
            watch_screen(store, Console())
        else:
            watch_lines(store, _print)
    except KeyboardInterrupt:  # of the watching: the run goes on, and nothing was interrupted
        raise typer.Exit(130) from None


@app.command()
def report(store: StorePath, as_json: Json = False, debug: Debug = False) -> None:
    """Find the critical ρ and draw the figures again, from the store alone."""
    study, opened = _of_store(store)
    found = _report(study, opened)
    if as_json:
        _print_json(found.to_dict())
    else:
        _print_report(found, opened)
    if found.unwritten:
        _fail(found.unwritten, 74)


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
    """Write the cells as trials of Optuna studies, one per curve, for optuna-dashboard."""
    from sweeper.cloud import to_read
    from sweeper.errors import StudyError
    from sweeper.refine.export import export_optuna, open_storage
    from sweeper.store import Store
    from sweeper.study import load_study

    opened = Store.open(to_read(store))
    study = load_study(opened.paths.study) if opened.paths.study.exists() else None
    place = storage or str(opened.paths.analysis_file("optuna.journal"))
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


Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Folder to write to.")]


@export.command("tensorboard")
def export_to_tensorboard(store: StorePath, output: Output = None, as_json: Json = False, debug: Debug = False) -> None:
    """Write the cells as runs for TensorBoard, into STORE/analysis/tensorboard unless told otherwise."""
    from sweeper.export.tensorboard import export_tensorboard

    _export("tensorboard", store, output, as_json, lambda runs, place, name: export_tensorboard(runs, place))


@export.command("wandb")
def export_to_wandb(store: StorePath, output: Output = None, as_json: Json = False, debug: Debug = False) -> None:
    """Write the cells as offline runs of Weights & Biases, into STORE/analysis/wandb unless told otherwise."""
    from sweeper.export.wandb import export_wandb

    _export("wandb", store, output, as_json, export_wandb)


@export.command("mlflow")
def export_to_mlflow(store: StorePath, output: Output = None, as_json: Json = False, debug: Debug = False) -> None:
    """Write the cells as runs into a database of MLflow's, in STORE/analysis/mlflow unless told otherwise."""
    from sweeper.export.mlflow import export_mlflow

    _export("mlflow", store, output, as_json, export_mlflow)


def _export(
    tool: str, store: Path, output: Path | None, as_json: bool, write: Callable[[list[Run], Path, str], int]
) -> None:
    from sweeper.cloud import to_read
    from sweeper.errors import StudyError
    from sweeper.export.runs import runs_of
    from sweeper.store import Store
    from sweeper.study import load_study
    from sweeper.wording import plural

    opened = Store.open(to_read(store))
    try:
        name = load_study(opened.paths.study).name if opened.paths.study.exists() else opened.paths.root.name
    except StudyError:  # of another version: its rows can be exported all the same
        name = opened.paths.root.name
    rows, history = (opened.read(kind)[0].to_pylist() for kind in ("cells", "history"))
    place = output or opened.paths.analysis_file(tool)
    written = write(runs_of(rows, history), place, name)
    if as_json:
        _print_json({"output": str(place), "runs": len(rows), "written": written})
        return
    _print(f"{place}: {plural(len(rows), 'run')}, {written:,} of them written now")
    words = {
        "tensorboard": f"tensorboard --logdir {shlex.quote(str(place))}",
        "wandb": f"wandb sync {shlex.quote(str(place))}/*/wandb/offline-run-*",
        "mlflow": f"mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{place.absolute()}/mlflow.db')}",
    }
    _print(f"next: {words[tool]}")


@app.command()
def doctor(
    store: Annotated[
        Path | None, typer.Argument(metavar="STORE", help="Folder of results to verify as well.", callback=_at_home)
    ] = None,
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
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Store to bring them into; made if it is new.", callback=_at_home)
    ],
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="Stores to take from; only read.", callback=_at_home)
    ],
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
        raise typer.Exit(74 if all(fault.left_alone for fault in merged.damaged) else 65)


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
        Path,
        typer.Option(
            "--reference", metavar="FILE", help="Published numbers, YAML, as in studies/paper/.", callback=_at_home
        ),
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
    from sweeper.study.analysis import Analysis
    from sweeper.study.reference import load_reference

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


def _report(study: Study, store: Store) -> Report:
    """What is found; where the store takes nothing more, without tables, figures and page (`Report.unwritten`)."""
    from dataclasses import replace

    from sweeper.environment import load_matplotlib
    from sweeper.errors import StoreUnwritable
    from sweeper.store.atomic import make_folder, reported

    load_matplotlib()
    folder = store.paths.analysis
    try:
        with reported(folder):
            make_folder(folder)
            if not os.access(folder, os.W_OK):  # rather than after all figures are drawn
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return _analysed(study, store, folder)
    except StoreUnwritable as fault:
        return replace(_analysed(study, store, None), unwritten=f"no table or figure was written: {fault}")


def _analysed(study: Study, store: Store, folder: Path | None) -> Report:
    """The store's rows analysed; tables, figures and the page go into `folder`, if one is given."""
    from dataclasses import replace

    from models.cell import cell_id
    from sweeper.analysis.html import page_data, render
    from sweeper.analysis.report import report as analyse
    from sweeper.plan import asked_cells
    from sweeper.store.atomic import write_bytes

    cells, history = store.cells(), store.history()
    asked = {cell_id(cell): cell for cell in asked_cells(study, store)}
    found = analyse(
        cells,
        history,
        folder,
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
    write_bytes(page, render(shown).encode(errors="backslashreplace"))  # a folder's name need not be text
    return replace(found, page=page)


def _print_report(found: Report, store: Store) -> None:
    from sweeper.show import report_header, report_lines, report_table

    if found.curves:
        _print_table(report_header(found), report_table(found))
    for line in report_lines(found, store):
        _print(line)


def _print(text: str) -> bool:
    """A result, to stdout; whether somebody may read it."""
    return write_line(text, sys.stdout)


def _say(text: str) -> None:
    """Anything else, to stderr."""
    write_line(text, sys.stderr)


def _print_json(value: Any) -> None:
    ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()  # JSON has escapes of its own
    _print(json.dumps(_finite(value), ensure_ascii=ascii_only, indent=2, allow_nan=False))


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
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    console = Console(width=None if on_terminal else 160, force_terminal=on_terminal)  # whatever FORCE_COLOR says
    with console.capture() as printed:
        console.print(table)
    _print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def main() -> None:
    """Entry point: errors become one line and an exit code, tracebacks only with --debug."""
    from sweeper.environment import forget_others
    from sweeper.errors import SweeperError

    forget_others()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ρ gets \u03c1, not a traceback
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries end in ways of their own then
        _fail("the current folder is no longer there: change to another one", 74)
    try:
        app()
    except SweeperError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(str(error), 74)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    finally:
        for stream in (sys.stdout, sys.stderr):
            flush(stream)  # what other writers left there, as bars on a terminal that was closed
        gc.freeze()  # the interpreter would search all of PyTorch and Ray for garbage before it ends: 1.5 seconds


def _fail(message: str, code: int) -> None:
    if os.environ.get("SWEEPER_DEBUG"):
        _say(traceback.format_exc().rstrip("\n"))
    _say(message)
    sys.exit(code)
