"""The blocks of a study's `cells`: products of grids, joined into canonical cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from models.cell import FIELDS, REGISTRIES, UNSMOOTHED, Cell, CellError, owners

MAX_CELLS = 1_000_000


class BlockBase(BaseModel):
    """Any field of a cell: a value, or a grid (a list of values and ranges). The block is their product."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _axes: dict[str, tuple[Any, ...]] = PrivateAttr(default_factory=dict)

    @property
    def count(self) -> int:
        """Cells of the product, before those that are the same are merged."""
        return math.prod(len(values) for values in self._axes.values())

    @model_validator(mode="after")
    def _set_axes(self) -> BlockBase:
        """Keep the values of each field that the file gives, in the order of `Cell`; depth × width become latents."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        depths, widths = given.pop("depth", None), given.pop("width", None)
        if "latents" in given and (depths or widths):
            raise _fault("give latents, or depth and width, not both", "depth" if depths else "width")
        layered = any(layers_of(network) for network in given.get("network", (FIELDS["network"].default,)))
        if "latents" not in given and (layered or depths or widths):
            if not (depths and widths):
                what = "depth without width" if depths else "width without depth" if widths else "latents is missing"
                raise _fault(f"{what}; give latents (as in 40-40-40), or depth and width")
            given["latents"] = tuple("-".join([str(width)] * depth) for depth, width in product(depths, widths))
        self._axes = {name: given[name] for name in FIELDS if name in given}
        return self

    def sizes(self) -> str:
        """The product in words: `2 data × 3 seed × 13 rho`."""
        return " × ".join(f"{len(values):,} {name}" for name, values in self._axes.items() if len(values) > 1)

    def cells(self, of_a_store: bool = False) -> tuple[Cell, ...]:
        """The block's cells, canonical, each once: a product in the order of `Cell`'s fields, seeds varying fastest.

        Raises PydanticCustomError for values that do not go together or that training would ignore.
        """
        axes = {name: values for name, values in self._axes.items() if name != "seed"}
        seeds = self._axes["seed"]
        kept: dict[str, set[Any]] = {name: set() for name, values in axes.items() if len(values) > 1 or name == "rho"}
        cells: dict[Cell, None] = {}
        had: set[str] = set()
        for values in product(*axes.values()):
            given = self._cell({**dict(zip(axes, values, strict=True)), "seed": seeds[0]})
            had.update(name for name in axes if given.has(name))
            cell = given.canonical()
            for name, seen in kept.items():
                seen.add(getattr(cell, name))
            cells.update(dict.fromkeys(cell.replicate(seed) for seed in seeds))  # the schema has checked the seeds
        for name, seen in kept.items():
            self._check_effect(name, seen, axes)
        for name in () if of_a_store else axes.keys() - had:
            if any(value != FIELDS[name].default for value in axes[name]):
                why = next(iter(cells)).why_not(name)
                raise _fault(f"{name} is an option of {owners(name)}, which no cell of this grid has{why}", name)
        return tuple(cells)

    @staticmethod
    def _cell(values: Mapping[str, Any]) -> Cell:
        try:
            return Cell.of(values)
        except CellError as fault:  # single values are checked by now: what is left is that some do not go together
            raise _fault("; ".join(fault.faults.values()), next(iter(fault.faults))) from None

    @staticmethod
    def _check_effect(name: str, kept: set[Any], axes: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse values of field `name` that training would ignore; `kept` are those of the canonical cells."""
        values = axes[name]
        if name == "rho" and kept == {1.0} and set(values) != {1.0}:
            objectives = axes.get("objective", ("vae",))
            if any(objective in UNSMOOTHED for objective in objectives):
                why = "p(x|z₁) is never smoothed without smooth_output: yes"
                raise _fault(f"rho has no effect on a single layer: {why}", "rho")
            objective = " and ".join(objectives)
            smoothed = " or ".join(name for name, plain in UNSMOOTHED.items() if plain in objectives) or "ou"
            raise _fault(f"rho has no effect with objective {objective}: use objective: {smoothed}", "rho")
        if len(kept) == 1 and len(values) > 1:
            raise _fault(f"the {len(values)} values of {name} have no effect on these cells; leave one", name)


def layers_of(network: str) -> bool:
    """Whether a network has layers of latent variables; one that is not registered is refused elsewhere."""
    entry = REGISTRIES["network"].get(network)
    return entry is None or "latents" in entry.declared()


def _fault(why: str, *at: str | int) -> PydanticCustomError:
    return PydanticCustomError("block", "{why}", {"why": why, "at": at})


def joined(blocks: list[BlockBase], info: ValidationInfo) -> tuple[Cell, ...]:
    """The cells of all `blocks`, each once. Refuses more than `MAX_CELLS` before forming any.

    The study that a store keeps (`info.context["of_a_store"]`) may be of a version that ignored options which no cell
    of a grid has: there they still are.
    """
    of_a_store = bool((info.context or {}).get("of_a_store"))
    total = 0
    for index, block in enumerate(blocks):
        total += block.count
        if total > MAX_CELLS:
            before = f", {total:,} with the grids before" if index else ""
            raise _fault(f"{block.count:,} cells ({block.sizes()}){before}; the most is {MAX_CELLS:,}", index)
    cells: dict[Cell, None] = {}
    faults = []
    for index, block in enumerate(blocks):
        try:
            cells.update(dict.fromkeys(block.cells(of_a_store)))
        except PydanticCustomError as fault:
            context = fault.context or {}
            faults.append((context["why"], (index, *context["at"])))
    if faults:
        raise PydanticCustomError("blocks", "{faults}", {"faults": faults})
    return tuple(cells)
