"""What a cell in training carries beside its tensors, and what its row and its history record hold."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from models.cell import Cell, cell_size, registry
from models.evaluation.settings import Evaluation
from models.kernels import elementwise
from models.stack.stack import Stack
from sweeper.machine import processor
from sweeper.planning import Job
from sweeper.provenance import provenance
from sweeper.store.columns import LATER_HISTORY, SCHEMA_VERSION
from sweeper.store.evaluated_columns import EVALUATION

_MEASURED = ("split", "images", "elbo", "reconstruction", "kl_total", "kl_per_layer", "kl_top", "active_units_one_pass")
_NOTHING = dict.fromkeys(column.name for column in EVALUATION if column.name != "evaluation_id")


_REMEMBERED = (
    "inner_updates_done",
    "halvings_done",
    "schedule_ended_at",
    "aggressive_until",
)  # of what procedures remember of each cell


@dataclass
class CellRecord:
    """One cell of a stack in training.

    - `history`: its history records so far; `train_s`: its share of the seconds in which its stacks were trained.
    - `kernels`: what did the passes beside matrix products so far; None: in part a version that does not say.
    """

    cell_id: str
    history: list[dict[str, Any]] = field(default_factory=list)
    train_s: float = 0.0
    kernels: list[str] | None = field(default_factory=list)

    @classmethod
    def of(cls, name: str, meta: Mapping[str, Any] | None) -> CellRecord:
        """The record that a checkpoint or a kept state has in its `meta`; None: the cell starts at step 0."""
        if meta is None:
            return cls(name)
        return cls(name, list(meta["history"]), float(meta["train_s"]), meta.get("kernels"))

    def meta(self) -> dict[str, Any]:
        """The record as plain JSON values, for a checkpoint or a kept state."""
        return {"history": self.history, "train_s": self.train_s, "kernels": self.kernels}

    def uses(self, kernels: str) -> None:
        """From here on these do the passes beside matrix products."""
        if self.kernels is not None:
            self.kernels = sorted({*self.kernels, kernels})


def quick_evaluation(job: Job) -> Evaluation:
    """The settings of a history record: the first validation images, and one chain per image."""
    return Evaluation(
        importance_samples=1,
        images=job.validation_images,
        split="validation",
        seed=job.evaluation.seed,
        gradient_variance=job.validation_gradient_variance,
        mutual_information=job.validation_mutual_information,
        posterior_mean=job.validation_posterior_mean,
    )


def record_history(
    records: Sequence[CellRecord], stack: Stack, job: Job, measured: Sequence[Mapping[str, Any]]
) -> None:
    """Add to each cell's history what the quick evaluation `measured` at the stack's step."""
    rates = stack.optimizer.learning_rate(stack.step).flatten().tolist()
    weights = stack.objective.kl_weight.at(stack.step).tolist()
    for record, row, objective, rate, weight in zip(
        records, measured, stack.mean_objective(), rates, weights, strict=True
    ):
        record.history.append(
            {key: row[key] for key in _MEASURED}
            | {key: row.get(key) for key in LATER_HISTORY}
            | {"cell_id": record.cell_id, "study": job.study, "step": stack.step, "train_objective": objective}
            | {"learning_rate": rate, "kl_weight": weight}
        )


def cell_row(
    stack: Stack,
    i: int,
    job: Job,
    record: CellRecord,
    attempt: str,
    evaluated: dict[str, Any] | None,
    evaluation_s: float,
) -> dict[str, Any]:
    """The row of the stack's cell `i`, trained by `attempt`; `evaluated` None: it diverged."""
    cell: Cell = stack.cells[i]
    diverged_at = None if evaluated else int(stack.diverged_at[i])
    steps = stack.step if diverged_at is None else diverged_at
    return (
        asdict(cell)
        | {"latents": list(cell.latent_sizes), "depth": cell.depth, "architecture": cell.architecture}
        | {"study": job.study, "cell_id": record.cell_id, "cell": cell.to_json(), "schema_version": SCHEMA_VERSION}
        | {"data_digest": registry.find("data", cell.data).digest or stack.dataset.digest()}
        | {"state": "done" if evaluated else "diverged", "step": steps, "steps_asked": job.steps}
        | {"diverged_at": diverged_at, "evaluation_id": job.evaluation.id() if evaluated else None}
        | _NOTHING
        | (evaluated or {})
        | {"train_objective": _last_objective(stack, i, record) if evaluated else None}
        | {"parameters": cell_size(cell).parameters}
        | {name: _remembered(stack, i, name) for name in _REMEMBERED}
        | {"wall_s": record.train_s, "step_s": record.train_s / max(steps, 1), "evaluation_s": evaluation_s}
        | {"peak_memory_bytes": _peak_memory(stack.device), "stack_cells": len(stack.cells)}
        | {"kernels": None if record.kernels is None else ", ".join(record.kernels)}
        | {"evaluation_kernels": elementwise.kernels(stack.device, stack.dtype) if evaluated else None}
        | {"device": stack.device.type, "device_name": _device_name(stack.device), "threads": job.threads}
        | {"attempt": attempt, "finished_at": datetime.now(UTC), "draws": stack.draws.name}
        | provenance()
    )


def _remembered(stack: Stack, i: int, name: str) -> int | None:
    """A whole number of the state of the stack's cell `i`; None where there is none, or −1 stands for that."""
    found = int(stack.state[name][i]) if name in stack.state else -1
    return None if found < 0 else found


def _last_objective(stack: Stack, i: int, record: CellRecord) -> float | None:
    """Mean training objective since the last history record, or over the interval that ended there."""
    since: float | None = stack.mean_objective()[i]
    return since if since is not None or not record.history else record.history[-1]["train_objective"]


def _peak_memory(device: torch.device) -> int:
    """Largest memory so far, bytes: of the process, or on the GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
