"""What a store holds besides its results, and whether every file of it is what was written. Nothing is changed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from sweeper.store.atomic import TEMPORARY
from sweeper.store.names import ATTEMPT
from sweeper.store.reading import commits, newest, scan
from sweeper.store.rows import Damaged
from sweeper.store.store import Store

LOOKS = 3  # at what seems damaged while a run goes on


@dataclass(frozen=True)
class Health:
    """Counts are of files, but for `cells` and `states`, of cells.

    - `damaged`: files whose checksum, schema or place is wrong, every file read; `left_alone`: those of other programs,
      and those that may not be read.
    - `unfinished`: attempts in `running/`; `histories_alone`, `states_alone`: without a row of their commit or cell.
    - `temporary`: what killed writers left, and `temporary_age_s` of the youngest (a run that goes on has some).
    - `sizes`: bytes by folder.
    """

    cells: int
    states: int
    unfinished: int
    superseded: int
    aside: int
    histories_alone: int
    states_alone: int
    temporary: int
    temporary_age_s: float | None
    sizes: dict[str, int]
    damaged: list[Damaged]
    left_alone: list[Damaged]


def health(store: Store) -> Health:
    """Look at all of a store. Raises StoreNewer, StoreUnwritable."""
    paths = store.paths
    found = _faults(store)
    rows = newest(commits(paths))
    names = {row.name for several in rows.values() for row in several}
    states = store.states()
    sizes: dict[str, int] = {}
    ages = []
    for name in paths.walk():
        try:
            status = os.stat(paths.inside(name), follow_symlinks=False)
        except FileNotFoundError:
            continue  # a run goes on
        folder = name.partition("/")[0] if "/" in name else "."
        sizes[folder] = sizes.get(folder, 0) + status.st_size
        if TEMPORARY.fullmatch(name.rpartition("/")[2]):
            ages.append(max(0.0, time.time() - status.st_mtime))
    return Health(
        cells=len(rows),
        states=len(states),
        unfinished=len(paths.subfolders(paths.running, ATTEMPT)),
        superseded=len(scan(paths, paths.superseded_rows("cells"))),
        aside=len(store.quarantined()),
        histories_alone=sum(row.name not in names for row in commits(paths, "history")),
        states_alone=len(states.keys() - rows.keys()),
        temporary=len(ages),
        temporary_age_s=min(ages, default=None),
        sizes=sizes,
        damaged=[fault for fault in found if not fault.left_alone],
        left_alone=[fault for fault in found if fault.left_alone],
    )


def _faults(store: Store) -> list[Damaged]:
    """What is wrong with the store's files. A run may replace one while it is read: what is damaged stays so."""
    found = list(store.check())
    for _ in range(LOOKS - 1):
        if all(fault.left_alone for fault in found) or store.holder() is None:
            break
        time.sleep(0.1)
        still = {fault.path for fault in store.check()}
        found = [fault for fault in found if fault.path in still]
    return found
