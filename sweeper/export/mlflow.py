"""Runs in a database of MLflow's, an SQLite file: its file store is no longer supported (MLflow 3)."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sweeper.export.runs import Run, imported

CELL, DIGEST = "sweeper.cell_id", "sweeper.digest"  # tags of the runs that an export wrote
MAX_IN_A_CALL = 100  # parameters and tags that MLflow takes at a time; of metrics it takes 1,000


def database(output: Path) -> str:
    """The URI by which MLflow knows the database in `output`."""
    return f"sqlite:///{(output / 'mlflow.db').absolute()}"


def export_mlflow(runs: Sequence[Run], output: Path, experiment: str) -> int:
    """Write each run that is new or has changed into the database in `output`, in place of its earlier one; how many.

    Cells are runs of one experiment. Runs that no export wrote are left alone.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    imported("sqlalchemy", "MLflow", "mlflow")
    library = imported("mlflow", "MLflow", "mlflow")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between MLflow and SQLAlchemy
        return _export(library, runs, output, experiment)


def _export(library: Any, runs: Sequence[Run], output: Path, experiment: str) -> int:
    client = library.MlflowClient(tracking_uri=database(output))
    found = client.get_experiment_by_name(experiment)
    place = (
        found.experiment_id
        if found
        else client.create_experiment(experiment, (output / "artifacts").absolute().as_uri())
    )
    there = {run.data.tags[CELL]: run for run in _pages(client, place) if CELL in run.data.tags}
    written = 0
    for run in runs:
        earlier = there.get(run.cell_id)
        if earlier is not None and earlier.data.tags.get(DIGEST) == run.digest and earlier.info.status != "RUNNING":
            continue
        if earlier is not None:
            client.delete_run(earlier.info.run_id)
        _write(library.entities, client, place, run)
        written += 1
    return written


def _pages(client: Any, experiment_id: str) -> Iterator[Any]:
    """Every run of an experiment that is not deleted."""
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _write(entities: Any, client: Any, experiment_id: str, run: Run) -> None:
    begun, ended = (int(1000 * time.timestamp()) for time in (run.begun, run.ended))
    tags = {CELL: run.cell_id, DIGEST: run.digest, "group": run.group, **run.notes}
    made = client.create_run(
        experiment_id, start_time=begun, tags={k: str(v) for k, v in tags.items()}, run_name=run.name
    )
    metrics = [
        entities.Metric(tag, value, begun + int((ended - begun) * min(step / max(run.step, 1), 1.0)), step)
        for tag, points in run.curves.items()
        for step, value in points
    ]
    metrics += [entities.Metric(tag, value, ended, run.step) for tag, value in run.results.items()]
    parameters = [entities.Param(name, str(value)) for name, value in run.parameters.items()]
    for first in range(0, max(len(metrics), len(parameters)), MAX_IN_A_CALL):
        some = slice(first, first + MAX_IN_A_CALL)
        client.log_batch(made.info.run_id, metrics=metrics[some], params=parameters[some])
    client.set_terminated(made.info.run_id, "FAILED" if run.diverged else "FINISHED", end_time=ended)
