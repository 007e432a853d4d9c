"""The columns of a store's rows: one table from which schemas, checks and docs/columns.md come.

Any change here raises SCHEMA_VERSION, and a column that is added says since which version it is there: a store holds
files of one schema, because readers of a folder of Parquet files take the first file's columns and silently drop what
later files add. Rows of an earlier version get the columns that they lack, null, when they are read
(`sweeper.store.rows`), and for good when the next run holds the store's lock (`sweeper.store.repair`).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa

from sweeper.store.column import Column, column
from sweeper.store.diagnosis_columns import GRADIENT, INFORMATION_ALONG, POSTERIOR
from sweeper.store.evaluated_columns import EVALUATION, NO_LEVELS
from sweeper.store.trained_columns import COST, IDENTITY, PROGRESS, PROVENANCE, TRAINING

SCHEMA_VERSION = 9

NOT_ASKED_ALONG = "not asked for along the way, or as in the cells"

CELL_COLUMNS = [*IDENTITY, *PROGRESS, *EVALUATION, *TRAINING, *COST, *PROVENANCE]

HISTORY_COLUMNS = [
    column("cell_id", "string", "", "as in the cells"),
    column("study", "string", "", "as in the cells"),
    column("step", "int64", "steps", "training steps behind the row; 0: before training"),
    column("split", "string", "", "split evaluated"),
    column("images", "int64", "images", "images evaluated"),
    column("elbo", "double", "nats/image", "evidence lower bound, never smoothed"),
    column("reconstruction", "double", "nats/image", "E log p(x|z₁)"),
    column("kl_total", "double", "nats/image", "sum of the KL terms of all layers"),
    column("kl_per_layer", "list<double>", "nats/image", "KL terms, layers 1 … L; can be negative below L"),
    column("kl_top", "double", "nats/image", "KL of the top layer, analytic"),
    column("active_units_one_pass", "list<int64>", "units", "active units by one ancestral pass, layers 1 … L"),
    column(
        "train_objective", "double", "nats/image",
        "mean of the training objective over the steps since the previous row; no bound where smoothed", null="step 0",
    ),
    column("learning_rate", "double", "", "learning rate at this step"),
    column("kl_weight", "double", "", "weight of the KL terms at this step"),
    column(
        "bits_per_dim", "double", "bits/dimension", "−`elbo` / (D ln 2), as in the cells", null=NO_LEVELS, since=5
    ),
    *(replace(column, null=NOT_ASKED_ALONG) for column in GRADIENT),
    *(replace(column, null=NOT_ASKED_ALONG, since=9) for column in EVALUATION if column.name in INFORMATION_ALONG),
    *(replace(column, null=NOT_ASKED_ALONG) for column in POSTERIOR),
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
