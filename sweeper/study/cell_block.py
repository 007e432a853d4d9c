"""The fields of a cell as a study file gives them: the type of each, and a block of grids over them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, create_model

from models.cell import CHOICES, RANGES, Cell, parse_sizes
from models.registry import REGISTRIES, find
from sweeper.study.blocks import BlockBase
from sweeper.study.grid import grid_type
from sweeper.study.types import Number, Text, whole

MAX_LAYERS = 100  # most stochastic layers that `depth` may ask for


def _text_of_sizes(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sizes(value: str) -> str:
    for part in value.split("/"):
        parse_sizes(part)
    return value


def _latents(value: str) -> str:
    parse_sizes(value)
    return value


def _registered(field: str, value: str) -> str:
    find(field, value)
    return value


_SIZES: dict[str, Callable[[str], str]] = {"latents": _latents, "hidden": _sizes}
_SIZES_JSON = {
    "latents": {"type": ["string", "integer"], "pattern": r"^[1-9][0-9]{0,6}(-[1-9][0-9]{0,6})*$", "minimum": 1},
    "hidden": {
        "type": ["string", "integer"],
        "pattern": r"^[1-9][0-9]{0,6}([-/][1-9][0-9]{0,6})*$",
        "minimum": 1,
    },
}


def field_type(name: str, kind: str) -> Any:
    """The pydantic type of one value of cell field `name`, declared as `kind` (`int`, `float`, `str`) in `Cell`."""
    if name in _SIZES:
        return Annotated[
            Text, BeforeValidator(_text_of_sizes), AfterValidator(_SIZES[name]), WithJsonSchema(_SIZES_JSON[name])
        ]
    if name in REGISTRIES:
        return Annotated[
            Text,
            AfterValidator(partial(_registered, name)),
            WithJsonSchema({"type": "string", "enum": list(REGISTRIES[name])}),
        ]
    if name in CHOICES:
        return Literal[CHOICES[name]]
    low, high, note = RANGES.get(name, (-(10.0**18), 10.0**18, None))
    if kind == "int":
        return Annotated[whole(int(low), int(high)), Field(description=note)]
    return Annotated[Number, Field(ge=low, le=high, description=note)] if kind == "float" else Text


def cell_descriptions() -> dict[str, str]:
    """What `Cell`'s docstring says of each field: the topic's whole entry, for every field it names."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n\s*- ", Cell.__doc__ or "")[1:]:
        text = " ".join(entry.split()).replace("`", "")
        for name in re.findall(r"`(\w+)`", entry):
            found.setdefault(name, text)
    return found


def _cell_block() -> type[BlockBase]:
    """The model of a `cells` block: every field of `Cell` as a grid, and depth × width in place of latents."""
    described = cell_descriptions()
    members: dict[str, Any] = {}
    for f in fields(Cell):
        kind = str(f.type)
        grid = grid_type(f.name, field_type(f.name, kind), kind)
        default = ... if f.default is MISSING else f.default
        members[f.name] = (grid, Field(default, description=described.get(f.name)))
    members["latents"] = (members["latents"][0], Field(None, description=described.get("latents")))
    for name, most, text in (
        ("depth", MAX_LAYERS, "number of stochastic layers, L; with width, in place of latents"),
        ("width", 9_999_999, "units of every stochastic layer; with depth, in place of latents"),
    ):
        members[name] = (grid_type(name, whole(1, most), "int"), Field(None, description=text))
    return create_model("CellBlock", __base__=BlockBase, __doc__=BlockBase.__doc__, **members)


if TYPE_CHECKING:
    CellBlock = BlockBase
else:
    CellBlock = _cell_block()
