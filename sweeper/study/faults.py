"""pydantic's findings → one line each: `file:line:column: key: what is wrong`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from models.cell import RANGES
from sweeper.study.schema import SECTIONS, CellBlock, StudyFile
from sweeper.study.source import Node

RANGE_KEYS = ("from", "to", "step", "points", "spacing")

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
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
    return [_line(detail, tree) for detail in error.errors(include_url=False)]


def _line(detail: Mapping[str, Any], tree: Node) -> str:
    context = detail.get("ctx", {})
    path, node, place = _descend(tree, [*detail["loc"], *context.get("at", ())])
    kind, value = detail["type"], detail["input"]
    name = next((str(step) for step in reversed(path) if isinstance(step, str)), "study")
    key = ".".join(str(step) for step in path if isinstance(step, str))
    if kind == "extra_forbidden":
        return f"{_key_place(tree, path)}: {key}: unknown key{_hint(path)}"
    if kind == "missing":
        missing = str(detail["loc"][-1])
        full = f"{key}.{missing}" if key else missing
        return f"{place}: {full}: missing; {_description(path, missing)}"
    why = _why(kind, context, name, value, path)
    return f"{place}: {key}: {why}" if key else f"{place}: {why}"


def _why(kind: str, context: Mapping[str, Any], name: str, value: Any, path: Sequence[Any]) -> str:
    if kind in ("grid", "block"):
        return str(context["why"])
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        owner = next((step for step in path if step in RANGES), None) if path[0] == "cells" else None
        limit = context[bound]
        return f"{name} should be {RANGES[owner][2] if owner else f'{words} {limit:.12g}'}, got {shown(value)}"
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        near = get_close_matches(str(value), names, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"{name} should be one of {', '.join(names)}, got {shown(value)}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{name} should be 1 to 64 letters, digits, '.', '_' or '-', first a letter or digit, got {shown(value)}"
    if kind == "too_short":
        return "empty; give at least one value"
    return f"{name} should be {_TYPES[kind]}, got {shown(value)}" if kind in _TYPES else f"{name}: {kind} {context}"


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


def _descend(tree: Node, loc: Iterable[Any]) -> tuple[list[Any], Node, str]:
    """Follow pydantic's `loc` through the tree as far as it goes; returns the path of keys and indices walked, the
    node there and its place. Steps that are not in the file are passed over: names of union branches, the 0 of the
    one block that stands for a list, keys that are missing."""
    path: list[Any] = []
    node = tree
    for step in loc:
        if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
            node = node.value[step]
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            continue
        path.append(step)
    return path, node, node.place


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
    for section, model in {**SECTIONS, "cells": CellBlock}.items():
        if key in model.model_fields:
            return f"; it belongs in {section}"
    return f"; known here: {', '.join(known)}" if len(known) < 10 else ""


def _description(path: Sequence[Any], missing: str) -> str:
    names = [step for step in path if isinstance(step, str)]
    model = StudyFile if not names else CellBlock if names[0] == "cells" else SECTIONS[names[0]]
    field = model.model_fields.get(missing)
    return (field.description if field else None) or "it has no default"
