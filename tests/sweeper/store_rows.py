"""Rows as a driver would commit them, for the tests of the store."""

from datetime import UTC, datetime

from sweeper.store import CELL_COLUMNS, HISTORY_COLUMNS, SCHEMA_VERSION, Store, atomic, rows
from sweeper.store.columns import LATER_HISTORY

OLD = [column.name for column in CELL_COLUMNS if column.since == 1]  # columns of schema version 1
OLD_HISTORY = [column.name for column in HISTORY_COLUMNS if column.since == 1]
EVALUATED = {column.name for column in CELL_COLUMNS if column.null.startswith("the cell diverged")}


def cell_id(number: int) -> str:
    """A cell id that names the number in hexadecimal."""
    return f"{number:024x}"


def row(number: int = 1, steps: int = 500, evaluation_id: str | None = "abcd1234", layers: int = 3, **changes):
    """A whole row of cell `number`; `evaluation_id` None: it diverged at `steps`."""
    numbers = [number + 0.1 * layer for layer in range(layers)]
    values = {
        "string": "text", "int64": number, "double": number + 0.25, "list<int64>": [40] * layers,
        "list<double>": numbers, "list<list<double>>": [[value, -value] for value in numbers],
        "timestamp[us, UTC]": datetime(2026, 1, 2, 3, 4, 5, number % 1000, tzinfo=UTC),
    }  # fmt: skip
    built = {column.name: values[column.type] for column in CELL_COLUMNS}
    built |= {
        "cell_id": cell_id(number), "state": "done", "step": steps, "steps_asked": steps, "diverged_at": None,
        "evaluation_id": evaluation_id, "schema_version": SCHEMA_VERSION, "depth": layers, "git_revision": None,
        "rho": 1 / (number + 1), "seed": number, "schedule_ended_at": None,
    }  # fmt: skip
    if evaluation_id is None:
        built |= dict.fromkeys(EVALUATED) | {"state": "diverged", "diverged_at": steps}
    return built | changes


def history(number: int = 1, steps: int = 500, layers: int = 3):
    """Its history: three rows, the first before training."""
    return [
        {
            "cell_id": cell_id(number), "study": "text", "step": step, "split": "validation", "images": 100,
            "elbo": -100.0 - number + step / 1000, "reconstruction": -80.5, "kl_total": 19.5 + number,
            "kl_per_layer": [0.5 + layer for layer in range(layers)], "kl_top": 1.5,
            "active_units_one_pass": [3] * layers, "train_objective": -99.5 if step else None,
            "learning_rate": 0.001, "kl_weight": 1.0,
        } | dict.fromkeys(LATER_HISTORY)
        for step in (0, steps // 2, steps)
    ]  # fmt: skip


def temporary_files(store: Store):
    """Files that a killed writer left in a store."""
    return [path for path in store.paths.root.rglob("*") if atomic.TEMPORARY.fullmatch(path.name)]


def as_version_1(monkeypatch, store: Store, numbers) -> None:
    """Put rows of these numbers into a store as schema version 1 wrote them, and make the store one of that version."""
    with monkeypatch.context() as patch:
        patch.setattr(rows, "SCHEMA_VERSION", 1)
        for number in numbers:
            values = row(number, schema_version=1)
            name, table = rows.row_table(values)
            (store.paths.cells / name).write_bytes(rows.encode(table.select(OLD), "cells", name))
            along = rows.history_table(history(number), values).select(OLD_HISTORY)
            (store.paths.history / name).write_bytes(rows.encode(along, "history", name))
    store.paths.version.write_text('{"format": "sweeper store", "schema_version": 1}\n')
