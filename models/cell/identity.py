"""A cell's id and what it needs, with the digest, semantics numbers and size of the parts that it names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from models.cell.cell import Cell
from models.cell.image_shape import ImageShape
from models.cell.registry import ROLES, UnknownName, find
from models.cell.size import Size

_IN_EVERY_ID = ("network", "objective", "procedure")  # of other roles only numbers above 1 are


@lru_cache(maxsize=2**20)  # as many as a study may have
def cell_id(cell: Cell) -> str:
    """The cell's id, with the digest and the semantics numbers of the names it uses. Raises UnknownName."""
    cell = cell.canonical()
    numbers = {role: find(role, getattr(cell, role)).semantics for role in ROLES}
    semantics = {role: number for role, number in numbers.items() if role in _IN_EVERY_ID or number > 1}
    return cell.id(find("data", cell.data).digest, semantics)


def cell_size(cell: Cell) -> Size:
    """Parameters, operations and memory of one cell, for planning. Raises UnknownName."""
    options = cell.options("procedure")
    return options.size(_joint_size(cell)) if hasattr(options, "size") else _joint_size(cell)


def cell_work(cell: Cell, start: int, steps: int) -> float:
    """Operations of one cell's training from step `start` to `steps`. Raises UnknownName."""
    if hasattr(find("procedure", cell.procedure).options, "work"):
        return float(cell.options("procedure").work(_joint_size(cell), start, steps))
    return float(cell_size(cell).flops) * (steps - start)


def joint_steps(cell: Cell, start: int, steps: int) -> float:
    """As how many joint steps the cell's training from step `start` to `steps` counts, by its operations: inner updates
    are steps as well. Raises UnknownName."""
    return cell_work(cell, start, steps) / max(_joint_size(cell).flops, 1)


def _joint_size(cell: Cell) -> Size:
    """What one cell would need with procedure `joint`."""
    shape, network = cell.timing(), find("network", cell.network)
    if shape not in _SIZES:  # of ten thousand cells a few shapes are measured
        find("objective", cell.objective)
        if network.size is None:
            raise UnknownName(f"network: {cell.network} does not say what a cell of it needs")
        images = cell.data_shape or ImageShape(1, 1, 0)
        size = network.size(cell, images)
        for part in (find("prior", cell.prior), find("posterior", cell.posterior)):
            size += part.size(cell, images) if part.size is not None else Size(0, 0, 0)
        _SIZES[shape] = size
    return _SIZES[shape]


_SIZES: dict[tuple[Any, ...], Size] = {}
