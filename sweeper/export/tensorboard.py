"""Runs as event files for TensorBoard: curves and results as scalars, parameters for its table of hyper-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.export.runs import Run, imported, write_folders


def export_tensorboard(runs: Sequence[Run], output: Path) -> int:
    """Write each run that is new or has changed as a folder of `output`, for `tensorboard --logdir`; how many."""
    library = imported("tensorboardX", "TensorBoard", "tensorboard")
    return write_folders(runs, output, lambda run, folder: _write(library, run, folder))


def _write(library: Any, run: Run, folder: Path) -> None:
    ended = run.ended.timestamp()
    begun = run.begun.timestamp()
    with library.SummaryWriter(logdir=str(folder)) as writer:
        if run.results:
            for part in library.summary.hparams(dict(run.parameters), dict(run.results)):
                writer.file_writer.add_summary(part)
        for tag, points in run.curves.items():
            for step, value in points:  # when it was measured is not kept: as if every step took as long
                share = step / run.step if run.step else 1.0
                writer.add_scalar(tag, value, step, walltime=begun + min(share, 1.0) * (ended - begun))
        for tag, value in run.results.items():
            writer.add_scalar(tag, value, run.step, walltime=ended)
        writer.add_text("notes", "\n".join(f"    {name}: {value}" for name, value in run.notes.items()), walltime=ended)
