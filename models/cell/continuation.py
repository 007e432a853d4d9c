"""Cells that continue from others: trained at one ρ from the weights that training at the ρ before it left.

A branch goes up or down a study's values of ρ, each cell from the one before, the first from a cold start. All of that
stands in a cell's procedure, so that the cell says everything that decides its training:

    continue 1 > 0.98 > 0.96, 4000 steps each

began cold at ρ = 1 and passed 0.98 and 0.96, 4,000 steps each, before it came to its own ρ. Weights are taken over;
Adam, the schedules and the steps begin anew, with the random numbers that a cold start at this ρ sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from models.cell.cell import CONTINUE, Cell
from models.cell.registry import UNSMOOTHED

COLD = "joint"  # the procedure of a cold start
_WRITTEN = re.compile(rf"{CONTINUE} (\S+(?: > \S+)*), ([1-9]\d*) steps each")


@dataclass(frozen=True)
class Passed:
    """What a cell went through: the ρ of the cold start and of the cells after it, and the steps at each."""

    rhos: tuple[float, ...]
    steps: int

    @classmethod
    def of(cls, procedure: str) -> Passed | None:
        """What a procedure's text says; None for one that starts cold. Raises ValueError for text that is neither."""
        if procedure.split(" ")[0] != CONTINUE:
            return None
        found = _WRITTEN.fullmatch(procedure)
        if found is None:
            raise ValueError(f"procedure should be as in '{cls((1.0, 0.98), 4000)}', got {procedure!r}")
        return cls(tuple(float(rho) for rho in found[1].split(" > ")), int(found[2]))

    def __str__(self) -> str:
        return f"{CONTINUE} {' > '.join(f'{rho:.9g}' for rho in self.rhos)}, {self.steps} steps each"


def origin(cell: Cell) -> Cell | None:
    """The cell whose weights this one takes over; None for a cold start."""
    passed = Passed.of(cell.procedure)
    if passed is None:
        return None
    *before, last = passed.rhos
    procedure = str(replace(passed, rhos=tuple(before))) if before else COLD
    return replace(cell, rho=last, procedure=procedure).canonical()


def cold_start(cell: Cell) -> Cell:
    """The cell with which a cell's branch began; itself if it starts cold."""
    passed = Passed.of(cell.procedure)
    return cell if passed is None else replace(cell, rho=passed.rhos[0], procedure=COLD).canonical()


def branch(procedure: str, rho: float) -> str:
    """`continue up` or `continue down`, towards what ρ a branch goes; the procedure itself for a cold start."""
    passed = Passed.of(procedure)
    if passed is None:
        return procedure
    first, second = (*passed.rhos, rho)[:2]
    return f"{CONTINUE} {'up' if second > first else 'down'}"


def branches(cells: Sequence[Cell], steps: int) -> tuple[Cell, ...]:
    """The cells, with both branches in place of those whose procedure is the bare word `continue`.

    steps: of training at every ρ. A branch comes with its cold start, in order. Raises ValueError for cells that are
    not smoothed, and for a single ρ.
    """
    found: dict[Cell, None] = {}
    grids: dict[Cell, list[float]] = {}
    for cell in cells:
        if cell.procedure != CONTINUE:
            found[cell] = None
        elif cell.objective not in UNSMOOTHED or not cell.options("objective").smooths(cell):
            smoothed = f"objective: {' or '.join(UNSMOOTHED)}, two layers or more"
            raise ValueError(f"procedure: continue needs cells that are smoothed ({smoothed})")
        else:
            grids.setdefault(replace(cell, rho=1.0), []).append(cell.rho)
    for like, rhos in grids.items():
        ordered = sorted(set(rhos))
        if len(ordered) < 2:
            raise ValueError(f"procedure: continue needs two values of rho or more, got {ordered}")
        for way in (ordered, ordered[::-1]):
            found |= dict.fromkeys(_branch(like, way, steps))
    return tuple(found)


def _branch(like: Cell, rhos: Sequence[float], steps: int) -> Iterable[Cell]:
    yield replace(like, rho=rhos[0], procedure=COLD).canonical()
    for place, rho in enumerate(rhos[1:], start=1):
        yield replace(like, rho=rho, procedure=str(Passed(tuple(rhos[:place]), steps)))
