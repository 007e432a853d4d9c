"""What a study file may say: the sections and their types. Unknown keys and wrong types are errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from models.cell import CHOICES, RANGES, Cell, parse_sizes
from models.registry import REGISTRIES, find
from models.settings import Evaluation
from sweeper.study.blocks import BlockBase, joined
from sweeper.study.grid import grid_type

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
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
        Positive, Field(description="K of the importance-weighted bound, and chains an image of the other averages")
    ] = Evaluation.importance_samples
    images: Annotated[
        Count, AfterValidator(several), Field(description="images of the split that are used, from its start; 0: all")
    ] = Evaluation.images
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


class Analysis(Section):
    """How the transition is looked for."""

    rho_ref: Annotated[Number, Field(ge=0, lt=1, description="rho whose value counts as 100 % (onset: 10 %)")] = 0.8
    order_parameter: Annotated[
        Literal["kl_top", "kl_total"], Field(description="quantity whose collapse is looked for, nats")
    ] = "kl_top"


class Run(Section):
    """Where and how the work is done; never changes a result's identity."""

    executor: Annotated[
        Literal["ray", "inline"], Field(description="ray: workers of Ray Tune; inline: this process")
    ] = "ray"
    workers: Annotated[Count, Field(description="stacks trained at a time; 0: as many as the machine holds")] = 0
    threads: Annotated[Positive, Field(description="CPU threads a worker; 1 gives bitwise reproducible results")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: a GPU where there is one")] = "auto"
    max_stack: Annotated[Count, Field(description="most cells trained in one stack; 0: as memory allows")] = 0
    memory_gb: Annotated[Number, Field(ge=0, description="memory for a stack, GB; 0: from the machine")] = 0.0


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
    run: Run = Run()


SECTIONS: dict[str, type[Section]] = {
    "train": Train,
    "evaluation": EvaluationSection,
    "analysis": Analysis,
    "run": Run,
}
