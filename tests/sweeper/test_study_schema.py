"""The JSON Schema that editors use: current, and of one mind with the loader."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from models.cell import Cell
from sweeper.study import json_schema
from sweeper.study.tree import parse

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def validator() -> Any:
    """Of the schema, which is one itself."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schema_is_current() -> None:
    """If not: `sweeper schema > studies/study.schema.json`."""
    assert json.loads((STUDIES / "study.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_every_field_of_a_cell_is_there_and_described() -> None:
    block = json_schema()["$defs"]["CellBlock"]["properties"]
    assert set(block) == {field.name for field in fields(Cell)} | {"depth", "width"}
    assert [name for name, entry in block.items() if not entry.get("description")] == []


@pytest.mark.parametrize(
    "path", sorted([*STUDIES.glob("*.yaml"), *STUDIES.glob("paper/*.yaml")]), ids=lambda path: path.stem
)
def test_the_shipped_studies_are_valid_under_the_schema(path: Path, validator: Any) -> None:
    validator.validate(parse(path.read_text(encoding="utf-8"), str(path)).plain())


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"stepz": 1}},
        {"cells": {"data": "digits", "latents": "5", "seed": 0, "objectiv": "ou"}},
        {"cells": {"data": "digits", "latents": "5", "seed": 0, "rho": 1.2}},
        {"cells": {"data": "digits", "latents": "5", "seed": 0, "rho": []}},
        {"cells": {"data": "digits", "latents": "5-", "seed": 0}},
        {"cells": {"data": "digits", "latents": "5", "seed": [{"from": 0, "too": 3, "step": 1}]}},
        {"cells": []},
        {"name": "../x"},
    ],
)
def test_an_editor_marks_what_the_loader_refuses(change: dict[str, Any], validator: Any) -> None:
    study = {"name": "s", "cells": {"data": "digits", "latents": "5", "seed": 0}, "train": {"steps": 1}}
    validator.validate(study)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**study, **change})
