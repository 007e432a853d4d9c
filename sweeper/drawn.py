"""What the last report was drawn from: a run that changes nothing leaves it, and shows what was found then.

The digest is over the store's finished rows (names, sizes and times of their files), the failures, the resolved study,
and the version of the code that draws. The note lies in the store's cache: without it the report is drawn again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeper.errors import StoreUnwritable
from sweeper.planning.settled import settled
from sweeper.store import Store
from sweeper.store.atomic import write_bytes
from sweeper.store.reading import stamp
from sweeper.study import Study

CODE = ("analysis", "parameters", "report.py")  # of this package: what decides how a report looks
FILES = ("tables", "figures")

Shown = tuple[list[str], list[list[str]]]  # the head of a printed table, and its rows


@dataclass(frozen=True)
class Drawn:
    """A report as it was printed, and as plain values."""

    tables: tuple[Shown, ...]
    lines: tuple[str, ...]
    report: dict[str, Any]


def drawn_before(study: Study, store: Store) -> Drawn | None:
    """The report that was drawn from all that there is now; None where something changed, or a file of it has gone."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(store.paths.drawn.read_bytes())
        report = note["report"]
        files = [report["page"], *(name for each in FILES for name in report[each])]
        if note["digest"] == _digest(study, store) and all(Path(name).exists() for name in files):
            return Drawn(tuple((head, rows) for head, rows in note["tables"]), tuple(note["lines"]), report)
    return None


def note_drawn(
    study: Study, store: Store, tables: Sequence[Shown], lines: Sequence[str], report: dict[str, Any]
) -> None:
    """Remember what was drawn, as it was printed. Where the store takes nothing more, it is drawn again next time."""
    note = {"digest": _digest(study, store), "tables": list(tables), "lines": list(lines), "report": report}
    with suppress(StoreUnwritable):
        write_bytes(store.paths.drawn, json.dumps(note).encode(errors="backslashreplace"), durable=False)


def _digest(study: Study, store: Store) -> str:
    root = Path(__file__).parent
    code = [path for name in CODE for path in (root / name, *sorted((root / name).rglob("*")))]
    rows = [row for several in store.committed().values() for row in several[:1]]
    parts = [
        str(store.paths.root.absolute()),
        settled(study, store).to_yaml(),
        *(version(name) for name in ("matplotlib", "numpy", "pandas")),
        *(f"{path} {stamp(path)[:2]}" for path in code if path.suffix in (".py", ".html", ".js", ".css")),
        *(f"{row.name} {stamp(row.path)[:2]}" for row in rows),
        *(f"{failure.cell_id} {failure.traceback}" for failure in store.failures()),
    ]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
