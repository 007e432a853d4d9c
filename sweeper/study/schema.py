"""What a study file may say: the sections and their types. Unknown keys and wrong types are errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.cell import CHOICES, RANGES, Cell, parse_sizes
from models.registry import REGISTRIES, find
from models.settings import Evaluation
from sweeper.parameters.control import CONTROLS, RHO, STEPS, Axis, axis_of
from sweeper.parameters.order import PATTERN, parse_order_parameter
from sweeper.study.blocks import BlockBase, joined
from sweeper.study.grid import grid_type

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
REFINED = ("kl_top", "kl_total")  # order parameters that refinement reads from the rows
LAYERS = 100  # most stochastic layers that `depth` may ask for


def whole_number(value: Any) -> Any:
    """`1e5` and `6000.0` are whole numbers too; anything else is left for the type to judge."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(strict=True, ge=0, le=10**9), BeforeValidator(whole_number)]
Positive = Annotated[int, Field(strict=True, ge=1, le=10**9), BeforeValidator(whole_number)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1), BeforeValidator(whole_number)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True)]


def several(images: int) -> int:
    """A variance over images needs two."""
    if images == 1:
        raise ValueError("at least 2 images are needed, got 1")
    return images


class Section(BaseModel):
    """A part of a study: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """The section as a study file writes it, defaults included."""
        return self.model_dump(exclude_none=True)


class Train(Section):
    """How long cells train and what is kept of them."""

    steps: Annotated[Positive, Field(description="training steps of every cell")]
    checkpoint_s: Annotated[Number, Field(gt=0, description="seconds of training between checkpoints")] = 60.0
    keep: Annotated[
        Literal["full", "weights", "none"],
        Field(description="final state kept of a finished cell: full (can train further), weights, none"),
    ] = "full"


class EvaluationSection(Section):
    """The final evaluation of each cell, and the cheap one on validation images along the way."""

    every: Annotated[Count, Field(description="steps between evaluations along the way; 0: none")] = 1000
    importance_samples: Annotated[
        Positive,
        Field(description="K of the importance-weighted bound, and the most chains per image of the other averages"),
    ] = Evaluation.importance_samples
    importance_images: Annotated[
        Count,
        Field(description="on how many of the images there are K chains, spread over them in hundreds; 0: on all"),
    ] = 2000  # not the 0 of Evaluation, which is what rows from before this field had
    images: Annotated[
        Count, AfterValidator(several), Field(description="how many images of the split are used; 0: all")
    ] = Evaluation.images
    image_choice: Annotated[
        Literal["spread", "first"],
        Field(
            description="which of them: spread over the split, one of each of as many equal parts, or the first ones; "
            "where it is not given, a store whose cells were evaluated on the first ones stays with these"
        ),
    ] = "spread"  # not the first of Evaluation, which is what rows from before this field had
    split: Annotated[Literal["test", "validation"], Field(description="images of the final evaluation")] = "test"
    seed: Annotated[Seed, Field(description="fixes binarisation and noise for all cells")] = Evaluation.seed
    active_threshold: Annotated[
        Number, Field(gt=0, description="variance of a unit's mean above which it is active")
    ] = Evaluation.active_threshold
    validation_images: Annotated[
        Positive, AfterValidator(several), Field(description="validation images used along the way")
    ] = 1000
    pictures: Annotated[
        Annotated[int, Field(strict=True, ge=0, le=64), BeforeValidator(whole_number)],
        Field(description="images drawn of each cell for the report, when it is evaluated; 0: none"),
    ] = 8


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
            description="quantity whose collapse is looked for: kl_top, kl_total, or kl, kl_per_unit, active_units or "
            "relative_activity with _ and a layer (top, 1, 2, …); with validation_ before it, on validation images"
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


class Refine(Section):
    """From a coarse grid to a narrow interval with few cells: further ρ and seeds, chosen as results come in."""

    half_width: Annotated[
        Number,
        Field(
            gt=0, description="wanted of the interval of each curve's onset, in log(1 - rho): 0.05 is 5 % of 1 - rho"
        ),
    ]
    cells: Annotated[Positive, Field(description="most cells of a curve, those of the grid included")]


class Run(Section):
    """Where and how the work is done; never changes a result's identity."""

    executor: Annotated[
        Literal["ray", "inline"], Field(description="ray: workers of Ray Tune; inline: this process")
    ] = "ray"
    workers: Annotated[Count, Field(description="stacks trained at a time; 0: as many as the machine holds")] = 0
    threads: Annotated[Positive, Field(description="CPU threads per worker; 1 gives bitwise reproducible results")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: a GPU where there is one")] = "auto"
    max_stack: Annotated[Count, Field(description="most cells trained in one stack; 0: as memory allows")] = 0
    memory_gb: Annotated[Number, Field(ge=0, description="memory for a stack, GB; 0: from the machine")] = 0.0
    hang_s: Annotated[
        Number, Field(gt=0, description="seconds without progress after which a worker is given up and restarted")
    ] = 1800.0
    start_s: Annotated[
        Number, Field(gt=0, description="seconds within which Ray and its workers should come up, else the run ends")
    ] = 120.0


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


def whole(low: int, high: int) -> Any:
    """The type of a whole number in [low, high]."""
    return Annotated[int, Field(strict=True, ge=low, le=high), BeforeValidator(whole_number)]


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
        ("depth", LAYERS, "number of stochastic layers, L; with width, in place of latents"),
        ("width", 9_999_999, "units of every stochastic layer; with depth, in place of latents"),
    ):
        members[name] = (grid_type(name, whole(1, most), "int"), Field(None, description=text))
    return create_model("CellBlock", __base__=BlockBase, __doc__=BlockBase.__doc__, **members)


if TYPE_CHECKING:
    CellBlock = BlockBase
else:
    CellBlock = _cell_block()


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class StudyFile(Section):
    """A study: a grid of cells, and how to train and evaluate them."""

    extends: Annotated[
        Text | None,
        Field(
            min_length=1,
            description="a study file to begin from, relative to this one: it and its sections are merged key by key "
            "with this file's, whose values, lists and ranges stand",
        ),
    ] = None  # done by the time this is checked: `sweeper.study.extends`
    name: Annotated[
        Text,
        Field(pattern=f"^{NAME}$", description="names the study, and its store results/<name>"),
    ]
    question: Annotated[Text, Field(description="what the study is to answer")] = ""
    cells: Annotated[
        list[CellBlock],
        BeforeValidator(_as_list),
        AfterValidator(joined),
        Field(min_length=1, description="a grid over any field of a cell, or a list of grids to be joined"),
    ]
    train: Train
    evaluation: EvaluationSection = EvaluationSection()
    analysis: Analysis = Analysis()
    refine: Annotated[Refine | None, Field(description=Refine.__doc__)] = None
    run: Run = Run()

    @model_validator(mode="after")
    def _layer(self) -> StudyFile:
        cells: Any = self.cells  # joined
        name = self.analysis.order_parameter
        layer, most = parse_order_parameter(name).layer, max(cell.depth for cell in cells)
        if layer is not None and layer > most:
            why = f"order_parameter {name}: no network of this study has more than {most} layers"
            raise PydanticCustomError("block", "{why}", {"why": why, "at": ("analysis", "order_parameter")})
        every, steps = self.evaluation.every, self.train.steps
        if parse_order_parameter(name).on_validation and (every == 0 or steps % every):
            why = f"order_parameter {name}: it is measured along the way, so evaluation.every ({every}) should divide "
            why += f"train.steps ({steps})"
            raise PydanticCustomError("block", "{why}", {"why": why, "at": ("analysis", "order_parameter")})
        if self.refine is not None and name not in REFINED:
            why = f"order_parameter {name}: a study that refines follows {' or '.join(REFINED)}"
            raise PydanticCustomError("block", "{why}", {"why": why, "at": ("analysis", "order_parameter")})
        return self


SECTIONS: dict[str, type[Section]] = {
    "train": Train,
    "evaluation": EvaluationSection,
    "analysis": Analysis,
    "refine": Refine,
    "run": Run,
}
