"""What a cell is refused for: values out of range, options of other parts, and parts that do not go together.

Every fault of a cell is found at once, each a sentence that names its field and value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.cell.declared import Layout, entry_of, owners, role_of
from models.cell.entry import KINDS
from models.cell.registry import REGISTRIES, ROLES, UNSMOOTHED, find
from models.cell.values import checked

if TYPE_CHECKING:
    from models.cell.cell import Cell

ALWAYS_WRITTEN = 2  # fields of this version of the columns or before are written of every cell, whatever its parts


class CellError(ValueError):
    """Fields of a cell out of range. `faults` maps each field's name to one sentence."""

    def __init__(self, faults: Mapping[str, str]):
        super().__init__("; ".join(faults.values()))
        self.faults = dict(faults)


def check_names(values: Mapping[str, Any]) -> None:
    """Raises CellError where what should name a part is no text, by which no part can be looked up."""
    faults = {
        role: f"{role}: should be a name, got {values[role]!r}" for role in ROLES if not isinstance(values[role], str)
    }
    if faults:
        raise CellError(faults)


def check(cell: Cell, layout: Layout) -> None:
    """Check a cell that is being made, and round its numbers. Raises CellError with every fault.

    Options of parts that it does not name are brought to their default, or to None where they came later.
    """
    values, faults = cell.__dict__, {}
    for name, each in layout.present.items():
        if values[name] is each.default:
            continue  # which is valid: most are, and a plan forms thousands of cells
        if values[name] is None and not each.required and each.since > ALWAYS_WRITTEN:
            values[name] = each.default  # null in a row from before the option
        try:
            values[name] = checked(each, values[name])
        except ValueError as fault:
            faults[name] = str(fault)
    for name, each in layout.absent.items():
        if values[name] not in (None, each.default):
            role = role_of(name)
            named = f"{role} {getattr(cell, role)}"
            faults[name] = f"{name} is an option of {owners(name)}: {named} has none{cell.why_not(name)}"
        values[name] = each.default if each.since <= ALWAYS_WRITTEN and not each.required else None
    for role, entry in layout.entries.items():
        if not faults and hasattr(entry.options, "faults"):
            faults |= cell.options(role).faults()
        if not faults and entry is not None and hasattr(entry.options, "conflicts"):
            faults |= cell.options(role).conflicts(cell)
    if not faults:
        faults = _unread(cell, layout)
    if not faults and cell.smoothed:
        faults = _unsmoothable(cell)
    if faults:
        raise CellError(faults)


def unfit(likelihood: str, data: str, kind: str) -> str:
    """A sentence where a likelihood is no distribution of a data set's values, of that kind; else "", as where it is
    not known what it is a distribution of."""
    kinds = find("likelihood", likelihood).kinds
    if not kinds or kind in kinds:
        return ""
    fitting = [name for name, entry in REGISTRIES["likelihood"].items() if kind in entry.kinds]
    return f"likelihood {likelihood}: {data} has {KINDS[kind]}, for {' or '.join(fitting)}"


def _unread(cell: Cell, layout: Layout) -> dict[str, str]:
    """A sentence for a network that does not read what the data set is known to have, and for a likelihood that is no
    distribution of it.

    Any numbers have a density: of those that have no use for one the data set says it, when it is loaded.
    """
    data, likelihood, network = (layout.entries.get(role) for role in ("data", "likelihood", "network"))
    if data is not None and data.kind and network is not None and data.kind not in network.reads:
        reading = [name for name, entry in REGISTRIES["network"].items() if data.kind in entry.reads]
        why = f"{cell.data} has {KINDS[data.kind]}, for {' or '.join(reading)}"
        return {"network": f"network {cell.network}: {why}"}
    if data is None or likelihood is None or not data.kind or likelihood.density:
        return {}
    why = unfit(cell.likelihood, cell.data, data.kind)
    return {"likelihood": why} if why else {}


def _unsmoothable(cell: Cell) -> dict[str, str]:
    """A sentence for the objective where a part of the cell does not allow that its maps are smoothed."""
    for role in ROLES:
        entry, plain = entry_of(role, getattr(cell, role)), UNSMOOTHED[cell.objective]
        if entry is not None and entry.unsmoothable:
            why = f"objective {cell.objective} smooths generative maps, which {role} {getattr(cell, role)} does not"
            return {"objective": f"{why} allow, because {entry.unsmoothable}: train it with objective {plain}"}
    return {}
