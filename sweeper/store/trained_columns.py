"""The columns that say what was trained, how, where and at which cost: see `sweeper.store.columns`."""

from __future__ import annotations

from collections.abc import Sequence

from models.cell import FIELDS, ROLES, options_of_role
from sweeper.store.column import DIVERGED, Column, column, volatile

_NO_SUCH_OPTION = "the parts of the cell have no such option"
_KINDS = {"str": "string", "int": "int64", "float": "double"}
_LISTED = {"latents": "list<int64>"}  # a text in a study


def _of_field(name: str) -> Column:
    """The column of a field of a cell: what its declaration says."""
    field = FIELDS[name]
    null = _NO_SUCH_OPTION if field.since > 2 and name not in ROLES else ""
    return column(name, _LISTED.get(name, _KINDS[field.kind]), field.unit, field.meaning, null, field.since)


def _of_role(role: str, more: Sequence[Column] = ()) -> list[Column]:
    """The columns of a role: the name of its part, `more`, and the options of all its parts."""
    return [_of_field(role), *more, *(_of_field(name) for name in options_of_role(role))]


_ARCHITECTURE = [
    column("architecture", "string", "", "the network in words: `mlp 40-40-40 (200-200)`"),
    column("depth", "int64", "layers", "stochastic layers, L"),
]

IDENTITY = [
    column("study", "string", "", "name of the study that committed the row"),
    column("cell_id", "string", "", "hash of all that decides the cell's training, and of nothing else"),
    *_of_role("data", [column("data_digest", "string", "", "digest of the decoded data")]),
    *_of_role("network", _ARCHITECTURE),
    *_of_role("prior"),
    *_of_role("posterior"),
    *_of_role("likelihood"),
    *_of_role("objective"),
    *_of_role("procedure"),
    *_of_role("optimizer"),
    _of_field("precision"),
    _of_field("seed"),
    column("cell", "string", "", "the fields of the cell as canonical JSON"),
]

PROGRESS = [
    column("state", "string", "", "`done`, or `diverged`: the loss or a weight became NaN or infinite"),
    column("step", "int64", "steps", "training steps behind the row; of a diverged cell, those up to its divergence"),
    column("steps_asked", "int64", "steps", "training steps the study asked for"),
    column("diverged_at", "int64", "steps", "step at which the cell diverged", null="the cell is done"),
]

TRAINING = [
    column(
        "train_objective", "double", "nats/image",
        "mean of the training objective over the steps since the last history row; no bound of log p(x) where smoothed",
        null="the cell diverged, or no step was trained",
    ),
    column("parameters", "int64", "", "trained parameters of the cell"),
    column(
        "inner_updates_done", "int64", "updates",
        "updates of the inference network alone, in all steps behind the row", null="training has no inner updates",
        since=5,
    ),
    column(
        "halvings_done", "int64", "halvings", "how often the learning rate was halved after validations",
        null="its rate is not halved", since=5,
    ),
    column(
        "schedule_ended_at", "int64", "steps",
        "step at which the cell's schedule ended its training: it is done for any number of steps",
        null="it has not ended", since=5,
    ),
    column(
        "aggressive_until", "int64", "steps", "step at which training ceased to be aggressive",
        null="training has no aggressive phase, or it has not ended", since=5,
    ),
]  # fmt: skip

COST = [
    volatile("wall_s", "double", "s", "wall time of the cell's training, its share of the stack's, over all attempts"),
    volatile("step_s", "double", "s/step", "wall time of a step of the stack, divided by its cells"),
    volatile("evaluation_s", "double", "s", "wall time of the final evaluation, the cell's share of the stack's"),
    volatile("peak_memory_bytes", "int64", "bytes", "peak of the process (CPU) or the device (GPU)", "not measured"),
    volatile("stack_cells", "int64", "cells", "cells trained together in the stack"),
]

PROVENANCE = [
    volatile("device", "string", "", "`cpu` or `cuda`; draws are paired only within one type of device"),
    volatile("device_name", "string", "", "model of the device"),
    volatile("threads", "int64", "threads", "CPU threads of the process that trained"),
    volatile(
        "kernels",
        "string",
        "",
        "what did the passes beside matrix products in the cell's training, which decides its last bits: `compiled` "
        "(C, where there is a compiler), `torch`, or `compiled, torch`: both, as it went on elsewhere; under "
        "`precision: bfloat16` also what multiplied such numbers, `compiled with amx` or `… with avx512_bf16` (parts "
        "of the processor); without them they were rounded and multiplied in float32",
        null="it went on from a checkpoint of schema version 1, which does not say",
        since=2,
    ),
    volatile(
        "evaluation_kernels", "string", "", "the same of the final evaluation: `compiled` or `torch`", DIVERGED, since=2
    ),
    volatile("host", "string", "", "name of the machine"),
    volatile("attempt", "string", "", "the stack's run that committed the row"),
    volatile("finished_at", "timestamp[us, UTC]", "", "time of the commit by the machine's clock"),
    volatile("git_revision", "string", "", "revision of the source", "not run from a git checkout"),
    volatile("version_sweeper", "string", "", "version of sweeper"),
    volatile("version_python", "string", "", "version of Python"),
    volatile("version_torch", "string", "", "version of PyTorch"),
    volatile("version_numpy", "string", "", "version of NumPy"),
    volatile("draws", "string", "", "generator of the random draws: cells are paired only under the same one"),
    column("schema_version", "int64", "", "version of this table of columns when the cell was evaluated"),
]
