"""One block of a study's `cells`: the product of its grids, as canonical cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from models.cell import Cell, CellError

MOST_CELLS = 1_000_000


class BlockBase(BaseModel):
    """Any field of a cell: a value, or a grid (a list of values and ranges). The block is their product."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _cells: tuple[Cell, ...] = PrivateAttr(())

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The block's cells, canonical, each once: a product with later fields of `Cell` varying faster."""
        return self._cells

    @model_validator(mode="after")
    def _product(self) -> BlockBase:
        axes = self._axes()
        count = math.prod(len(values) for values in axes.values())
        if count > MOST_CELLS:
            sizes = " × ".join(f"{len(v)} {name}" for name, v in axes.items() if len(v) > 1)
            raise _fault(f"{count:,} cells ({sizes}), the most is {MOST_CELLS:,}")
        cells: dict[Cell, None] = {}
        seeds = axes.pop("seed")
        written: dict[str, set[Any]] = {name: set() for name, values in axes.items() if len(values) > 1 or name == "rho"}
        for values in product(*axes.values()):
            cell = self._cell({**dict(zip(axes, values, strict=True)), "seed": seeds[0]})
            for name, kept in written.items():
                kept.add(getattr(cell, name))
            cells.update(dict.fromkeys(_replicates(cell, seeds)))
        for name, kept in written.items():
            self._check_effect(name, axes[name], kept, axes)
        self._cells = tuple(cells)
        return self

    def _axes(self) -> dict[str, tuple[Any, ...]]:
        """The values of each field that the file gives, in the order of `Cell`, with latents made of depth × width."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        depths, widths = given.pop("depth", None), given.pop("width", None)
        if "latents" in given and (depths or widths):
            raise _fault("give latents, or depth and width, not both", "depth" if depths else "width")
        if "latents" not in given:
            if not (depths and widths):
                what = "depth without width" if depths else "width without depth" if widths else "latents is missing"
                raise _fault(f"{what}; give latents (as in 40-40-40), or depth and width")
            given["latents"] = tuple("-".join([str(width)] * depth) for depth, width in product(depths, widths))
        return {f.name: given[f.name] for f in fields(Cell) if f.name in given}

    @staticmethod
    def _cell(values: Mapping[str, Any]) -> Cell:
        try:
            return Cell(**values).canonical()
        except CellError as fault:  # single values are checked by now: what is left are hidden sizes against latents
            raise _fault("; ".join(fault.faults.values()), "hidden") from None

    @staticmethod
    def _check_effect(name: str, values: tuple[Any, ...], kept: set[Any], axes: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse a grid that leaves every cell the same, which is never what was meant."""
        if name == "rho" and kept == {1.0} and set(values) != {1.0}:
            objective = " and ".join(axes.get("objective", ("vae",)))
            raise _fault(f"rho has no effect with objective {objective}: use objective: ou", "rho")
        if len(kept) == 1 and len(values) > 1:
            raise _fault(f"the {len(values)} values of {name} have no effect on these cells; leave one", name)


def _replicates(cell: Cell, seeds: tuple[int, ...]) -> Iterator[Cell]:
    """`cell` with each of `seeds`. Copied without the checks of Cell(), which cost 40 times as much: the schema has
    checked the seeds, and no other field depends on them."""
    for seed in seeds:
        copy = object.__new__(Cell)
        copy.__dict__.update(cell.__dict__, seed=seed)
        yield copy


def _fault(why: str, *at: str) -> PydanticCustomError:
    return PydanticCustomError("block", "{why}", {"why": why, "at": at})
