"""pydantic's findings → one line each: `file:line:column: key: what is wrong`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any

from pydantic import BaseModel, ValidationError

from models.cell import RANGES
from sweeper.study.schema import SECTIONS, CellBlock, StudyFile
from sweeper.study.source import Node

RANGE_KEYS = ("from", "to", "step", "points", "spacing")

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
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def faults_of(error: ValidationError, tree: Node) -> list[str]:
    """Every fault that pydantic found in the plain value of `tree`, with its place there, in the order of the file."""
    details = chain.from_iterable(map(_single, error.errors(include_url=False)))
    return sorted((_line(detail, tree) for detail in details), key=_order)


def _single(detail: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """One finding that holds the faults of several blocks, as one finding each."""
    if detail["type"] != "blocks":
        yield detail
        return
    for why, at in detail["ctx"]["faults"]:
        yield {**detail, "type": "block", "ctx": {"why": why, "at": at}}


def _order(line: str) -> tuple[int, int, int]:
    """Sorts lines by place; those of overrides, which have none in the file, come last."""
    place = re.match(r"(?!--set ).*?:(\d+):(\d+): ", line)
    return (0, int(place[1]), int(place[2])) if place else (1, 0, 0)


def _line(detail: Mapping[str, Any], tree: Node) -> str:
    context = detail.get("ctx", {})
    path, node = _descend(tree, [*detail["loc"], *context.get("at", ())])
    kind, value = detail["type"], detail["input"]
    name = next((str(step) for step in reversed(path) if isinstance(step, str)), "study")
    key = ".".join(str(step) for step in path if isinstance(step, str))
    if kind == "extra_forbidden":
        return f"{_key_place(tree, path)}: {key}: unknown key{_hint(path)}"
    if kind == "missing":
        missing = str(detail["loc"][-1])
        full = f"{key}.{missing}" if key else missing
        return f"{node.place}: {full}: missing; {_description(path, missing)}"
    why = _why(kind, context, name, value, path) or detail["msg"]
    return f"{node.place}: {key}: {why}"


def _why(kind: str, context: Mapping[str, Any], name: str, value: Any, path: Sequence[Any]) -> str:
    if kind in ("grid", "block"):
        return str(context["why"])
    if kind == "value_error":
        return str(context["error"]).removeprefix(f"{name}: ")
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        expected = f"{words} {context[bound]:.12g}"
        if path[0] == "cells" and name not in ("step", "points"):  # a field, or an end of its range
            owner = next((step for step in path if step in RANGES), None)
            expected = RANGES[owner][2] if owner else expected
        return f"{name} should be {expected}, got {shown(value)}"
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


def _keys(path: Sequence[Any]) -> tuple[str, ...]:
    """The keys that the mapping at `path` may have."""
    names = [step for step in path if isinstance(step, str)]
    if not names:
        return tuple(StudyFile.model_fields)
    if names == ["cells"]:
        return tuple(CellBlock.model_fields)
    return RANGE_KEYS if names[0] == "cells" else tuple(SECTIONS[names[0]].model_fields)


def _hint(path: Sequence[Any]) -> str:
    """The nearest key that would be known here, or the section where this one would be."""
    key, known = str(path[-1]), _keys(path[:-1])
    if near := get_close_matches(key, known, n=1):
        return f", did you mean {near[0]!r}?"
    models: dict[str, type[BaseModel]] = {**SECTIONS, "cells": CellBlock}
    for section, model in models.items():
        if key in model.model_fields:
            return f"; it belongs in {section}"
    return f"; known here: {', '.join(known)}" if len(known) < 10 else ""


def _description(path: Sequence[Any], missing: str) -> str:
    names = [step for step in path if isinstance(step, str)]
    if len(names) > 1:
        return "a range is {from, to, step} or {from, to, points}"
    model: type[BaseModel] = StudyFile if not names else CellBlock if names[0] == "cells" else SECTIONS[names[0]]
    return model.model_fields[missing].description or "it has no default"
