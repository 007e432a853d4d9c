"""`sweeper export`: results for other tools."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import Debug, Json, StorePath
from sweeper.cli.output import show, show_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeper.export.runs import Run

export = typer.Typer(no_args_is_help=True, help="Hand results to other tools.")


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
        show_json({"storage": place, "studies": names, "trials": len(rows)})
        return
    for name in names:
        show(name)
    show(f"next: optuna-dashboard {shlex.quote(place)}")


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
        show_json({"output": str(place), "runs": len(rows), "written": written})
        return
    show(f"{place}: {plural(len(rows), 'run')}, {written:,} of them written now")
    words = {
        "tensorboard": f"tensorboard --logdir {shlex.quote(str(place))}",
        "wandb": f"wandb sync {shlex.quote(str(place))}/*/wandb/offline-run-*",
        "mlflow": f"mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{place.absolute()}/mlflow.db')}",
    }
    show(f"next: {words[tool]}")
