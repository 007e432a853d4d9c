"""Grids: several values of one field, written as a list whose items are values or ranges.

    rho: [0.5, {from: 0.7, to: 0.9, step: 0.1}, {from: 0.98, to: 0.999, points: 5, spacing: geometric}, 1]

Steps and linear points are computed in decimal, so 0.7 + 2 × 0.1 is 0.9 and not 0.8999999999999999.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.cell import nine_digits

MAX_VALUES = 100_000  # of all grids of a study
SIZES = ("latents", "hidden")


class Range(BaseModel):
    """Evenly spaced values from `from` to `to`, both included: by `step` (the last value is at most `to`), or as a
    number of `points`, spaced linearly or geometrically."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)

    start: Any = Field(alias="from")
    to: Any
    step: Annotated[float, Field(gt=0, allow_inf_nan=False, description="distance between values")] | None = None
    points: Annotated[int, Field(ge=2, le=MAX_VALUES, description="number of values, both ends included")] | None = None
    spacing: Annotated[
        Literal["linear", "geometric"], Field(description="geometric: in 1 - rho for rho, else in the value")
    ] = "linear"

    @model_validator(mode="after")
    def _consistent(self) -> Range:
        if (self.step is None) == (self.points is None):
            raise ValueError("a range has either step or points, as in {from: 0.7, to: 0.9, step: 0.1}")
        if self.step is not None and "spacing" in self.model_fields_set:
            raise ValueError("spacing goes with points, not with step")
        if not self.start < self.to:
            raise ValueError(f"from should be below to, got from {self.start} to {self.to}")
        if self.step is not None and (self.to - self.start) / self.step >= MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        return self

    def values(self, field: str) -> list[Any]:
        """The values in rising order for cell field `field`, float or Decimal. Raises ValueError if there are none."""
        if self.spacing == "geometric":
            return self._geometric(complement=field == "rho")
        low, high = _decimal(self.start), _decimal(self.to)
        if self.points is not None:
            return [low + (high - low) * i / (self.points - 1) for i in range(self.points)]
        step = _decimal(self.step or 0.0)
        return [low + step * i for i in range(int((high - low) / step) + 1)]

    def _geometric(self, complement: bool) -> list[float]:
        """Points at a constant ratio of the value, or of 1 − value where `complement`; the ends are exact."""
        first, last = (1 - self.start, 1 - self.to) if complement else (self.start, self.to)
        if first <= 0 or last <= 0:
            raise ValueError(
                f"geometric in 1 - rho needs to below 1, got {self.to} (add 1 as an item of its own)"
                if complement
                else f"geometric needs from above 0, got {self.start}"
            )
        assert self.points is not None  # spacing goes with points
        inner = (first * (last / first) ** (i / (self.points - 1)) for i in range(1, self.points - 1))
        return [float(self.start), *(nine_digits(1 - v if complement else v) for v in inner), float(self.to)]


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def grid_type(name: str, item: Any, kind: str) -> Any:
    """The pydantic type of field `name` in a study: one value, a range (of numbers), or a list of both.

    `item` is the type of one value, `kind` what it is a type of: `int`, `float` or `str`.
    Validates to the tuple of its values. Refuses an empty grid and a value given twice.
    """
    single: Any = Annotated[item, Tag("value")]
    entry = single
    forms = ["list"]
    if kind != "str":
        ends: dict[str, Any] = {
            "start": (item, Field(alias="from", description="first value")),
            "to": (item, Field(description="last value; for a step, the value not to pass")),
        }
        spread = create_model(f"range of {name}", __base__=Range, __doc__=Range.__doc__, **ends)
        single = single | Annotated[spread, Tag("range")]
        entry = Annotated[single, _form_of("range")]
        forms.append("range")
    several: Any = Annotated[GenericAlias(list, (entry,)), Tag("list"), Field(min_length=1)]
    chosen: Any = Annotated[single | several, _form_of(*forms)]
    return Annotated[chosen, AfterValidator(partial(_expand, name, kind == "int"))]


def _form_of(*forms: str) -> Discriminator:
    """Tells which of `forms` (`range`, `list`) what is written has; anything else is judged as a value."""

    def form_of(value: Any) -> str:
        form = "range" if isinstance(value, dict) else "list" if isinstance(value, list) else "value"
        return form if form in forms else "value"

    return Discriminator(form_of)


def _expand(name: str, whole: bool, grid: Any, info: ValidationInfo) -> tuple[Any, ...]:
    """The values of a grid in the order written. A fault carries the place of its item in `at`.

    `info.context`, a dictionary that goes with one study, counts the values of all its grids.
    """
    counts: dict[str, int] = info.context if info.context is not None else {}
    items: Sequence[Any] = grid if isinstance(grid, list) else [grid]
    seen: dict[Any, None] = {}
    for index, item in enumerate(items):
        at: tuple[Any, ...] = (index,) if isinstance(grid, list) else ()
        try:
            values = item.values(name) if isinstance(item, Range) else [item]
            for value in values:
                if whole and value != int(value):
                    raise ValueError(f"{name} should be a whole number, this range gives {value:.9g}")
                if not isinstance(value, str):
                    value = int(value) if whole else nine_digits(value)
                if value in seen:
                    sizes = "; the sizes of one network are joined by '-', as in 40-20" if name in SIZES else ""
                    raise ValueError(
                        f"{value if isinstance(value, str) else format(value, '.12g')} is given twice{sizes}"
                    )
                seen[value] = None
            counts["values"] = counts.get("values", 0) + len(values)
            if counts["values"] > MAX_VALUES:
                raise ValueError(f"more than {MAX_VALUES:,} values in the study's grids")
        except ValueError as fault:
            raise PydanticCustomError("grid", "{why}", {"why": str(fault), "at": at}) from None
    return tuple(seen)
