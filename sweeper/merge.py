"""Merging stores: what was trained on several machines, in one store. The sources are only read.

Every source is looked through before the target is touched, so one that a newer version wrote ends it with nothing
changed. Files of a source that are damaged are left out and named; all else is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import StudyError
from sweeper.planning.settled import settled
from sweeper.store import Damaged, Store, StorePaths
from sweeper.store.atomic import reported, write_bytes
from sweeper.store.merging import Taken, survey, take
from sweeper.study import load_study


@dataclass(frozen=True)
class Merged:
    """What came of a merge.

    `quarantined`: damaged files of the target; `studies`: for each source how its study differs from that of the
    target, which stays as it is (empty: it does not).
    """

    target: Store
    sources: tuple[Taken, ...]
    studies: tuple[tuple[str, ...], ...]
    quarantined: tuple[Damaged, ...]

    @property
    def damaged(self) -> list[Damaged]:
        """Files of the sources that could not be used, or that may not be read (`left_alone`)."""
        return [fault for source in self.sources for fault in source.damaged]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "store": str(self.target.paths.root),
            "committed": len(self.target.committed()),
            "sources": [
                {
                    "source": str(source.source),
                    "added": source.added,
                    "replaced": source.replaced,
                    "present": source.present,
                    "differing": source.differing,
                    "states": source.states,
                    "damaged": [{"path": str(fault.path), "reason": fault.reason} for fault in source.damaged],
                    "study_differs": list(study),
                }
                for source, study in zip(self.sources, self.studies, strict=True)
            ],
            "set_aside": [{"path": str(fault.path), "reason": fault.reason} for fault in self.quarantined],
        }


def merge(target: Path, sources: Sequence[Path]) -> Merged:
    """Bring all finished cells and kept states of `sources` into the store at `target`, made if it is new.

    Running it again takes what is missing and changes nothing else. Checkpoints of unfinished cells, logs and analyses
    are not taken. A target on which no study was run gets the first source's.

    Raises:
        StudyError: a source is the target, or no store. StoreNewer: with nothing changed.
        StoreInUse, StoreUnwritable: of the target; cells taken until then stay.
    """
    opened = [Store.open(path) for path in sources]
    for source in opened:
        if target.exists() and target.samefile(source.paths.root):
            raise StudyError(f"{source.paths.root} is the store to merge into: name another one")
    surveyed = [survey(source) for source in opened]
    into = Store.open(target, create=True)
    with into.lock():
        quarantined = tuple(into.repair())
        _adopt_study(into.paths, [source.paths for source in opened])
        taken = [take(into, source, *found) for source, found in zip(opened, surveyed, strict=True)]
    studies = [tuple(_differences(into.paths, source.paths)) for source in opened]
    return Merged(into, tuple(taken), tuple(studies), quarantined)


def _adopt_study(target: StorePaths, sources: Sequence[StorePaths]) -> None:
    first = next((source.study for source in sources if source.study.exists()), None)
    if first is not None and not target.study.exists():
        with reported(first):
            text = first.read_bytes()
        write_bytes(target.study, text)


def _differences(target: StorePaths, source: StorePaths) -> list[str]:
    """What the source's study says otherwise than the target's."""
    if not (source.study.exists() and target.study.exists()) or source.study.read_bytes() == target.study.read_bytes():
        return []
    try:
        here, there = (settled(load_study(paths.study), Store(paths.root)) for paths in (target, source))
        return here.diff(there)
    except StudyError as fault:  # of another version, or edited: the rows say for themselves what they are
        return [f"it cannot be compared: {fault.faults[0]}"]
