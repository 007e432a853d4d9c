"""The fields of a cell as a study file gives them: the type of each, and a block of grids over them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, create_model

from models.cell import FIELDS, REGISTRIES, Option, find, owners
from models.cell.fields import YES_NO
from sweeper.study.blocks import BlockBase
from sweeper.study.grid import grid_type
from sweeper.study.types import Number, Text, whole

MAX_LAYERS = 100  # most stochastic layers that `depth` may ask for


def _as_text(value: Any) -> Any:
    """`latents: 40` is a text too."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _yes_or_no(value: Any) -> Any:
    """`true` is yes too."""
    return YES_NO[value] if isinstance(value, bool) else value


def _checked(field: Option, value: str) -> str:
    """The value, where the option's own check takes it."""
    if field.check is not None:
        field.check(value)
    return value


def _registered(role: str, value: str) -> str:
    find(role, value)
    return value


def field_type(field: Option) -> Any:
    """The pydantic type of one value of a field of a cell."""
    if field.name in REGISTRIES:
        names = {"type": "string", "enum": list(REGISTRIES[field.name])}
        return Annotated[Text, AfterValidator(partial(_registered, field.name)), WithJsonSchema(names)]
    if field.choices == YES_NO:
        said = WithJsonSchema({"enum": [*YES_NO, True, False]})
        return Annotated[Literal[field.choices], BeforeValidator(_yes_or_no), said]
    if field.choices:
        return Literal[field.choices]
    if field.check is not None:
        text = {"type": ["string", "integer"], "pattern": field.pattern, "minimum": 1}
        return Annotated[
            Text, BeforeValidator(_as_text), AfterValidator(partial(_checked, field)), WithJsonSchema(text)
        ]
    if field.low is None or field.high is None:
        return Text
    if field.kind == "int":
        return Annotated[whole(int(field.low), int(field.high)), Field(description=field.range)]
    return Annotated[Number, Field(ge=field.low, le=field.high, description=field.range)]


def _described(field: Option) -> str:
    """What the field means, with its unit and whose it is, where it is no field of every cell."""
    unit = f" ({field.unit})" if field.unit and field.unit not in field.meaning else ""
    whose = owners(field.name)
    return f"{field.meaning.replace('`', '')}{unit}" + (f"; of {whose}" if whose else "")


def _cell_block() -> type[BlockBase]:
    """The model of a `cells` block: every field of a cell as a grid, and depth × width in place of latents."""
    members: dict[str, Any] = {}
    for name, field in FIELDS.items():
        default = ... if field.required and name != "latents" else None if field.required else field.default
        grid = grid_type(name, field_type(field), field.kind)
        members[name] = (grid, Field(default, description=_described(field)))
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
