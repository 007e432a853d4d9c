"""The table of columns: current documentation, a pinned schema, and every field of a cell."""

from dataclasses import fields
from pathlib import Path

from models.cell import Cell
from sweeper.store import (
    CELL_COLUMNS,
    CELL_SCHEMA,
    HISTORY_COLUMNS,
    HISTORY_SCHEMA,
    SCHEMA_VERSION,
    VOLATILE,
    column_dictionary,
)
from sweeper.store.columns import FINGERPRINTS_BY_VERSION, fingerprint

WRITE = "python -c 'import sweeper.store as s; print(s.column_dictionary(), end=\"\")' > docs/columns.md"


def test_the_page_of_columns_is_current():
    page = Path(__file__).parents[2] / "docs" / "columns.md"
    assert page.read_text(encoding="utf-8") == column_dictionary(), f"columns changed: run {WRITE}"


def test_columns_change_only_with_the_schema_version():
    """Those of every version, which files in stores are checked against."""
    kinds = ("cells", "history")
    found = {v: tuple(FINGERPRINTS_BY_VERSION[kind, v] for kind in kinds) for v in range(1, SCHEMA_VERSION + 1)}
    assert found == PINNED
    assert (fingerprint(CELL_SCHEMA), fingerprint(HISTORY_SCHEMA)) == PINNED[SCHEMA_VERSION]


def test_every_column_is_explained_once():
    for columns in (CELL_COLUMNS, HISTORY_COLUMNS):
        assert len({column.name for column in columns}) == len(columns)
        assert all(column.meaning for column in columns)


def test_every_field_of_a_cell_is_a_column():
    types = {"str": "string", "int": "int64", "float": "double"}
    columns = {column.name: column.type for column in CELL_COLUMNS}
    expected = {field.name: types[str(field.type)] for field in fields(Cell)} | {"latents": "list<int64>"}
    assert expected.items() <= columns.items()


def test_only_times_and_places_may_differ_between_runs():
    assert {"wall_s", "host", "finished_at", "attempt"} <= VOLATILE
    assert not VOLATILE & {"elbo", "kl_top", "cell_id", "step", "train_objective", "schema_version"}


PINNED = {
    1: ("2f03c6d35f1d409a", "6beaec4b4051f385"),
    2: ("ee3acf3be0a7b563", "6beaec4b4051f385"),
    3: ("3c873c89c01b76b8", "6beaec4b4051f385"),
    4: ("20b38c5544248786", "171ee185940e4c34"),
    5: ("11e58401397655bc", "40ef39d544fb2916"),
    6: ("db0fbc93c4ee2481", "40ef39d544fb2916"),
    7: ("28308dbc47b9591b", "40ef39d544fb2916"),
    8: ("aa204c1407450174", "40ef39d544fb2916"),
    9: ("3eff254fd629ca8f", "08174c5538d10c7c"),
}
