"""The store: the truth about what is finished. Files are whole or not there, and one flipped bit is noticed."""

from sweeper.store.column import Column
from sweeper.store.columns import (
    CELL_COLUMNS,
    CELL_SCHEMA,
    HISTORY_COLUMNS,
    HISTORY_SCHEMA,
    SCHEMA_VERSION,
    VOLATILE,
    column_dictionary,
)
from sweeper.store.paths import Committed, StorePaths
from sweeper.store.records import Record
from sweeper.store.rows import Damaged
from sweeper.store.status import Failure
from sweeper.store.store import Store

__all__ = [
    "CELL_COLUMNS",
    "CELL_SCHEMA",
    "HISTORY_COLUMNS",
    "HISTORY_SCHEMA",
    "SCHEMA_VERSION",
    "VOLATILE",
    "Column",
    "Committed",
    "Damaged",
    "Failure",
    "Record",
    "Store",
    "StorePaths",
    "column_dictionary",
]
