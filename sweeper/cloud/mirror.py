"""A working copy on this machine and the objects that mirror it, kept equal from both ends.

`pull` brings here what is only there, before a run plans; `push` brings there what is new here, and removes there what
has gone. Whatever is removed goes after all else is there, and what makes other files count goes last: a row after its
history and pictures, a record's JSON after its tensors. So a cut anywhere leaves objects that the next run can use.
Parts, which hold only what rows do, come after the rows, each in place of what it was: whoever reads them there sees
every row that they show once.

A row that is there already stays, if it is whole: the first commit wins, as between files. One that was the same at
both ends and is whole here gives way: only a newer schema version changes rows, and adds the columns that they lack.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from sweeper.cloud.objects import Bucket, Seen
from sweeper.errors import StoreDamaged, StoreNewer, StoreUnwritable
from sweeper.store import Store
from sweeper.store.atomic import TEMPORARY, make_folder, remove, reported, write_bytes
from sweeper.store.columns import SCHEMA_VERSION
from sweeper.store.names import PART_FILE, ROW_FILE
from sweeper.store.parts import Parts
from sweeper.store.paths import StorePaths
from sweeper.store.reading import Stamp, cell_of, stamp
from sweeper.store.rows import check_seal

FOLDERS = (
    "rows", "cells", "history", "pictures", "running", "checkpoints", "superseded", "aside", "log", "analysis",
)  # fmt: skip
FILES = ("store.json", "study.yaml")
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}"
OBJECT = re.compile(rf"(?:{'|'.join(FILES)})|(?:{'|'.join(FOLDERS)})(?:/{_PART}){{1,3}}")
EDITED_HERE = re.compile(
    r"study\.yaml|log/.*|analysis/.*|(cells|history)/part-.*"
)  # what a run writes over; else only the schema version changes files
PART = re.compile(rf"(cells|history)/(?:{PART_FILE.pattern})")
ROW = re.compile(rf"(rows/)?(cells|history)/(?:{ROW_FILE.pattern})")  # and a row's history


def _order(name: str) -> tuple[int, str]:
    """Others first, then JSON (a record's; the store's, which makes it one), then rows, then parts."""
    return (3 if PART.fullmatch(name) else 2 if _is_row(name) else 1 if name.endswith(".json") else 0), name


def _is_row(name: str) -> bool:
    """Whether it is the commit of a cell: a row, of this version of the schema or of an earlier one."""
    found = ROW.fullmatch(name)
    return found is not None and found[2] == "cells"


def _history(row: str) -> str:
    """The history that goes with a row."""
    return row.replace("cells/", "history/")


class Mirror:
    """The working copy in the folder `root` and the objects of `bucket`. One process at a time."""

    def __init__(self, bucket: Bucket, root: Path):
        self.bucket, self.paths = bucket, StorePaths(root)
        self.known: dict[str, tuple[str, Stamp]] = self._read_note()  # as they were when both ends were equal

    def pull(self) -> None:
        """Bring here what is new there. Raises StoreNewer, with nothing changed here; StoreUnwritable."""
        there = {name: seen for name, seen in self.bucket.list().items() if OBJECT.fullmatch(name)}
        if "store.json" not in there:
            self.known = {}  # it is new, or was emptied: what is here goes there
            return
        self._open()
        for name in sorted(there, key=_order):
            self._fetch(name, there[name])
        for name in sorted(self.known.keys() - there.keys(), key=_order, reverse=True):
            if self._stamp(name) == self.known.pop(name)[1]:
                remove(self.paths.inside(name))
        self._write_note()

    def _open(self) -> None:
        """Make the copy the store that is there. Raises StoreNewer, with nothing changed here."""
        found = self.bucket.get("store.json")
        with suppress(ValueError, KeyError, TypeError):
            version = json.loads(found[0])["schema_version"] if found else SCHEMA_VERSION
            if version > SCHEMA_VERSION:
                raise StoreNewer(
                    f"{self.bucket.url} was written by a newer sweeper (schema version {version}, this one knows up to "
                    f"{SCHEMA_VERSION}); nothing was changed: install that version"
                )
        make_folder(self.paths.root, parents=True)
        Store.open(self.paths.root, create=True)

    def _fetch(self, name: str, seen: Seen) -> None:
        was, here = self.known.get(name), self._stamp(name)
        if was and was[0] == seen.mark and (was[1] == here or (here and EDITED_HERE.fullmatch(name))):
            return
        if (found := self.bucket.get(name)) is not None:
            self._write(name, *found)

    def _write(self, name: str, data: bytes, seen: Seen) -> None:
        path = self.paths.inside(name)
        for folder in reversed(path.parents[: name.count("/") + 1]):
            make_folder(folder)
        write_bytes(path, data)
        here = self._stamp(name)
        if here:
            self.known[name] = (seen.mark, here)

    def push(self) -> None:
        """Bring there what is new here. Raises StoreUnwritable, also where the working copy is gone."""
        with reported(self.paths.version):
            self.paths.version.stat()
        here = self._files()
        changed = sorted((n for n, at in here.items() if n not in self.known or self.known[n][1] != at), key=_order)
        try:
            for name in [n for n in changed if _is_row(n) and n not in self.known]:
                if self._taken(name):
                    changed.remove(name)
            for name in changed:
                with suppress(FileNotFoundError):  # removed or moved meanwhile
                    if self._complete(name):
                        self._send(name, self.paths.inside(name).read_bytes(), here[name])
            for name in sorted(self.known.keys() - here.keys(), key=_order, reverse=True):
                if self._gone_for_good(name):
                    self.bucket.delete(name)
                    del self.known[name]
        finally:
            with suppress(StoreUnwritable):
                self._write_note()

    def _taken(self, row: str) -> bool:
        """Whether another machine has committed this row; then it is what counts here as well."""
        found = self.bucket.get(row)
        if found is None or not _whole(row, found[0]):
            return False
        stem = row.rpartition("/")[2].removesuffix(".parquet")
        for name in (_history(row), f"pictures/{stem}.png"):
            if (beside := self.bucket.get(name)) is not None:
                self._write(name, *beside)
        before = self.paths.inside(row).read_bytes() if self._stamp(row) else found[0]
        self._write(row, *found)
        if before != found[0]:
            Parts(self.paths).show_again(cell_of(stem))
        return True

    def _complete(self, name: str) -> bool:
        """Whether what a file refers to is there."""
        if _is_row(name):
            return _history(name) in self.known
        tensors = f"{name.removesuffix('.json')}.safetensors"
        return not self.paths.inside(tensors).exists() or tensors in self.known or not name.endswith(".json")

    def _send(self, name: str, data: bytes, at: Stamp) -> None:
        new_row = _is_row(name) and not (name in self.known and _whole(name, data))
        seen = self.bucket.create(name, data) if new_row else self.bucket.put(name, data)
        if seen is None and not self._taken(name):
            seen = self.bucket.put(name, data)  # the one that is there is damaged
        if seen is not None:
            self.known[name] = (seen.mark, at)

    def _gone_for_good(self, name: str) -> bool:
        """Whether a file that is no longer here is to go there too: results only once they are superseded there."""
        kind, _, rest = name.removeprefix("rows/").partition("/")
        if PART.fullmatch(name):
            return True
        if kind in ("cells", "history", "pictures"):
            return f"superseded/{kind}/{rest}" in self.known or (f"rows/{name}" in self.known)
        return kind in ("running", "checkpoints", "log")

    def _files(self) -> dict[str, Stamp]:
        """Every file here that is mirrored."""
        found = {}
        for name in self.paths.walk():
            temporary = TEMPORARY.fullmatch(name.rpartition("/")[2])
            if OBJECT.fullmatch(name) and not temporary and (at := self._stamp(name)):
                found[name] = at
        return found

    def _stamp(self, name: str) -> Stamp | None:
        try:
            return stamp(self.paths.inside(name))
        except OSError:
            return None

    def _read_note(self) -> dict[str, tuple[str, Stamp]]:
        try:
            note = json.loads(self.paths.mirror.read_bytes())
            if note["url"] == self.bucket.url:
                return {name: (mark, (at[0], at[1], at[2])) for name, (mark, at) in note["known"].items()}
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass
        return {}

    def _write_note(self) -> None:
        make_folder(self.paths.mirror.parent)
        note = {"url": self.bucket.url, "known": self.known}
        write_bytes(self.paths.mirror, json.dumps(note).encode(), durable=False)


def _whole(row: str, data: bytes) -> bool:
    try:
        check_seal(data, "cells", row.rpartition("/")[2])
    except StoreNewer:
        return True
    except StoreDamaged:
        return False
    return True
