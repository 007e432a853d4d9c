"""What a study file may say: its sections and their types. Unknown keys and wrong types are errors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from models.evaluation.settings import has_scalar_posterior
from sweeper.parameters.order import parse_order_parameter
from sweeper.study.analysis import Analysis
from sweeper.study.blocks import joined
from sweeper.study.cell_block import CellBlock
from sweeper.study.sections import EvaluationSection, Refine, Run, Train
from sweeper.study.types import Section, Text

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ALONG = ("validation_gradient_variance", "validation_mutual_information", "validation_posterior_mean")
REFINED = ("kl_top", "kl_total")  # order parameters that refinement reads from the rows


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
        for key in ("order_parameter", "second_order_parameter"):
            asked = getattr(self.analysis, key)
            on_request = asked not in ("auto", "none") and parse_order_parameter(asked).on_request
            if on_request and not getattr(self.evaluation, on_request):
                why = f"{key} {asked}: it is measured on request, so evaluation.{on_request} should not be 0"
                raise PydanticCustomError("block", "{why}", {"why": why, "at": ("analysis", key)})
        every, steps = self.evaluation.every, self.train.steps
        for key in ALONG:
            if getattr(self.evaluation, key) and not every:
                why = "there is no evaluation along the way with evaluation.every: 0"
                raise PydanticCustomError("block", "{why}", {"why": why, "at": ("evaluation", key)})
        for key in ("posterior_mean", "validation_posterior_mean"):
            if getattr(self.evaluation, key) and not any(has_scalar_posterior(cell) for cell in cells):
                why = f"{key}: no cell of this study has one latent variable (latents: 1) and posterior gaussian"
                raise PydanticCustomError("block", "{why}", {"why": why, "at": ("evaluation", key)})
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
