"""pydantic's findings → one line each: `file:line:column: key: what is wrong`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from models.cell import RANGES
from sweeper.study.blocks import BlockBase
from sweeper.study.grid import Range
from sweeper.study.schema import StudyFile
from sweeper.study.tree import Node

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a mapping (key: value) or a list of such",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "finite_number": "a finite number",
}
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_LIMITS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))  # of pydantic, and in words


def faults_of(error: ValidationError, tree: Node, root: type[BaseModel] = StudyFile) -> list[str]:
    """Every fault that pydantic found in the plain value of `tree`, with its place there, in the order of the file.

    `root` is the model of the whole file.
    """
    details = chain.from_iterable(map(_single, error.errors(include_url=False)))
    lines = (_line(detail, tree, root) for detail in details)
    return sorted(dict.fromkeys(lines), key=_order)  # once, in however many places an alias puts it


def _single(detail: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """One finding that holds the faults of several blocks, as one finding each."""
    if detail["type"] != "blocks":
        yield detail
        return
    for why, at in detail["ctx"]["faults"]:
        yield {**detail, "type": "block", "ctx": {"why": why, "at": at}}


def _order(line: str) -> tuple[int, str, int, int]:
    """Sorts lines by file and place; those of overrides, which have none in a file, come last."""
    place = re.match(r"(?!--set )(.*?):(\d+):(\d+): ", line)
    return (0, place[1], int(place[2]), int(place[3])) if place else (1, "", 0, 0)


def _line(detail: Mapping[str, Any], tree: Node, root: type[BaseModel]) -> str:
    context = detail.get("ctx", {})
    path, node = _descend(tree, [*detail["loc"], *context.get("at", ())])
    kind, value = detail["type"], detail["input"]
    name = next((str(step) for step in reversed(path) if isinstance(step, str)), "study")
    key = ".".join(str(step) for step in path if isinstance(step, str))
    if kind == "extra_forbidden":
        return f"{_key_place(tree, path)}: {key}: unknown key{_hint(path, root)}"
    if kind == "missing":
        missing = str(detail["loc"][-1])
        full = f"{key}.{missing}" if key else missing
        return f"{node.place}: {full}: missing; {_description(path, missing, root)}"
    why = _why(kind, context, name, value, path, root) or detail["msg"]
    return f"{node.place}: {key}: {why}"


def _why(
    kind: str, context: Mapping[str, Any], name: str, value: Any, path: Sequence[Any], root: type[BaseModel]
) -> str:
    if kind in ("grid", "block"):
        return str(context["why"])
    if kind == "value_error":
        return str(context["error"]).removeprefix(f"{name}: ")
    if kind in _BOUNDS:
        return f"{name} should be {_limits(path, root)}, got {shown(value)}"
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        near = get_close_matches(str(value), names, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"{name} should be one of {', '.join(names)}, got {shown(value)}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{name} should be 1 to 64 letters, digits, '.', '_' or '-', first a letter or digit, got {shown(value)}"
    if kind == "too_short":
        return "empty; give at least one value"
    return f"{name} should be {_TYPES[kind]}, got {shown(value)}" if kind in _TYPES else ""


def _limits(path: Sequence[Any], root: type[BaseModel]) -> str:
    """Between which numbers the value at `path` should be, both ends said."""
    steps = [step for step in path if isinstance(step, str)]
    owner = next((step for step in steps if step in RANGES), None)
    if owner and steps[-1] not in ("step", "points"):  # a field of a cell, or an end of its range
        return RANGES[owner][2]
    model = _model_at(steps[:-1], root)
    fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
    found = dict(_bounds(fields[steps[-1]]) if steps[-1] in fields else ())
    return " and ".join(f"{words} {found[bound]:.12g}" for bound, words in _LIMITS if bound in found)


def _bounds(annotation: Any) -> Iterator[tuple[str, float]]:
    """The limits that a type sets to numbers, in whichever of its forms."""
    for part in (*getattr(annotation, "metadata", ()), *getattr(annotation, "__metadata__", ())):
        if isinstance(part, FieldInfo):
            yield from _bounds(part)
        yield from ((bound, getattr(part, bound)) for bound, _ in _LIMITS if getattr(part, bound, None) is not None)
    inner = (annotation.annotation,) if isinstance(annotation, FieldInfo) else get_args(annotation)
    for part in inner:
        yield from _bounds(part)


def shown(value: Any) -> str:
    """A value as an error shows it: with its type where that could be what is wrong, and never long."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    text = text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"
    return f"the text {text}" if isinstance(value, str) else text


def _descend(tree: Node, loc: Iterable[Any]) -> tuple[list[Any], Node]:
    """Follow pydantic's `loc` through the tree as far as it goes; returns the path of keys and indices walked and
    the node there. Steps that are not in the file are passed over: names of union branches, the 0 of the
    one block that stands for a list, keys that are missing."""
    path: list[Any] = []
    node = tree
    for step in loc:
        known = isinstance(node.value, dict) and step in node.value
        known = known or (isinstance(node.value, list) and isinstance(step, int))
        if known:
            node = node.value[step]
            path.append(step)
    return path, node


def _key_place(tree: Node, path: Sequence[Any]) -> str:
    """Where the last key of `path` is written (its value may be lines below)."""
    parent = _descend(tree, path[:-1])[1]
    return parent.keys[path[-1]]


def _model_at(path: Sequence[Any], root: type[BaseModel]) -> type[BaseModel] | None:
    """The model of the mapping at `path`; None where no mapping belongs."""
    model: type[BaseModel] | None = root
    for name in (step for step in path if isinstance(step, str)):
        field = model.model_fields.get(name) if model else None
        model = _model_in(field.annotation) if field else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is, is a list of, or has as one of its forms."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _hint(path: Sequence[Any], root: type[BaseModel]) -> str:
    """The section where this key would be known, or the nearest key that is known here."""
    key, model = str(path[-1]), _model_at(path[:-1], root)
    known = [field.alias or name for name, field in model.model_fields.items()] if model else []
    for section, field in root.model_fields.items():
        inner = _model_in(field.annotation)
        if inner and key in inner.model_fields:
            return f"; it belongs in {section}"
    if near := get_close_matches(key, known, n=1):
        return f", did you mean {near[0]!r}?"
    return f"; known here: {', '.join(known)}" if len(known) < 10 else "; docs/study.md has all that are known here"


def _description(path: Sequence[Any], missing: str, root: type[BaseModel]) -> str:
    model = _model_at(path, root)
    if model is None or issubclass(model, Range):
        return "a range is {from, to, step} or {from, to, points}"
    said = model.model_fields[missing].description or ""
    if issubclass(model, BlockBase):  # of a topic of several fields
        said = next((part for part in said.split("; ") if part.startswith(f"{missing}: ")), "").partition(": ")[2]
    return said or "it has no default"
