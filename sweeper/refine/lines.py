"""The curves of a study along which refinement moves: which cells lie on one, and which cell is at a point of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from models.cell import Cell, canonical_json
from sweeper.analysis.variants import NAMED, variants
from sweeper.parameters.control import Axis
from sweeper.refine.points import Point


@dataclass(frozen=True)
class Line:
    """All cells that share every field but the control parameter and the seed with `cell`, and the cells at their
    common end (`vae`, for ρ). `coarse`: the points that the study asks for; `variant`: what tells the line from others
    of its data set and architecture."""

    axis: Axis
    cell: Cell
    coarse: tuple[Point, ...] = ()
    variant: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """`digits · mlp 10-10-10 (64-64)`, and the variant."""
        return " · ".join(part for part in (self.cell.data_words, self.cell.architecture, self.variant) if part)

    @property
    def ended(self) -> bool:
        """Whether it is no more than its end."""
        return bool(getattr(self.cell, self.axis.name) == self.axis.end)

    def at(self, point: Point) -> Cell:
        """The cell at a value of the control parameter and a seed."""
        changes: dict[str, Any] = {self.axis.name: point[0], "seed": point[1]}
        return replace(self.cell, **changes).canonical()

    @cached_property
    def keys(self) -> set[str]:
        """What `_key` says of its cells: one, and another for those at the physical end."""
        ends = [] if self.axis.end is None else [self.at((self.axis.end, 0))]
        return {_key(cell, self.axis) for cell in (self.cell, *ends)}


def lines_of(cells: Iterable[Cell], axis: Axis, alone: bool = False) -> list[Line]:
    """The lines through `cells`, in their order; a cell at the physical end is on every line that ends there.

    alone: cells at the end of no line make lines too, on which there is no other place.
    """
    cells = list(cells)
    found: dict[str, Line] = {}
    for cell in cells:
        line = Line(axis, cell)
        if not line.ended:
            found.setdefault(_key(cell, axis), line)
    if alone:
        ends = {key for line in found.values() for key in line.keys}
        for cell in cells:
            if _key(cell, axis) not in ends:
                found.setdefault(_key(cell, axis), Line(axis, cell))
    on = points_of(found.values(), cells)
    return _with_variants([replace(line, coarse=tuple(on[line])) for line in found.values()])


def points_of(lines: Iterable[Line], cells: Iterable[Cell]) -> dict[Line, dict[Point, Cell]]:
    """The points of each line at which `cells` has a cell. Cells at the end count for seeds that the line has."""
    by_key: dict[str, list[Line]] = {}
    found: dict[Line, dict[Point, Cell]] = {}
    for line in lines:
        found[line] = {}
        for key in line.keys:
            by_key.setdefault(key, []).append(line)
    for cell in cells:
        for line in by_key.get(_key(cell, next(iter(found)).axis), ()) if found else ():
            found[line][float(getattr(cell, line.axis.name)), cell.seed] = cell
    for line, points in found.items():
        seeds = {seed for value, seed in [*points, *line.coarse] if value != line.axis.end or line.ended}
        found[line] = {point: cell for point, cell in points.items() if point[1] in seeds}
    return found


def _key(cell: Cell, axis: Axis) -> str:
    return canonical_json({name: value for name, value in cell.written().items() if name not in (axis.name, "seed")})


def _with_variants(lines: Sequence[Line]) -> list[Line]:
    """Each line with the fields that differ among those of its data set and architecture put into words."""
    alike: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        alike.setdefault((line.cell.data_words, line.cell.architecture), []).append(line)
    words: dict[Line, str] = {}
    for some in alike.values():
        unsaid = (*NAMED, some[0].axis.name, "seed")
        words |= zip(some, variants([line.cell.written() for line in some], unsaid), strict=True)
    return [replace(line, variant=words[line]) for line in lines]
