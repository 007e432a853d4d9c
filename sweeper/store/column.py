"""A column of a store's rows, and the ways to declare one: see `sweeper.store.columns`."""

from __future__ import annotations

from dataclasses import dataclass

DIVERGED = "the cell diverged"


@dataclass(frozen=True)
class Column:
    """One column.

    - `null` says in words when it is null (empty: never), beside rows of versions that had no such column.
    - `volatile`: it may differ between runs.
    - `since`: the schema version that added it; `changed`: from which its numbers are what `meaning` says.
    """

    name: str
    type: str
    unit: str
    meaning: str
    volatile: bool = False
    null: str = ""
    since: int = 1
    changed: int = 1

    @property
    def nullable(self) -> bool:
        """Whether it can be null."""
        return bool(self.null) or self.since > 1


def column(name: str, type: str, unit: str, meaning: str, null: str = "", since: int = 1, changed: int = 1) -> Column:
    """A column whose values are the same in all undisturbed runs."""
    return Column(name, type, unit, meaning, null=null, since=since, changed=changed)


def evaluated(name: str, type: str, unit: str, meaning: str, since: int = 1) -> Column:
    """Null where the cell diverged."""
    return Column(name, type, unit, meaning, null=DIVERGED, since=since)


def volatile(name: str, type: str, unit: str, meaning: str, null: str = "", since: int = 1) -> Column:
    """A column whose values may differ between runs."""
    return Column(name, type, unit, meaning, volatile=True, null=null, since=since)
