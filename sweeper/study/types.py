"""The types of single values in a study file, and what its sections have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def whole_number(value: Any) -> Any:
    """`1e5` and `6000.0` are whole numbers too; anything else is left for the type to judge."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(strict=True, ge=0, le=10**9), BeforeValidator(whole_number)]
Positive = Annotated[int, Field(strict=True, ge=1, le=10**9), BeforeValidator(whole_number)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1), BeforeValidator(whole_number)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True)]


def whole(low: int, high: int) -> Any:
    """The type of a whole number in [low, high]."""
    return Annotated[int, Field(strict=True, ge=low, le=high), BeforeValidator(whole_number)]


class Section(BaseModel):
    """A part of a study: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """The section as a study file writes it, defaults included."""
        return self.model_dump(exclude_none=True)
