"""A page's blocks as one HTML file: no network, no file beside it, and content that cannot become code.

The page's own style and script stand in it and are named by their hash in its Content-Security-Policy; whatever else a
browser might be told to load or run is refused. What a store says is escaped (`sweeper.analysis.html.markup`), and the
script writes it with `textContent` alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from sweeper.analysis.html.blocks import Block
from sweeper.analysis.html.markup import Html, element, joined, json_block

_HERE = Path(__file__).parent
_SCRIPTS = ("controls.js", "scales.js", "chart.js", "reading.js", "heatmaps.js", "tables.js", "page.js")


def render(page: Block) -> str:
    """The page (`sweeper.analysis.html.blocks`) as the text of an HTML file."""
    style = Html((_HERE / "page.css").read_text(encoding="utf-8"))
    script = Html("".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    number = count(1)
    sections = [
        element(
            "section",
            element("h2", part["title"], id=f"{part['id']}-title"),
            *(_BLOCKS[block["kind"]](block, f"block-{next(number)}") for block in part["blocks"]),
            id=part["id"], aria_labelledby=f"{part['id']}-title",
        )
        for part in page["sections"]
    ]  # fmt: skip
    contents = [element("li", element("a", part["title"], href=f"#{part['id']}")) for part in page["sections"]]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{page['title']} · sweeper"),
        element("style", style),
    )
    body = element(
        "body",
        element("a", "Skip to the results", class_="skip", href="#main"),
        element(
            "header",
            element("h1", page["title"]),
            element("p", page["question"], class_="question") if page["question"] else None,
        ),
        element("nav", element("ul", *contents), aria_label="Contents"),
        element("main", *sections, id="main"),
        element("script", script),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _paragraph(block: Block, _: str) -> Html:
    return element("p", block["text"])


def _notes(block: Block, _: str) -> Html:
    return element("ul", *(element("li", item) for item in block["items"]), class_="notes")


def _cards(block: Block, _: str) -> Html:
    shown = [
        element(
            "li",
            element("h3", item["label"]),
            element("p", item["value"], class_="value"),
            *(element("p", line) for line in item["lines"]),
        )
        for item in block["items"]
    ]
    return element("ul", *shown, class_="cards")


def _table(block: Block, identity: str) -> Html:
    numeric = [
        all(value is None or isinstance(value, (int, float, dict)) for value in column)
        for column in zip(*block["rows"], strict=True)
    ]
    kinds = [{"class_": "number"} if is_number else {} for is_number in numeric] or [{} for _ in block["columns"]]
    sortable = bool(block.get("sortable"))
    head = [element("th", name, scope="col", **kind) for name, kind in zip(block["columns"], kinds, strict=True)]
    rows = [
        element("tr", *(_field(value, sortable, kind) for value, kind in zip(row, kinds, strict=True)))
        for row in block["rows"]
    ]
    grid = element(
        "table",
        None if block["fold"] else element("caption", block["title"], id=f"{identity}-title"),
        element("thead", element("tr", *head)) if any(block["columns"]) else None,
        element("tbody", *rows),
        **({"class_": "sortable"} if sortable else {}),
    )
    # A wide table scrolls within itself; a region that scrolls must be reachable by keyboard.
    scrolling = element("div", grid, class_="wide", tabindex="0", role="region", aria_label=block["title"])
    note = element("p", block["note"], class_="note") if block["note"] else None
    return _folded(block, scrolling, note) if block["fold"] else joined(scrolling, note)


def _field(value: Any, sortable: bool, kind: dict[str, str]) -> Html:
    """A field; of a table that can be sorted with the number by which it is."""
    number = value["value"] if isinstance(value, dict) else value
    ranked = sortable and isinstance(number, (int, float))
    text = value["text"] if isinstance(value, dict) else _shown(value)
    return element("td", text, **kind, **({"data_value": f"{number:.17g}"} if ranked else {}))


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _folded(block: Block, *content: object) -> Html:
    return element("details", element("summary", block["title"]), *content)


def _code(block: Block, _: str) -> Html:
    text = element("pre", element("code", block["text"]), tabindex="0", role="region", aria_label=block["title"])
    return _folded(block, text) if block["fold"] else joined(element("h3", block["title"]), text)


def _links(block: Block, _: str) -> Html:
    return element(
        "ul", *(element("li", element("a", i["text"], href=i["href"])) for i in block["items"]), class_="files"
    )


def _images(block: Block, identity: str) -> Html:
    figures = [
        element("figure", element("img", src=item["src"], alt=item["alt"]), element("figcaption", item["caption"]))
        for item in block["items"]
    ]
    note = element("p", block["note"], class_="note") if block["note"] else None
    kind = "images wide" if block["wide"] else "images"
    return joined(element("h3", block["title"], id=identity), element("div", *figures, class_=kind), note)


def _drawn(block: Block, identity: str) -> Html:
    """A chart or heatmaps: its data, which the page's script draws."""
    return element(
        "figure",
        element("h3", block["title"], id=f"{identity}-title"),
        element("noscript", element("p", "A script draws this. Its numbers and figures are among the files below.")),
        element("figcaption", block["note"], class_="note"),
        json_block(identity, block),
        class_=block["kind"], data_block=identity, aria_labelledby=f"{identity}-title",
    )  # fmt: skip


_BLOCKS: dict[str, Callable[[Block, str], Html]] = {
    "paragraph": _paragraph,
    "notes": _notes,
    "cards": _cards,
    "table": _table,
    "code": _code,
    "links": _links,
    "images": _images,
    "chart": _drawn,
    "heatmaps": _drawn,
}
