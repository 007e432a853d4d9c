"""Tensors on disk: one safetensors file, and beside it JSON that says what it holds and its SHA-256.

The JSON is written second, so a record without one was never finished; it carries a checksum of itself too, because the
history in it becomes results. safetensors alone would take a flipped bit for a weight.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from sweeper.errors import StoreDamaged, StoreUnreadable
from sweeper.store.atomic import make_folder, remove, write_bytes, write_file
from sweeper.store.names import CELL_ID, RECORD_FILE, checked
from sweeper.store.paths import record_file, tensors_file
from sweeper.store.rows import UNREADABLE

FORMAT = "sweeper-record-1"
_STEP = re.compile("[0-9]{9,12}")


@dataclass(frozen=True)
class Record:
    """A finished checkpoint: the cells along the leading axis of its tensors, their step, and the caller's `meta`."""

    path: Path  # of the JSON
    step: int
    cell_ids: tuple[str, ...]
    sha256: str
    size: int  # bytes of the tensors' file
    meta: Mapping[str, Any] = field(hash=False, compare=False)

    @property
    def attempt(self) -> str:
        """Name of the record's folder: the attempt, or of a kept state the cell."""
        return self.path.parent.name

    @property
    def tensors(self) -> Path:
        """The safetensors file."""
        return tensors_file(self.path)


def write_record(
    folder: Path, step: int, cell_ids: Sequence[str], tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any],
    generations: int,
) -> None:  # fmt: skip
    """Write a record of `step` into `folder` and remove all but the newest `generations`. Raises StoreUnwritable."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "cell_ids": [checked(name, CELL_ID, "cell id") for name in cell_ids],
    }
    make_folder(folder)
    path = record_file(folder, step)

    def write(temporary: Path) -> None:
        """Straight from the tensors: their bytes as a whole would take as much memory again."""
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # as the umask has it: the library makes files for their owner alone
        try:
            save_file({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}, temporary)
        except SafetensorError as fault:  # of the disk, in the library's words
            raise OSError(errno.EIO, str(fault)) from fault
        temporary.chmod(stat.S_IMODE(mode))
        with open(temporary, "rb") as file:
            body.update(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=temporary.stat().st_size)

    write_file(tensors_file(path), write)
    text = json.dumps(body | {"meta": dict(meta)}, sort_keys=True)
    write_bytes(path, f'{{"checksum": "{hashlib.sha256(text.encode()).hexdigest()}", "record": {text}}}'.encode())
    prune(folder, generations)


def record_paths(folder: Path) -> list[Path]:
    """The JSON files of `folder`'s records, most steps first; none if there is no folder."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(e) for e in entries if RECORD_FILE.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def read_record(path: Path) -> Record:
    """What a record says of itself, checksum verified; its tensors are only looked at for their size.

    Raises StoreDamaged, StoreUnreadable.
    """
    try:
        envelope = json.loads(path.read_bytes())
        body = envelope["record"]
        text = json.dumps(body, sort_keys=True)
        if hashlib.sha256(text.encode()).hexdigest() != envelope["checksum"] or body["format"] != FORMAT:
            raise ValueError("its checksum does not match")
        if body["step"] != int(path.stem):
            raise ValueError(f"it is of step {body['step']}")
        cell_ids = tuple(checked(name, CELL_ID, "cell id") for name in body["cell_ids"])
        record = Record(path, body["step"], cell_ids, body["sha256"], body["size"], body["meta"])
        if record.tensors.is_symlink() or record.tensors.stat().st_size != record.size:
            raise ValueError(f"its tensors are not the {record.size} bytes that were written")
    except PermissionError as fault:
        raise StoreUnreadable(f"{path}: {UNREADABLE} ({fault.strerror})") from fault
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise StoreDamaged(f"{path}: {fault}") from fault
    return record


def read_tensors(record: Record) -> dict[str, np.ndarray]:
    """A record's tensors, SHA-256 verified. Raises StoreDamaged, StoreUnreadable."""
    data = _verified(record)
    try:
        return load(data)
    except (ValueError, KeyError, SafetensorError) as fault:
        raise StoreDamaged(f"{record.tensors}: {fault}") from fault


def copy_record(record: Record, folder: Path) -> None:
    """Write a record as it is, SHA-256 verified, into `folder`, in place of what is there.

    Raises StoreDamaged or StoreUnreadable, with nothing changed; StoreUnwritable.
    """
    data = _verified(record)
    text = record.path.read_bytes()
    make_folder(folder)
    path = record_file(folder, record.step)
    remove(path)  # never does a record stand beside tensors that are not its own
    write_bytes(tensors_file(path), data)
    write_bytes(path, text)
    prune(folder, 1)


def _verified(record: Record) -> bytes:
    try:
        data = record.tensors.read_bytes()
    except PermissionError as fault:
        raise StoreUnreadable(f"{record.tensors}: {UNREADABLE} ({fault.strerror})") from fault
    except OSError as fault:
        raise StoreDamaged(f"{record.tensors}: {fault}") from fault
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise StoreDamaged(f"{record.tensors}: altered: its SHA-256 does not match")
    return data


def prune(folder: Path, generations: int) -> None:
    """Remove all but the newest records of a folder, and older tensors of which a kill left no more."""
    records = record_paths(folder)
    for old in records[generations:]:
        remove(old)  # first, so that no record ever lacks its tensors
    for tensors in folder.glob("*.safetensors"):
        if records and _STEP.fullmatch(tensors.stem) and tensors.stem < records[:generations][-1].stem:
            remove(tensors)
