"""The section `analysis` of a study file: which transition is looked for, over which control parameter."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from sweeper.parameters.control import CONTROLS, RHO, STEPS, Axis, axis_of
from sweeper.parameters.order import PATTERN, parse_order_parameter
from sweeper.study.types import Number, Section, Text


def _control(name: str) -> str:
    if name not in CONTROLS:
        axis_of(name)
    return name


def _order_parameter(name: str) -> str:
    return parse_order_parameter(name).name


class Analysis(Section):
    """How the transition is looked for."""

    control: Annotated[
        Text,
        AfterValidator(_control),
        WithJsonSchema({"type": "string", "enum": list(CONTROLS)}),
        Field(description="control parameter: a numeric field of a cell, or steps (of the history)"),
    ] = "rho"
    collapsed: Annotated[
        Literal["low", "high"] | None,
        Field(description="end of the control parameter that collapses, where it is not known or is otherwise"),
    ] = None
    rho_ref: Annotated[Number, Field(ge=0, lt=1, description="rho whose value counts as 100 % (onset: 10 %)")] = 0.8
    reference: Annotated[
        Number | None, Field(description="the same for another control parameter, which needs one")
    ] = None
    order_parameter: Annotated[
        Text,
        AfterValidator(_order_parameter),
        WithJsonSchema({"type": "string", "pattern": PATTERN}),
        Field(
            description="quantity whose collapse is looked for: kl_top, kl_total, or kl, kl_per_unit, active_units, "
            "relative_activity or mi (mutual information, also in full) with _ and a layer (top, 1, 2, …); with "
            "validation_ before it, on validation images"
        ),
    ] = "kl_top"
    second_order_parameter: Annotated[
        Text,
        AfterValidator(lambda name: name if name in ("auto", "none") else _order_parameter(name)),
        WithJsonSchema({"type": "string", "pattern": f"^(auto|none)$|{PATTERN}"}),
        Field(
            description="another quantity whose collapse is reported beside the first; auto: active units of the same "
            "layer, where the first is a KL; none: none"
        ),
    ] = "auto"
    same_within: Annotated[
        Number, Field(gt=1, le=100, description="ratio of 1 - rho within which two critical values count as the same")
    ] = 1.25

    @property
    def axis(self) -> Axis:
        """The axis of the control parameter."""
        return axis_of(self.control, self.collapsed)

    @property
    def uncollapsed(self) -> float:
        """The control parameter's value that counts as 100 %."""
        return self.rho_ref if self.reference is None else self.reference

    def plain(self) -> dict[str, Any]:
        """Without `rho_ref` where the control parameter is another."""
        plain = super().plain()
        return plain if self.control == RHO.name else {name: plain[name] for name in plain if name != "rho_ref"}

    @model_validator(mode="after")
    def _consistent(self) -> Analysis:
        try:
            axis = self.axis
        except ValueError as fault:
            raise _fault(str(fault), "control") from None
        if self.control == RHO.name:
            if self.reference is not None:
                raise _fault("for control rho it is called rho_ref", "reference")
            return self
        if "rho_ref" in self.model_fields_set:
            raise _fault(f"rho_ref has no effect with control {self.control}: use reference", "rho_ref")
        if self.reference is None:
            raise _fault(f"control {self.control} needs a reference: its value that counts as 100 %", "control")
        try:
            place = float(axis.coordinate(self.reference))
        except ValueError as fault:
            raise _fault(str(fault).replace(axis.name, "reference", 1), "reference") from None
        if not math.isfinite(place):
            raise _fault(f"{axis.at(self.reference)} has no place on the scale of {axis.scale}", "reference")
        if self.control == STEPS.name and not parse_order_parameter(self.order_parameter).in_history:
            raise _fault(f"{self.order_parameter} is not measured along the way, over steps", "order_parameter")
        return self


def _fault(why: str, key: str) -> PydanticCustomError:
    """A fault at `key` of the section that is being checked."""
    return PydanticCustomError("block", "{why}", {"why": why, "at": (key,)})
