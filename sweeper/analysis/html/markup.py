"""HTML by elements: every text is escaped on its way in, so that nothing a store says can become markup.

A store may come from a stranger: names, questions and tracebacks are content, never code.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

_VOID = frozenset(("img", "input", "meta"))
# Control characters, halves of surrogate pairs, and marks that would show text in another order than it is written.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class Html(str):
    """Text that is markup already. Only this module and the page's own style and script may make it."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as text that shows as it stands."""
    return value if isinstance(value, Html) else Html(escape(_UNSHOWN.sub("\ufffd", str(value)), quote=True))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """`<name attributes>children</name>`.

    Children are escaped unless they are `Html`; None is left out. An attribute that is None or False is left out, True
    has no value; `class_` is `class`, `aria_label` is `aria-label`.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: object) -> Html:
    """Children one after the other, None left out."""
    return Html("".join(text(child) for child in children if child is not None))


def json_block(identity: str, value: Any) -> Html:
    """`value` as JSON in an element that is not run; without `<` in it nothing can end the element early."""
    written = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{text(identity)}">{written}</script>')
