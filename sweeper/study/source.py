"""YAML 1.2 text → a tree of plain values that remember where they were written; and back, on one line.

A study file may come from a stranger, so the text is read event by event under limits and nothing is ever constructed
from a tag. Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): `no` is text,
`1e-3` a number, `012` twelve, `22:30` text, and `1024-10-10` text too (not a date, as ruamel.yaml would have it).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from sweeper.errors import StudyError

MOST_BYTES = 250_000  # ruamel.yaml takes up to 3 s a megabyte, whatever is in it
MOST_DEPTH = 50  # levels of nesting
MOST_ALIASES = 100
MOST_WRITTEN = 10_000  # values in the text; ruamel.yaml reads about 20,000 a second
MOST_EXPANDED = 100_000  # values after every alias is replaced by what it names
MERGE = "<<"

_NUL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass
class Node:
    """A value with its place (`file:line:column`, or `--set key=value`).

    `value` is a scalar, a list of nodes, or a dictionary of nodes; `keys` has the place of each key of a dictionary.
    `size` and `depth` count this node and everything below it, aliases expanded.
    """

    value: Any
    place: str
    keys: dict[str, str] = field(default_factory=dict)
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        """The value without places: scalars, lists and dictionaries."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def scalar(text: str) -> Any:
    """The value of an unquoted scalar: None, a bool, an int, a float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= 100:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def flow(value: Any) -> str:
    """`value` as YAML on one line, which `parse` reads back unchanged."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and scalar(value) == value:
        return value
    text = json.dumps(value, ensure_ascii=False)  # YAML 1.2 reads JSON, but for these characters, and only escaped
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def read_tree(path: Path | str) -> Node:
    """The tree of the YAML file at `path`. Raises StudyError: missing, too large, not UTF-8, or as `parse` does."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as fault:
        raise StudyError(f"{path}: {_unreadable(path, fault)}") from None
    if len(data) > MOST_BYTES:
        raise StudyError(f"{path}: larger than {MOST_BYTES:,} bytes, the most a study may have")
    if other := _other_encoding(data):
        raise StudyError(f"{path}: it seems to be {other}, and should be UTF-8 text: save it as that")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        column = fault.start - data.rfind(b"\n", 0, fault.start)
        byte = data[fault.start : fault.start + 1]
        raise StudyError(
            f"{path}:{line}:{column}: not UTF-8 text (byte 0x{byte.hex()}, in Windows-1252 or Latin-1 "
            f"{byte.decode('cp1252', 'replace')!r}): save it as UTF-8"
        ) from None
    return parse(text, str(path))


def _other_encoding(data: bytes) -> str:
    """What a file is whose bytes are no UTF-8 text, as far as its first ones tell; empty: it may be."""
    for mark, name in ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
                       (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
                       (b"\x1f\x8b", "a gzip file"), (b"PK\x03\x04", "a zip file"), (b"PAR1", "a Parquet file"),
                       (b"%PDF", "a PDF file"), (b"{\\rtf", "a file of a word processor")):  # fmt: skip
        if data.startswith(mark):
            return name
    start = data[:1000]
    if 3 * start.count(0) <= len(start):  # of Latin letters in UTF-16 half the bytes are 0
        return ""
    return f"UTF-16 ({'little' if start[1::2].count(0) > start[::2].count(0) else 'big'}-endian, without its mark)"


def parse(text: str, name: str, place: str | None = None) -> Node:
    """The tree of `text`; places are `name:line:column`, or all `place` if that is given.

    Raises StudyError for text that is not YAML or passes a limit, and, all at once, for keys given twice.
    """
    reader = _Reader(name, place)
    if control := _NUL.search(text):
        before = text[: control.start()]
        column = control.start() - before.rfind("\n")
        where = reader.where(before.count("\n"), column - 1)
        raise StudyError(f"{where}: control character {control.group()!r}, which text may not have")
    try:
        tree = reader.read(text)
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = reader.where(mark.line, mark.column) if mark else name
        why = "; ".join(str(part) for part in (fault.context, fault.problem) if part)
        if "'\\t'" in why:
            why = "a tab: YAML wants spaces, to indent and after a colon"
        raise StudyError(f"{where}: not valid YAML: {why}") from None
    except (YAMLError, AssertionError, ValueError, OverflowError) as fault:
        # the latter of its own checks: `%YAML 1.3`, or an escape that is no character, as "\\U00110000"
        raise StudyError(f"{place or name}: not valid YAML: {' '.join(str(fault).split())[:200]}") from None
    if reader.faults:
        raise StudyError(reader.faults)
    return tree


class _Reader:
    """Builds the tree of one document from ruamel.yaml's events, stopping at the first limit passed."""

    def __init__(self, name: str, place: str | None):
        self.name, self.place = name, place
        self.anchors: dict[str, Node] = {}
        self.aliases = self.written = self.documents = 0
        self.faults: list[str] = []

    def where(self, line: int, column: int) -> str:
        """The place of a position counted from 0, as people count: from 1."""
        return self.place or f"{self.name}:{line + 1}:{column + 1}"

    def read(self, text: str) -> Node:
        """The tree of the one document in `text`. Raises StudyError, YAMLError."""
        tree = Node(None, self.where(0, 0))
        events: Iterator[Event] = YAML(typ="safe", pure=True).parse(text)
        for event in events:
            if isinstance(event, DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self.refuse(event, "a second document starts here; a study is one document")
                if event.tags:
                    self.refuse(event, "%TAG is not allowed")
            elif isinstance(event, NodeEvent):
                tree = self.node(event, events, 1)
        return tree

    def refuse(self, event: Event, why: str) -> NoReturn:
        """Raise StudyError at the place of an event."""
        raise StudyError(f"{self.of(event)}: {why}")

    def of(self, event: Event) -> str:
        """The place where an event begins."""
        return self.where(event.start_mark.line, event.start_mark.column)

    def node(self, event: Any, events: Iterator[Event], depth: int) -> Node:
        """The node that starts with `event`, `depth` levels down."""
        self.written += 1
        if self.written > MOST_WRITTEN:
            self.refuse(event, f"more than {MOST_WRITTEN:,} values; write grids as {{from, to, step}}")
        if isinstance(event, AliasEvent):
            return self.alias(event)
        if event.tag is not None:
            self.refuse(event, f"tag {event.tag!r}: tags are not allowed")
        if depth > MOST_DEPTH:
            self.refuse(event, f"nested more than {MOST_DEPTH} levels deep")
        node = Node(None, self.of(event))
        if isinstance(event, ScalarEvent):
            node.value = scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, SequenceStartEvent):
            node.value = []
            while not isinstance(inner := next(events), SequenceEndEvent):
                child = self.node(inner, events, depth + 1)
                node.value.append(child)
                self.grow(node, child, inner)
        elif isinstance(event, MappingStartEvent):
            node.value = {}
            merged: list[Node] = []
            while not isinstance(inner := next(events), MappingEndEvent):
                self.entry(node, inner, events, depth, merged)
            self.merge(node, merged, event)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def entry(self, node: Node, event: Event, events: Iterator[Event], depth: int, merged: list[Node]) -> None:
        """Read one `key: value` into `node`; the mappings of a merge key, `<<: *base`, into `merged`."""
        key_node = self.node(event, events, depth + 1)
        key = event.value if isinstance(event, ScalarEvent) else key_node.value
        if not isinstance(key, str):
            self.refuse(event, "a key should be text")
        child = self.node(next(events), events, depth + 1)
        if key in node.keys:
            self.faults.append(f"{self.of(event)}: {key}: key given twice (first at {node.keys[key]})")
            return
        if key == MERGE and isinstance(event, ScalarEvent) and event.implicit[0]:
            merged += child.value if isinstance(child.value, list) else [child]
            if any(not isinstance(each.value, dict) for each in merged):
                self.refuse(
                    event, f"{MERGE} takes over the keys of a mapping or of a list of such, as in {MERGE}: *name"
                )
            return
        node.keys[key] = self.of(event)
        node.value[key] = child
        self.grow(node, child, event)

    def merge(self, node: Node, merged: Sequence[Node], event: Event) -> None:
        """Take over the keys of `merged` that a mapping does not give itself; of several the first that has a key.

        (https://yaml.org/type/merge.html: of YAML 1.1, and still in use.) Each keeps the place where it is written.
        """
        for base in merged:
            for key in [key for key in base.keys if key not in node.keys]:
                node.keys[key], node.value[key] = base.keys[key], base.value[key]
                self.grow(node, base.value[key], event)

    def alias(self, event: AliasEvent) -> Node:
        """The node that an alias names."""
        self.aliases += 1
        if self.aliases > MOST_ALIASES:
            self.refuse(event, f"more than {MOST_ALIASES} aliases")
        if event.anchor not in self.anchors:  # an anchor is known when its node has ended, so no node holds itself
            self.refuse(event, f"alias *{event.anchor} names no anchor before it")
        return self.anchors[event.anchor]

    def grow(self, node: Node, child: Node, event: Event) -> None:
        """Count `child` in its parent's size and depth, under the limits."""
        node.size += child.size
        node.depth = max(node.depth, child.depth + 1)
        if node.size > MOST_EXPANDED:
            self.refuse(event, f"more than {MOST_EXPANDED:,} values once aliases are expanded")
        if node.depth > MOST_DEPTH:
            self.refuse(event, f"nested more than {MOST_DEPTH} levels deep")


def _unreadable(path: Path, fault: OSError) -> str:
    if not isinstance(fault, FileNotFoundError):
        return f"cannot be read: {fault.strerror}"
    folder = path.parent
    if not folder.is_dir():
        return f"no such file, nor a folder {str(folder)!r}"
    there = sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
    near = get_close_matches(path.name, there, n=3, cutoff=0.5) or [n for n in there if Path(n).stem == path.name]
    hint = f", did you mean {' or '.join(repr(str(folder / name)) for name in near)}?" if near else ""
    return f"no such file{hint}"
