"""Runs as offline runs of Weights & Biases, for `wandb sync`: nothing leaves this machine before that."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.export.runs import Run, imported, write_folders


def export_wandb(runs: Sequence[Run], output: Path, project: str) -> int:
    """Write each run that is new or has changed as an offline run in a folder of `output`; how many.

    A run's id is the cell's, so that what is uploaded again goes to the same run.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it reports its own errors over the network
    library = imported("wandb", "Weights & Biases", "wandb")
    try:
        return write_folders(runs, output, lambda run, folder: _write(library, run, folder, project))
    finally:
        library.teardown()


def _write(library: Any, run: Run, folder: Path, project: str) -> None:
    settings = library.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, save_code=False,
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
    )  # fmt: skip
    with library.init(
        mode="offline",
        dir=str(folder),
        project=project,
        id=run.cell_id,
        name=run.name,
        group=run.group,
        config={**run.parameters, **{f"notes/{name}": value for name, value in run.notes.items()}},
        tags=["diverged"] if run.diverged else [],
        settings=settings,
    ) as opened:
        by_step: dict[int, dict[str, float]] = defaultdict(dict)
        for tag, points in run.curves.items():
            for step, value in points:
                by_step[step][tag] = value
        for step in sorted(by_step):
            opened.log(by_step[step], step=step)
        for tag, value in run.results.items():
            opened.summary[tag] = value
    for path in (folder / "wandb").iterdir():
        if path.is_symlink():  # to where the folder was while it was written
            path.unlink()
