"""Trains grids of hierarchical variational autoencoders, survives being killed, and finds where they collapse.

    result = sweeper.train("studies/quickstart.yaml")
    cells = sweeper.load("results/quickstart")
    sweeper.critical(cells)[["architecture", "kind", "value", "low", "high", "reason"]]
    model = sweeper.load_model("results/quickstart", cells.cell_id[0])

Importing this loads nothing; each function loads what it needs. Errors are those of `sweeper.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.source import claim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, Literal

    import pandas

    from models.trained import TrainedModel
    from sweeper.study import Study
    from sweeper.training import Trained

claim()

__version__ = "0.1.0"
__all__ = ["__version__", "critical", "load", "load_model", "train"]


def load(store: str | Path, what: str = "cells") -> pandas.DataFrame:
    """The results of a store as a data frame; works without a lock, also while a run goes on.

    `what`: `cells`, one row per finished cell, or `history`, one row per cell and evaluated step; docs/columns.md
    describes the columns. Damaged files are left out with a warning that names them. Raises StoreUnwritable if there is
    no store, StoreNewer if a later version wrote it, ValueError on another `what`.
    """
    from sweeper.cloud import to_read
    from sweeper.store import Store

    if what not in ("cells", "history"):
        raise ValueError(f"what should be cells or history, got {what!r}")
    opened = Store.open(to_read(store))
    return {"cells": opened.cells, "history": opened.history}[what]()


def critical(
    cells: pandas.DataFrame,
    *,
    control: str = "rho",
    collapsed: Literal["low", "high"] | None = None,
    rho_ref: float | None = None,
    reference: float | None = None,
    order_parameter: str = "kl_top",
    history: pandas.DataFrame | None = None,
) -> pandas.DataFrame:
    """The table of critical values of a frame of cells, grouped into curves as in the report.

    Args:
        cells: as `load` returns it, or any frame that has columns for the control parameter (`rho`), `seed` and the
            order parameter (`kl_top`). Rows that share all else make one curve: `data`, `latents` and every other
            field of a cell (docs/study.md) that the frame has a column of, and `architecture`, a text, where there is
            no `latents`. Of several rows of one cell that with most `step` counts; a `state` of `diverged` makes a
            point without a value.
        control: the control parameter, a numeric field of a cell, or `steps`, those of the `history`.
        collapsed: its end that collapses, where that is not known.
        rho_ref: the ρ whose value counts as 100 % [0.8]; `reference`: the same for any control parameter, which all
            but `rho` need.
        order_parameter: what collapses, as in a study: `kl_top`, `kl_2`, `active_units_top`, …
        history: as `load(store, "history")` returns it, for `converged` and for `control="steps"`; it belongs to
            `cells` by `cell_id`.

    Returns:
        One row per curve and kind (`onset`, `midpoint`). `value` is the critical value in units of the control
        parameter, `low` and `high` its 95 % interval; where there is no number, `reason` says why, and `bound` what is
        known all the same. All columns: `sweeper.analysis.tables.critical_table`.

    Raises ValueError where columns are missing, naming them, or several rows would be one point; where a cell has a
    value that no cell can have; where there is no such control or order parameter, or its reference is missing.
    """
    from sweeper.analysis.frames import critical_values

    if rho_ref is not None and (control != "rho" or reference is not None):
        raise ValueError("rho_ref is the reference of control rho: give one of the two, for another control reference")
    return critical_values(
        cells,
        control=control,
        collapsed=collapsed,
        reference=reference if rho_ref is None else rho_ref,
        order_parameter=order_parameter,
        history=history,
    )


def load_model(store: str | Path, cell_id: str, device: str = "cpu") -> TrainedModel:
    """The trained network of a cell, from the weights that its store keeps; works without a lock.

    `model.encode(x)`, `model.decode(z, layer)`, `model.sample(n)` and `model.terms(x)` take and give arrays of NumPy or
    torch; shapes are said by `models.trained.TrainedModel`. Nothing is ever smoothed. All noise follows from a `seed`;
    with the images of `model.data()` and the evaluation's seed [0] the terms are those behind the cell's row.

    Args:
        store: a folder, or the URI of a store in a bucket.
        cell_id: as in the column `cell_id` of `load(store)`.
        device: where to compute. Rows from a GPU have other noise than a CPU draws.

    Raises NoModel where the store has no such cell or keeps no weights of it, StoreDamaged where they were altered,
    StoreUnwritable where there is no store, StoreNewer if a later version wrote it.
    """
    from sweeper.kept import load_model

    return load_model(store, cell_id, device)


def train(
    study: Study | Mapping[str, Any] | str | Path,
    store: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    progress: bool = True,
    raise_failures: bool = True,
) -> Trained:
    """Train what is missing of a study, in a script or a notebook; call it again to go on after an interruption.

    Args:
        study: path of a study file, its YAML text, or a mapping of what it would hold.
        store: folder of results, or the URI of a store in a bucket [results/<study name>].
        overrides: as `--set` on the command line: `["train.steps=1000", "run.executor=inline"]`.
        address: of a Ray cluster to join, HOST:PORT, or `auto`.
        progress: show on stderr what is to be done and how far it is: bars on a terminal, else a line now and then.
        raise_failures: raise where a cell failed; else it is among the result's `failures`.

    Returns:
        Counts, the store's place, and, read when asked for, `cells`, `history` and the table of `critical` values.

    Ctrl-C, or a notebook's interrupt, writes checkpoints and then raises KeyboardInterrupt; a second one raises it at
    once. SIGTERM does the same and raises Interrupted. Both are heard in the main thread only: training in another
    cannot be interrupted, and if the process is ended loses what came after its last checkpoint. Handlers of signals,
    Ray's variables and torch's threads are afterwards as before. A script needs no `if __name__ == "__main__"`.

    Raises CellsFailed after all others are done, with the result as its `result`; StudyError, StoreInUse, DataMissing,
    StoreUnwritable, StoreNewer before any training.
    """
    from sweeper.training import train

    return train(
        study,
        store,
        overrides=overrides,
        address=address,
        progress=progress,
        raise_failures=raise_failures,
    )
