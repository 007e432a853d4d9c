"""The columns of a store's rows: one table from which schemas, checks and docs/columns.md come.

Any change here raises SCHEMA_VERSION, and a column that is added says since which version it is there: a store holds
files of one schema, because readers of a folder of Parquet files take the first file's columns and silently drop what
later files add. Rows of an earlier version get the columns that they lack, null, when they are read
(`sweeper.store.rows`), and for good when the next run holds the store's lock (`sweeper.store.repair`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from models.cell import FIELDS, ROLES, options_of_role

SCHEMA_VERSION = 6


@dataclass(frozen=True)
class Column:
    """One column.

    - `null` says in words when it is null (empty: never), beside rows of versions that had no such column.
    - `volatile`: it may differ between runs.
    - `since`: the schema version that added it; `changed`: from which its numbers are what `meaning` says.
    """

    name: str
    type: str
    unit: str
    meaning: str
    volatile: bool = False
    null: str = ""
    since: int = 1
    changed: int = 1

    @property
    def nullable(self) -> bool:
        """Whether it can be null."""
        return bool(self.null) or self.since > 1


def _column(name: str, type: str, unit: str, meaning: str, null: str = "", since: int = 1, changed: int = 1) -> Column:
    return Column(name, type, unit, meaning, null=null, since=since, changed=changed)


def _evaluated(name: str, type: str, unit: str, meaning: str, since: int = 1) -> Column:
    return Column(name, type, unit, meaning, null=DIVERGED, since=since)


def _volatile(name: str, type: str, unit: str, meaning: str, null: str = "", since: int = 1) -> Column:
    return Column(name, type, unit, meaning, volatile=True, null=null, since=since)


DIVERGED = "the cell diverged"
_NO_LEVELS = "the data are no levels but binary, binarised or real, or the likelihood is a density, as `gaussian`"
_BOUND_OFF = "the cell diverged, or the evaluation asks for no such bound"
_NO_SYMBOLS = "the cell diverged, or its data are no sequences of symbols"
_NOT_ASKED = "the cell diverged, or the evaluation does not ask for it"

_NO_SUCH_OPTION = "the parts of the cell have no such option"
_KINDS = {"str": "string", "int": "int64", "float": "double"}
_LISTED = {"latents": "list<int64>"}  # a text in a study


def _of_field(name: str) -> Column:
    """The column of a field of a cell: what its declaration says."""
    field = FIELDS[name]
    null = _NO_SUCH_OPTION if field.since > 2 and name not in ROLES else ""
    return _column(name, _LISTED.get(name, _KINDS[field.kind]), field.unit, field.meaning, null, field.since)


def _of_role(role: str, more: Sequence[Column] = ()) -> list[Column]:
    """The columns of a role: the name of its part, `more`, and the options of all its parts."""
    return [_of_field(role), *more, *(_of_field(name) for name in options_of_role(role))]


_ARCHITECTURE = [
    _column("architecture", "string", "", "the network in words: `mlp 40-40-40 (200-200)`"),
    _column("depth", "int64", "layers", "stochastic layers, L"),
]

IDENTITY = [
    _column("study", "string", "", "name of the study that committed the row"),
    _column("cell_id", "string", "", "hash of all that decides the cell's training, and of nothing else"),
    _of_field("data"),
    _column("data_digest", "string", "", "digest of the decoded data"),
    *_of_role("network", _ARCHITECTURE),
    *_of_role("prior"),
    *_of_role("posterior"),
    *_of_role("likelihood"),
    *_of_role("objective"),
    *_of_role("procedure"),
    *_of_role("optimizer"),
    _of_field("precision"),
    _of_field("seed"),
    _column("cell", "string", "", "the fields of the cell as canonical JSON"),
]

PROGRESS = [
    _column("state", "string", "", "`done`, or `diverged`: the loss or a weight became NaN or infinite"),
    _column("step", "int64", "steps", "training steps behind the row; of a diverged cell, those up to its divergence"),
    _column("steps_asked", "int64", "steps", "training steps the study asked for"),
    _column("diverged_at", "int64", "steps", "step at which the cell diverged", null="the cell is done"),
]

_V = (
    "variance over images of q's mean averaged over whole ancestral chains, less its Monte-Carlo part (V); layer by "
    "layer, unit by unit; of a dead unit it can be slightly negative"
)

_OF_MAP = "degree 0, 1, 2, 3 and of all others, layer by layer: of"
_NO_GAUSSIAN = f"{_NOT_ASKED}, or a layer's q is no Gaussian"
_NO_MEAN = f"{_NOT_ASKED}, or q(z₁|x) is no Gaussian whose mean follows from x alone"
_GRADIENT = [
    _column(
        "gradient_variance", "double", "nats²",
        "variance, over the noise of a training step, of the gradient of an image's loss with respect to the mean that "
        "the first inference map puts out: summed over units, mean over the images of a fixed batch, binarised once "
        "(not the variance of a batch's mean)",
        null=_NO_MEAN, since=4,
    ),
    _column(
        "gradient_variance_latent", "double", "nats²",
        "its part from the noise of z: the variance of the gradient averaged over the noise of smoothing",
        null=_NO_MEAN, since=4,
    ),
    _column(
        "gradient_variance_smoothing", "double", "nats²",
        "its part from the noise of smoothing, the noise of z held fixed; the two sum to `gradient_variance`; 0 where "
        "nothing is smoothed",
        null=_NO_MEAN, since=4,
    ),
    _column(
        "gradient_variance_plain", "double", "nats²", "the same variance of the same loss without smoothing, with the "
        "same noise of z", null=_NO_MEAN, since=4,
    ),
]  # fmt: skip
_DIAGNOSES = [
    _column(
        "mutual_information", "list<double>", "nats",
        "mutual information I(x; z_i) between image and latent variables over the aggregate posterior of `mi_samples` "
        "images, layers 1 … L: on average a lower bound, at most `mi_cap`; above layer 1 q(z_i|x) is the Gaussian of "
        "its mean and variance over ancestral chains (`models.evaluation.mutual_information`); NaN for a layer whose q "
        "has no density at other samples",
        null=f"{_NOT_ASKED}, or no layer's q has a density at other samples than its own", since=4,
    ),
    _column(
        "mi_se", "list<double>", "nats", "standard error of `mutual_information` over images",
        null=f"{_NOT_ASKED}, or no layer's q has a density at other samples than its own", since=4,
    ),
    _column(
        "mi_upper", "list<double>", "nats",
        "leave-one-out estimate of the same, on average an upper bound; NaN where q(z_i|x) is known from chains alone, "
        "as above layer 1 of bottom-up inference. With `mutual_information` near `mi_cap` its variance is not finite",
        null=f"{_NOT_ASKED}, or no layer's q has a density at other samples than its own", since=6,
    ),
    _column("mi_samples", "int64", "images", "images of the aggregate posterior, N", null=_NOT_ASKED, since=4),
    _column("mi_cap", "double", "nats", "log N: no `mutual_information` exceeds it", null=_NOT_ASKED, since=4),
    _column(
        "kl_aggregate", "double", "nats",
        "KL(q(z_L) ‖ p(z_L)) of the aggregate posterior of these images: with one layer, `kl_top` less mutual "
        "information; biased upward as that is downward",
        null=f"{_NOT_ASKED}, or the top layer's q has no density at other samples than its own", since=4,
    ),
    *_GRADIENT,
    _column(
        "gradient_draws", "int64", "draws", "draws of the noise of z behind it; of smoothing two each",
        null=_NOT_ASKED, since=4,
    ),
    _column("gradient_images", "int64", "images", "images of its batch, as in training", null=_NOT_ASKED, since=4),
    _column(
        "hermite_mean", "list<list<double>>", "",
        f"Hermite weights W_k of {_OF_MAP} the mean that the generative map from layers 1 … L puts out (of layer 1 "
        "what the likelihood is given, logits), unsmoothed, over the layer's q given one chain of an image; summed "
        "over outputs, mean over images",
        null=_NO_GAUSSIAN, since=4,
    ),
    _column(
        "hermite_deviation", "list<list<double>>", "",
        f"Hermite weights of {_OF_MAP} the map's standard deviation; NaN for layer 1, which has none",
        null=_NO_GAUSSIAN, since=4,
    ),
    _column(
        "hermite_mean_variance", "list<double>", "",
        "variance of the map's mean over the layer's q, summed over outputs, mean over images: the weights but W_0",
        null=_NO_GAUSSIAN, since=4,
    ),
    _column(
        "hermite_deviation_variance", "list<double>", "", "the same of the map's standard deviation; NaN for layer 1",
        null=_NO_GAUSSIAN, since=4,
    ),
    _column("hermite_images", "int64", "images", "images at whose q the maps were expanded", null=_NOT_ASKED, since=4),
]  # fmt: skip

EVALUATION = [
    _evaluated("evaluation_id", "string", "", "hash of the settings of the evaluation"),
    _evaluated("split", "string", "", "split evaluated: `test` or `validation`"),
    _evaluated("images", "int64", "images", "images evaluated, n of the averages"),
    _evaluated(
        "image_choice", "string", "",
        "which of the split's images: `all`, `spread` (one of each of `images` equal parts of it) or `first` (from its "
        "start, as in every row of schema version 1 that has not all)",
        since=2,
    ),
    _evaluated("elbo", "double", "nats/image", "evidence lower bound, never smoothed: a lower bound of log p(x)"),
    _evaluated("elbo_se", "double", "nats/image", "standard error of `elbo` over images"),
    _column(
        "elbo_se_binarisation", "double", "nats/image",
        "standard error of `elbo` from the one binarisation of the images, these held fixed; a part of `elbo_se`, and "
        "alike for all cells of the data: their differences have less of it",
        null="the cell diverged, the data need no binarisation, or K is 1", since=2,
    ),
    _evaluated("reconstruction", "double", "nats/image", "E log p(x|z₁)"),
    _evaluated("kl_total", "double", "nats/image", "sum of the KL terms of all layers: `reconstruction` − `elbo`"),
    _evaluated(
        "kl_per_layer", "list<double>", "nats/image",
        "E[log q(z_i|z_{i−1}) − log p(z_i|z_{i+1})] at the same samples, layers 1 … L; only the last entry is a KL "
        "divergence: below the top a term can be negative. With networks `ladder` and `ladder_resnet` "
        "q(z_i|x, z_{i+1}) takes the place of q(z_i|z_{i−1}), and every entry is a KL divergence. With network "
        "`biva` layers are its 2 L − 1 variables, level by level from the data up, in each the bottom-up one before "
        "the top-down one, the top one last, here and in all lists of layers; terms of bottom-up ones can be negative",
    ),
    _evaluated(
        "kl_top", "double", "nats/image",
        "KL(q(z_L|z_{L−1}) ‖ p(z_L)), analytic where it has a closed form: the order parameter. With networks `ladder` "
        "and `ladder_resnet` KL(q(z_L|x) ‖ p(z_L)), which is information about x alone; with `biva` that of its top "
        "variable, given the image and all bottom-up variables",
    ),
    _evaluated("kl_top_se", "double", "nats/image", "standard error of `kl_top` over images"),
    _evaluated(
        "kl_cumulative", "list<double>", "nats/image",
        "entry i is the sum of the terms of layers i … L: at least 0 in expectation, below it only by sampling noise",
    ),
    _column(
        "kl_top_per_unit", "list<double>", "nats/image", "`kl_top` unit by unit, which sum to it",
        null="the cell diverged, or the KL of the top layer has no closed form",
    ),
    _evaluated(
        "active_units", "list<int64>", "units",
        "units of layers 1 … L whose `activity_variance` exceeds `active_threshold` (over whole ancestral chains)",
    ),
    _evaluated(
        "active_units_one_pass", "list<int64>", "units",
        "the same count from one ancestral pass (V + W), which above layer 1 takes noise passed upward for "
        "activity: dead units may be counted as active",
    ),
    _evaluated("relative_activity", "list<double>", "share", "`active_units` / units, layers 1 … L"),
    _evaluated("activity_variance", "list<list<double>>", "", _V),
    _evaluated(
        "activity_noise", "list<list<double>>", "",
        "mean over images of the variance of q's mean between ancestral chains of one image (W)",
    ),
    _column(
        "active_maps", "list<int64>", "maps",
        "of layers 1 … L whose units are maps on a grid: maps whose `activity_variance`, averaged over positions, "
        "exceeds `active_threshold`",
        null="the cell diverged, or its layers lie on no grid", since=5,
    ),
    _evaluated("activity_passes", "int64", "passes", "ancestral chains per image behind the activities, R (fewest)"),
    _evaluated("active_threshold", "double", "", "variance above which a unit counts as active"),
    _column(
        "iw_bound", "double", "nats/image",
        "importance-weighted bound of K sampled log-weights: on average below log p(x), closer with K; where only some "
        "images have K chains, `elbo` plus the mean of what the bound adds to it on these",
        null=_BOUND_OFF,
    ),
    _column("iw_samples", "int64", "samples", "K of `iw_bound`", null=_BOUND_OFF),
    _column("iw_images", "int64", "images", "images with K chains, of `images`", null=_BOUND_OFF),
    _column("iw_se", "double", "nats/image", "standard error of `iw_bound` over images", null=_BOUND_OFF),
    _column(
        "iw_se_mc", "double", "nats/image",
        "Monte-Carlo error of `iw_bound`, images fixed: the jackknife over groups of chains. Rows whose "
        "`schema_version` is 1 have it by the delta method, too small: by about 10 % at K = 100, and the more the more "
        "unequal the weights are (0.040 for 0.097, 50 steps after the start, K = 20)",
        null=_BOUND_OFF, changed=2,
    ),
    _column(
        "bits_per_dim", "double", "bits/dimension",
        "−`elbo` / (D ln 2), of images of D values (3,072 in CIFAR-10) with 256 levels each: an upper bound of the "
        "bits per value; its standard error is `elbo_se` / (D ln 2)",
        null=f"the cell diverged, or {_NO_LEVELS}", since=5,
    ),
    _column(
        "bits_per_dim_iw", "double", "bits/dimension", "the same of `iw_bound`",
        null=f"the cell diverged, {_NO_LEVELS}, or the evaluation asks for no such bound", since=5,
    ),
    _column(
        "tokens", "int64", "symbols", "symbols of the evaluated sequences that are scored, of each its end as well",
        null=_NO_SYMBOLS, since=5,
    ),
    _column(
        "perplexity", "double", "",
        "exp(− `iw_bound` · `images` / `tokens`): per symbol, ends among them; at least the model's, closer with K",
        null=_NO_SYMBOLS, since=5,
    ),
    *_DIAGNOSES,
]  # fmt: skip

TRAINING = [
    _column(
        "train_objective", "double", "nats/image",
        "mean of the training objective over the steps since the last history row; no bound of log p(x) where smoothed",
        null="the cell diverged, or no step was trained",
    ),
    _column("parameters", "int64", "", "trained parameters of the cell"),
    _column(
        "inner_updates_done", "int64", "updates",
        "updates of the inference network alone, in all steps behind the row", null="training has no inner updates",
        since=5,
    ),
    _column(
        "halvings_done", "int64", "halvings", "how often the learning rate was halved after validations",
        null="its rate is not halved", since=5,
    ),
    _column(
        "schedule_ended_at", "int64", "steps",
        "step at which the cell's schedule ended its training: it is done for any number of steps",
        null="it has not ended", since=5,
    ),
    _column(
        "aggressive_until", "int64", "steps", "step at which training ceased to be aggressive",
        null="training has no aggressive phase, or it has not ended", since=5,
    ),
]  # fmt: skip

COST = [
    _volatile("wall_s", "double", "s", "wall time of the cell's training, its share of the stack's, over all attempts"),
    _volatile("step_s", "double", "s/step", "wall time of a step of the stack, divided by its cells"),
    _volatile("evaluation_s", "double", "s", "wall time of the final evaluation, the cell's share of the stack's"),
    _volatile("peak_memory_bytes", "int64", "bytes", "peak of the process (CPU) or the device (GPU)", "not measured"),
    _volatile("stack_cells", "int64", "cells", "cells trained together in the stack"),
]

PROVENANCE = [
    _volatile("device", "string", "", "`cpu` or `cuda`; draws are paired only within one type of device"),
    _volatile("device_name", "string", "", "model of the device"),
    _volatile("threads", "int64", "threads", "CPU threads of the process that trained"),
    _volatile(
        "kernels",
        "string",
        "",
        "what did the passes beside matrix products in the cell's training, which decides its last bits: `compiled` "
        "(C, where there is a compiler), `torch`, or `compiled, torch`: both, as it went on elsewhere",
        null="it went on from a checkpoint of schema version 1, which does not say",
        since=2,
    ),
    _volatile(
        "evaluation_kernels", "string", "", "the same of the final evaluation: `compiled` or `torch`", DIVERGED, since=2
    ),
    _volatile("host", "string", "", "name of the machine"),
    _volatile("attempt", "string", "", "the stack's run that committed the row"),
    _volatile("finished_at", "timestamp[us, UTC]", "", "time of the commit by the machine's clock"),
    _volatile("git_revision", "string", "", "revision of the source", "not run from a git checkout"),
    _volatile("version_sweeper", "string", "", "version of sweeper"),
    _volatile("version_python", "string", "", "version of Python"),
    _volatile("version_torch", "string", "", "version of PyTorch"),
    _volatile("version_numpy", "string", "", "version of NumPy"),
    _volatile("draws", "string", "", "generator of the random draws: cells are paired only under the same one"),
    _column("schema_version", "int64", "", "version of this table of columns when the cell was evaluated"),
]

CELL_COLUMNS = [*IDENTITY, *PROGRESS, *EVALUATION, *TRAINING, *COST, *PROVENANCE]

HISTORY_COLUMNS = [
    _column("cell_id", "string", "", "as in the cells"),
    _column("study", "string", "", "as in the cells"),
    _column("step", "int64", "steps", "training steps behind the row; 0: before training"),
    _column("split", "string", "", "split evaluated"),
    _column("images", "int64", "images", "images evaluated"),
    _column("elbo", "double", "nats/image", "evidence lower bound, never smoothed"),
    _column("reconstruction", "double", "nats/image", "E log p(x|z₁)"),
    _column("kl_total", "double", "nats/image", "sum of the KL terms of all layers"),
    _column("kl_per_layer", "list<double>", "nats/image", "KL terms, layers 1 … L; can be negative below L"),
    _column("kl_top", "double", "nats/image", "KL of the top layer, analytic"),
    _column("active_units_one_pass", "list<int64>", "units", "active units by one ancestral pass, layers 1 … L"),
    _column(
        "train_objective", "double", "nats/image",
        "mean of the training objective over the steps since the previous row; no bound where smoothed", null="step 0",
    ),
    _column("learning_rate", "double", "", "learning rate at this step"),
    _column("kl_weight", "double", "", "weight of the KL terms at this step"),
    _column(
        "bits_per_dim", "double", "bits/dimension", "−`elbo` / (D ln 2), as in the cells", null=_NO_LEVELS, since=5
    ),
    *(replace(column, null="not asked for along the way, or as in the cells") for column in _GRADIENT),
]  # fmt: skip

_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "list<int64>": pa.list_(pa.int64()),
    "list<double>": pa.list_(pa.float64()),
    "list<list<double>>": pa.list_(pa.list_(pa.float64())),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
}


def _schema(columns: list[Column], version: int = SCHEMA_VERSION) -> pa.Schema:
    return pa.schema([pa.field(c.name, _TYPES[c.type], nullable=c.nullable) for c in columns if c.since <= version])


CELL_SCHEMA = _schema(CELL_COLUMNS)
HISTORY_SCHEMA = _schema(HISTORY_COLUMNS)
LATER_HISTORY = tuple(column.name for column in HISTORY_COLUMNS if column.since > 1)  # records of before lack them
SCHEMAS = {"cells": CELL_SCHEMA, "history": HISTORY_SCHEMA}
VOLATILE = frozenset(column.name for column in CELL_COLUMNS if column.volatile)


def fingerprint(schema: pa.Schema) -> str:
    """Sixteen hexadecimal digits that name a schema's columns, types and which may be null."""
    text = ";".join(f"{field.name}:{field.type}:{field.nullable}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


FINGERPRINTS = {kind: fingerprint(schema) for kind, schema in SCHEMAS.items()}
FINGERPRINTS_BY_VERSION = {
    (kind, version): fingerprint(_schema(columns, version))
    for kind, columns in (("cells", CELL_COLUMNS), ("history", HISTORY_COLUMNS))
    for version in range(1, SCHEMA_VERSION + 1)
}


def comparable(first: int, second: int) -> frozenset[str]:
    """Columns of the cells whose numbers mean the same in rows written under these two schema versions."""
    old, new = sorted((first, second))
    return frozenset(c.name for c in CELL_COLUMNS if c.since <= old and (old == new or c.changed <= old))


def column_dictionary() -> str:
    """The columns as a page of Markdown: docs/columns.md."""
    lines = [
        "# Columns",
        "",
        f"Schema version {SCHEMA_VERSION}. Written by `sweeper.store.columns`; a test keeps page and code the same.",
        "Nats are natural logarithms. Lists per layer run from the data up: layer 1 … L. Where *varies* is marked, two",
        "undisturbed runs may differ; all other columns are the same bit for bit on one CPU thread per trial.",
        "An option that a cell's parts do not have, as ρ of a `vae`, is at its default, or null if it is of version 3",
        "or later.",
    ]
    for title, columns in (("Cells", CELL_COLUMNS), ("History", HISTORY_COLUMNS)):
        lines += ["", f"## {title}", "", "| column | type | unit | meaning | null when | varies |", "|---" * 6 + "|"]
        for c in columns:
            meaning = c.meaning.replace("|", "\\|")
            null = [c.null] * bool(c.null) + [f"a row of schema version {c.since - 1}"] * (c.since > 1)
            varies = "yes" if c.volatile else ""
            lines.append(f"| `{c.name}` | {c.type} | {c.unit} | {meaning} | {'; '.join(null)} | {varies} |")
    return "\n".join(lines) + "\n"
