"""Sealed Parquet files: one flipped bit anywhere is noticed.

Parquet's own checksums (on here) cover pages but not the footer, and readers ignore them by default. So every file
carries a seal in its key-value metadata: schema version, fingerprint of the columns, and the SHA-256 of its kind, its
name and all its bytes, with these 64 digits themselves taken as zeros. Checking a seal needs no Parquet reader.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.errors import StoreDamaged, StoreNewer
from sweeper.store.column import DIVERGED
from sweeper.store.columns import (
    CELL_COLUMNS,
    FINGERPRINTS,
    FINGERPRINTS_BY_VERSION,
    LATER_HISTORY,
    SCHEMA_VERSION,
    SCHEMAS,
    fingerprint,
)
from sweeper.store.names import row_name

_SEAL = re.compile(rb"sweeper-seal:([0-9]{1,6}):([0-9a-f]{16}):([0-9a-f]{64})")
_MARK = b"sweeper-seal:"
_ROWS = re.compile(rb"sweeper-rows:([0-9a-z -]*)\.")
_PARQUET = b"PAR1"
_BLANK = b"0" * 64
UNREADABLE = "not readable"
_USUAL = {pa.float64().id: float, pa.string().id: str}  # classes of values of which every one fits


@dataclass(frozen=True)
class Damaged:
    """A file in the store that cannot be used, and why: it is torn or altered.

    `left_alone`: or it is none of the store's, or one that this user may not read, and stays where it is.
    """

    path: Path
    reason: str
    left_alone: bool = False

    @property
    def unreadable(self) -> bool:
        """Whether this user may not read it."""
        return self.left_alone and UNREADABLE in self.reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def encode(
    table: pa.Table, kind: str, name: str, metadata: Mapping[str, str] | None = None, compression: str = "zstd"
) -> bytes:
    """The bytes of a sealed Parquet file that is to stand under `name` as a file of `kind`."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(  # nearly all values are distinct numbers: dictionaries and statistics are only ballast
        buffer,
        table.schema,
        compression=compression,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table)
        seal = f"{_MARK.decode()}{SCHEMA_VERSION}:{fingerprint(table.schema)}:{_BLANK.decode()}"
        writer.add_key_value_metadata({"schema_version": str(SCHEMA_VERSION), "seal": seal, **(metadata or {})})
    data = bytearray(buffer.getvalue())
    match = _SEAL.match(data, data.rfind(_MARK))
    assert match is not None
    data[match.start(3) : match.end(3)] = _digest(data, match.span(3), kind, name).encode()
    return bytes(data)


def check_seal(data: bytes, kind: str, name: str) -> bool:
    """Raise StoreDamaged unless `data` is, bit for bit, what `encode` wrote; StoreNewer if a later version wrote it.

    Returns whether its columns are those of this version; else they are those of an earlier one.
    """
    start = data.rfind(_MARK)
    match = _SEAL.match(data, start) if start >= 0 else None
    if match is None:
        raise StoreDamaged("no seal: torn, or not written by sweeper")
    if _digest(data, match.span(3), kind, name) != match[3].decode():
        raise StoreDamaged("altered: its SHA-256 does not match, or it was renamed")
    if int(match[1]) > SCHEMA_VERSION:
        raise StoreNewer(f"schema version {int(match[1])}; this sweeper knows up to {SCHEMA_VERSION}")
    found, version = match[2].decode(), int(match[1])
    if found != FINGERPRINTS_BY_VERSION.get((kind, version), found):
        raise StoreDamaged(f"its columns are not those of schema version {version}")
    return found == FINGERPRINTS.get(kind, found)


def decode(data: bytes, kind: str, name: str) -> pa.Table:
    """The table in a sealed file's bytes, every checksum verified, with this version's columns. Raises StoreDamaged."""
    current = check_seal(data, kind, name)
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
    except (pa.ArrowException, OSError) as fault:
        raise StoreDamaged(f"not readable as Parquet: {fault}") from fault
    if current:
        return table
    schema, had = SCHEMAS[kind], table.schema.names
    arrays = [table[f.name] if f.name in had else pa.nulls(len(table), f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def upgraded(data: bytes, kind: str, name: str) -> bytes:
    """A sealed file with this version's columns: as it is, or its rows with the columns that they lack, null.

    The rows go on to say under which schema version they were written. Raises StoreDamaged, StoreNewer.
    """
    if check_seal(data, kind, name):
        return data
    table, names = decode(data, kind, name), _names(data)
    return encode(table, kind, name) if names is None else encode_part(table, kind, name, names)


def encode_part(table: pa.Table, kind: str, name: str, rows: Sequence[str]) -> bytes:
    """The bytes of a sealed file of several cells, which says in its footer the names of their commits.

    It is written again with every cell that it gets, so its compression is the fastest one.
    """
    stems = " ".join(row.removesuffix(".parquet") for row in rows)
    return encode(table, kind, name, {"rows": f"sweeper-rows:{stems}."}, "lz4")


def rows_of_part(path: Path) -> tuple[str, ...]:
    """The names of the commits in a part, by its footer alone, unverified. Raises StoreDamaged, OSError."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        end = os.pread(file.fileno(), 8, max(size - 8, 0))
        length = int.from_bytes(end[:4], "little")
        whole = end[4:] == _PARQUET and length <= size - 8
        return names_in(os.pread(file.fileno(), length, size - 8 - length) if whole else b"")


def names_in(data: bytes) -> tuple[str, ...]:
    """The names of the commits whose rows are in a part of which these are the bytes. Raises StoreDamaged."""
    names = _names(data)
    if names is None:
        raise StoreDamaged("its footer does not say whose rows it has")
    return names


def _names(data: bytes) -> tuple[str, ...] | None:
    match = _ROWS.match(data, max(data.rfind(b"sweeper-rows:"), 0))
    return tuple(f"{stem}.parquet" for stem in match[1].decode().split()) if match else None


def _digest(data: bytes | bytearray, blank: tuple[int, int], kind: str, name: str) -> str:
    view = memoryview(data)
    digest = hashlib.sha256(f"{kind}/{name}\n".encode())
    for part in (view[: blank[0]], _BLANK, view[blank[1] :]):
        digest.update(part)
    return digest.hexdigest()


def row_table(row: Mapping[str, Any]) -> tuple[str, pa.Table]:
    """A cell's row as its file's name and a table of one row. Raises ValueError naming every wrong column."""
    table = _table([row], "cells", "row")
    faults = []
    diverged = row["state"] == "diverged"
    if row["state"] not in ("done", "diverged"):
        faults.append(f"state should be done or diverged, got {row['state']!r}")
    if row["schema_version"] != SCHEMA_VERSION:
        faults.append(f"schema_version should be {SCHEMA_VERSION}, got {row['schema_version']!r}")
    if (row["diverged_at"] is not None) != diverged:
        faults.append(f"diverged_at should be {'a step' if diverged else 'null'}, got {row['diverged_at']!r}")
    for column in CELL_COLUMNS:
        if column.null == DIVERGED and (row[column.name] is None) != diverged:
            faults.append(f"{column.name} should be {'null' if diverged else 'given'} where the cell is {row['state']}")
    if faults:
        raise ValueError("row: " + "; ".join(faults))
    ended = row["schedule_ended_at"] is not None
    return row_name(row["cell_id"], row["step"], row["evaluation_id"], ended), table


def history_table(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> pa.Table:
    """The history that belongs to `row`, ordered by step. Raises ValueError naming every wrong column.

    Records that a checkpoint of an earlier version holds lack columns that can be null.
    """
    whole = [dict.fromkeys(LATER_HISTORY) | dict(entry) for entry in rows]
    table = _table(sorted(whole, key=lambda entry: entry.get("step", 0)), "history", "history row")
    steps = table.column("step").to_pylist()
    if set(table.column("cell_id").to_pylist()) - {row["cell_id"]}:
        raise ValueError(f"history rows should all be of cell {row['cell_id']}")
    if len(set(steps)) != len(steps) or any(not 0 <= step <= row["step"] for step in steps):
        raise ValueError(f"history steps should be distinct and within 0 … {row['step']}, got {steps}")
    return table


def _fits(value: Any, type: pa.DataType) -> bool:
    """Whether a value is of a column's type: pyarrow alone would cut 1.5 to 1 for an int64."""
    if value.__class__ is _USUAL.get(type.id):  # nearly all are: of a row's thousand numbers the rest takes 3 ms
        return True
    if pa.types.is_list(type):
        several = isinstance(value, Iterable) and not isinstance(value, str)
        return several and all(_fits(item, type.value_type) for item in value)
    if pa.types.is_string(type):
        return isinstance(value, str)
    if pa.types.is_timestamp(type):
        return isinstance(value, datetime) and value.tzinfo is not None
    if isinstance(value, bool):
        return False
    if pa.types.is_int64(type):
        return isinstance(value, Integral) and -(2**63) <= int(value) < 2**63
    return isinstance(value, Real)


def _table(rows: Sequence[Mapping[str, Any]], kind: str, what: str) -> pa.Table:
    schema = SCHEMAS[kind]
    for row in rows:
        if set(row) != set(schema.names):
            missing = [name for name in schema.names if name not in row]
            unknown = [name for name in row if name not in schema.names]
            raise ValueError(f"{what}: missing columns {missing}, unknown columns {unknown}")
    arrays, faults = [], []
    for field in schema:
        values = [row[field.name] for row in rows]
        if not field.nullable and any(value is None for value in values):
            faults.append(f"{field.name} should not be null")
            continue
        wrong = [value for value in values if value is not None and not _fits(value, field.type)]
        if wrong:
            faults.append(f"{field.name} should be {field.type}, got {wrong[0]!r}")
        else:
            arrays.append(pa.array(values, type=field.type))
    if faults:
        raise ValueError(f"{what}: " + "; ".join(faults))
    return pa.Table.from_arrays(arrays, schema=schema)
