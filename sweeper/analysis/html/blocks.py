"""What a page is made of: blocks, plain dicts that JSON can hold. The renderer knows them and nothing of studies.

A page is `{"title", "question", "sections"}`, a section `{"id", "title", "blocks"}`. Adding a table to the
page means adding a block to a section:

    section("comparisons", "Comparisons", table("Same critical ρ?", ["pair", "ratio", "verdict"], rows))

Charts and heatmaps hold items with *keys* (`{"seed": "0", "layer": "top"}`) and *controls*, each about one key: an item
is shown while every control of its keys has its value switched on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

Block = dict[str, Any]
DIGITS = 5  # significant ones of a number in a chart


def section(identity: str, title: str, *blocks: Block | None) -> Block:
    """A titled part of the page, with its place in the page's contents; None is left out."""
    return {"id": identity, "title": title, "blocks": [block for block in blocks if block is not None]}


def paragraph(words: str) -> Block:
    """A paragraph of text."""
    return {"kind": "paragraph", "text": words}


def notes(items: Iterable[str]) -> Block | None:
    """A list of sentences that a reader must know; None if there are none."""
    said = list(items)
    return {"kind": "notes", "items": said} if said else None


def card(label: str, value: str, lines: Iterable[str]) -> Block:
    """One finding: what it is about, the number, and what belongs to it."""
    return {"label": label, "value": value, "lines": list(lines)}


def cards(items: Sequence[Block]) -> Block:
    """The findings of the page, in large type."""
    return {"kind": "cards", "items": list(items)}


def ranked(text: str | None, value: float | None) -> Block | None:
    """A field of a table that is sorted by `value` and reads `text`; None where there is no value."""
    known = text is not None and value is not None and math.isfinite(value)
    return {"text": text, "value": float(value or 0.0)} if known else None


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "", fold: bool = False,
    sortable: bool = False,
) -> Block:  # fmt: skip
    """A table: strings, numbers and `ranked` fields by row, None where there is nothing; `fold`: closed until it is
    asked for; `sortable`: by any column, by a button in its head."""
    listed = [[value if isinstance(value, dict) else plain(value) for value in row] for row in rows]
    more = {"sortable": True} if sortable else {}
    named = {"title": title, "columns": list(columns), "rows": listed, "note": note, "fold": fold}
    return {"kind": "table"} | named | more


def code(title: str, text: str, fold: bool = False) -> Block:
    """Text as it stands in a file."""
    return {"kind": "code", "title": title, "text": text, "fold": fold}


def links(items: Iterable[tuple[str, str]]) -> Block:
    """Files beside the page: (path relative to the page, what it is)."""
    return {"kind": "links", "items": [{"href": href, "text": words} for href, words in items]}


def images(title: str, items: Iterable[Mapping[str, str]], note: str = "", wide: bool = False) -> Block:
    """A grid of pictures: `src` (a PNG as a data: address), `alt` and `caption` of each; `wide`: figures, one below the
    other."""
    return {"kind": "images", "title": title, "items": [dict(item) for item in items], "note": note, "wide": wide}


def option(value: str, words: str, on: bool = True, **more: Any) -> Block:
    """A value of a control.

    more: `y` (label), `log` (it has a logarithm) and `late` (the first steps may leave the chart) say what the axis
    does while a selection stands on it; `long` is said of a point in place of `words`; `style` draws a piece of line.
    """
    return {"value": value, "text": words, "on": on, **more}


def control(key: str, words: str, kind: str, options: Sequence[Block]) -> Block:
    """`kind`: `check` (any number of values), `select` (one) or `slider` (one, in their order)."""
    return {"key": key, "text": words, "kind": kind, "options": list(options)}


def chart(
    title: str,
    description: str,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    controls: Sequence[Block],
    series: Sequence[Block],
    *,
    note: str = "",
    cells: Sequence[str] = (),
    marks: Sequence[Block] = (),
    legend: Sequence[Block] = (),
) -> Block:
    """Lines over x.

    - x: `label`, `name`, `at` (places, one per value), `texts` (of the values), and, where the axis is not plain
      numbers, `ticks` ([place, text]), `limits`, `breaks`.
    - y: `label`, `log`, `name`, or `ticks` and `limits` likewise.
    - series: `keys`, `style`, `points` ([index in x, y], with an index in `cells` where each is another cell's), and
      where there are any `cell`, `texts` of the values and `spans` ([low, high]).
    - marks: `keys`, `style`, and places on x: `line`, `dotted`, and spans `dark` and `light`.
    - legend: `keys`, `style`, `text`.
    """
    return {
        "kind": "chart", "title": title, "description": description, "note": note, "x": dict(x), "y": dict(y),
        "controls": list(controls), "series": list(series), "cells": list(cells), "marks": list(marks),
        "legend": list(legend),
    }  # fmt: skip


def heatmaps(title: str, scale: str, controls: Sequence[Block], panels: Sequence[Block], note: str = "") -> Block:
    """Fields of shares in [0, 1].

    scale: what 0 to 1 is. panels: `keys`, `title`, `across` and `down` (labels of the axes), `columns` and `rows`
    (their texts), `shares` and `texts` (rows of columns, None where there is no cell).
    """
    return {
        "kind": "heatmaps", "title": title, "note": note, "scale": scale,
        "controls": list(controls), "panels": list(panels),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """A value for a table: strings and whole numbers as they are, other numbers rounded, None for NaN and infinity."""
    if value is None or isinstance(value, (str, bool)):
        return value
    return int(value) if isinstance(value, Integral) else rounded(value)


def rounded(value: Any) -> float | None:
    """A number with the digits that a chart can show; None where there is none."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.{DIGITS}g}")
