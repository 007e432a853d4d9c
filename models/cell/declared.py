"""The fields of a cell, collected from where they are declared: roles, the options of their parts, and a cell's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from models.cell.entry import Entry
from models.cell.fields import REQUIRED, Option, merged, option, options_of
from models.cell.registry import REGISTRIES, ROLES

FIRST = ("data", "latents", "seed")  # of a cell, in this order, where its fields are given without names


@dataclass(frozen=True)
class OwnOptions:
    """Options of every cell, whatever its parts."""

    seed: int = option(REQUIRED, "seed of the cell's initialisation, batches and noise", low=0, high=2**63 - 1)
    precision: str = option(
        "float32", "`float32`, `float64`, or of matrix products `tf32` or `bfloat16`; of training", shape=True,
        choices=("float32", "float64", "tf32", "bfloat16"),
    )  # fmt: skip


def _declared() -> dict[str, Option]:
    """Every field of a cell: those of `FIRST`, then each role, followed by the options of its parts."""
    found: dict[str, Option] = {}

    def add(each: Option) -> None:
        if each.name in found:
            raise ValueError(f"two roles declare {each.name}")
        found[each.name] = each

    for name, role in ROLES.items():
        add(Option(name, "str", role.default or REQUIRED, role.meaning, shape=True, since=role.since))
        for each in merged({part: entry.declared() for part, entry in role.parts.items()}).values():
            add(each)
    for each in options_of(OwnOptions).values():
        add(each)
    return {name: found[name] for name in FIRST} | found


FIELDS = _declared()
OPTIONS = {name: each for name, each in FIELDS.items() if name not in ROLES}  # the others name the parts
SHAPING = [name for name, each in FIELDS.items() if each.shape]
PACING = [name for name, each in FIELDS.items() if each.pace]
RANGES = {
    name: (each.low, each.high, each.range)
    for name, each in OPTIONS.items()
    if each.low is not None and each.high is not None
}


def entry_of(role: str, name: Any) -> Entry | None:
    """The registered part of that name, its first word; None where there is none."""
    return REGISTRIES[role].get(str(name).split(" ")[0])


class Layout(NamedTuple):
    """The registered parts of a cell by role, the options that it has because of them, and those of other parts."""

    entries: dict[str, Entry]
    present: dict[str, Option]
    absent: dict[str, Option]


@lru_cache(maxsize=4096)
def layout_of(parts: tuple[Entry | None, ...]) -> Layout:
    """parts: those that a cell names, by role; None for a name that is not registered, which may have any option."""
    present = dict(options_of(OwnOptions))
    for role, entry in zip(ROLES.values(), parts, strict=True):
        for each in [entry] if entry else role.parts.values():
            present |= each.declared()
    entries = {role: entry for role, entry in zip(ROLES, parts, strict=True) if entry is not None}
    return Layout(entries, present, {name: each for name, each in OPTIONS.items() if name not in present})


def options_of_role(role: str) -> list[str]:
    """The options of all parts of a role, in their order among the fields."""
    declared = {name for entry in REGISTRIES[role].values() for name in entry.declared()}
    return [name for name in FIELDS if name in declared]


def role_of(name: str) -> str:
    """The role whose parts have the option `name`, "" for an option of the cell's own."""
    parts = {role: [name in entry.declared() for entry in parts.values()] for role, parts in REGISTRIES.items()}
    return next((role for role, has in parts.items() if any(has)), "")


def owners(name: str) -> str:
    """The parts that have the option `name`, in words: `objective ou`; "" where all of their role do, and of others."""
    role = role_of(name)
    having = [part for part, entry in REGISTRIES[role].items() if name in entry.declared()] if role else []
    return "" if not role or len(having) == len(REGISTRIES[role]) else f"{role} {' or '.join(having)}"
