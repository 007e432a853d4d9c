"""YAML 1.2 text → a tree of plain values that remember where they were written.

A study file may come from a stranger. So ruamel.yaml's composer is stopped at the first node that passes a limit or has
a tag, nothing is ever constructed from a tag, and scalars are read by `sweeper.study.scalars`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from sweeper.errors import StudyError
from sweeper.study.scalars import scalar

MAX_DEPTH = 50  # levels of nesting
MAX_ALIASES = 100
MAX_WRITTEN = 10_000  # values in the text; ruamel.yaml reads about 20,000 per second
MAX_EXPANDED = 100_000  # values after every alias is replaced by what it names
MERGE = "<<"

_NUL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Where = Callable[[StreamMark], str]  # the place of a mark, as people count


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


def parse(text: str, name: str, place: str | None = None) -> Node:
    """The tree of `text`; places are `name:line:column`, or all `place` if that is given.

    Raises StudyError for text that is not YAML or passes a limit, and, all at once, for keys given twice.
    """

    def at(line: int, column: int) -> str:
        return place or f"{name}:{line + 1}:{column + 1}"

    def where(mark: StreamMark) -> str:
        return at(mark.line, mark.column)

    if control := _NUL.search(text):
        before = text[: control.start()]
        column = control.start() - before.rfind("\n") - 1
        found = at(before.count("\n"), column)
        raise StudyError(f"{found}: control character {control.group()!r}, which text may not have")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = partial(_Composer, where)  # type: ignore[assignment]  # it is called with the loader
    try:
        documents = list(yaml.compose_all(text))
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        why = "; ".join(str(part) for part in (fault.context, fault.problem) if part)
        if "'\\t'" in why:
            why = "a tab: YAML wants spaces, to indent and after a colon"
        raise StudyError(f"{where(mark) if mark else name}: not valid YAML: {why}") from None
    except (YAMLError, AssertionError, ValueError, OverflowError) as fault:
        # the latter of its own checks: `%YAML 1.3`, or an escape that is no character, as "\\U00110000"
        raise StudyError(f"{place or name}: not valid YAML: {' '.join(str(fault).split())[:200]}") from None
    if not documents:
        return Node(None, at(0, 0))
    reader = _Reader(where)
    tree = reader.node(documents[0])
    if reader.faults:
        raise StudyError(reader.faults)
    return tree


@dataclass(frozen=True)
class _Alias:
    """An alias where it stands, and the composed node that it names."""

    target: Any
    start_mark: StreamMark


def _named(composed: Any) -> Any:
    """The node itself: what an alias names."""
    return composed.target if isinstance(composed, _Alias) else composed


def _value(composed: ScalarNode) -> Any:
    return scalar(composed.value) if composed.style is None else composed.value


def _key(composed: Any) -> Any:
    """A key as it is written, or the value that an alias in its place names; None for what is no scalar."""
    node = _named(composed)
    if not isinstance(node, ScalarNode):
        return None
    return node.value if node is composed else _value(node)


def _merges(key: Any) -> bool:
    """Whether it is the merge key; in quotes it is a key like any other."""
    return isinstance(key, ScalarNode) and key.value == MERGE and key.style is None


def _bases(value: Any) -> list[Any]:
    """What a merge key names: one, or a list."""
    return list(node.value) if isinstance(node := _named(value), SequenceNode) else [value]


class _Composer(Composer):
    """The library's composer of nodes with their marks, under limits. Raises StudyError where one is passed."""

    def __init__(self, where: Where, loader: Any):
        super().__init__(loader)
        self.where = where
        self.warn_double_anchors = False
        self.ended: dict[str, Any] = {}  # an anchor is known when its node has ended, so no node holds itself
        self.aliases = self.written = self.documents = 0

    def refuse(self, event: Any, why: str) -> NoReturn:
        """Raise StudyError at the place of an event or a node."""
        raise StudyError(f"{self.where(event.start_mark)}: {why}")

    def compose_document(self) -> Any:
        """The root of the one document that a study is."""
        event = self.parser.peek_event()
        self.documents += 1
        if self.documents > 1:
            self.refuse(event, "a second document starts here; a study is one document")
        if event.tags:
            self.refuse(event, "%TAG is not allowed")
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The node that starts here, or an `_Alias`; the library gives a mapping's values with their key as `index`."""
        event = self.parser.peek_event()
        self.written += 1
        if self.written > MAX_WRITTEN:
            self.refuse(event, f"more than {MAX_WRITTEN:,} values; write grids as {{from, to, step}}")
        node = self.alias() if isinstance(event, AliasEvent) else self.written_out(event, parent, index)
        if isinstance(parent, MappingNode) and index is None and not isinstance(_key(node), str):
            self.refuse(event, "a key should be text")
        if _merges(index) and not all(isinstance(_named(base), MappingNode) for base in _bases(node)):
            self.refuse(index, f"{MERGE} takes over the keys of a mapping or of a list of such, as in {MERGE}: *name")
        return node

    def alias(self) -> _Alias:
        """The alias that is next."""
        event = self.parser.get_event()
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self.refuse(event, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self.ended:
            self.refuse(event, f"alias *{event.anchor} names no anchor before it")
        return _Alias(self.ended[event.anchor], event.start_mark)

    def written_out(self, event: Any, parent: Any, index: Any) -> Any:
        """The node that starts with `event`, which is no alias."""
        if event.tag is not None:
            self.refuse(event, f"tag {event.tag!r}: tags are not allowed")
        if self.depth >= MAX_DEPTH:
            self.refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        if event.anchor:
            self.ended[event.anchor] = node
        return node


class _Reader:
    """Composed nodes → a tree; what an alias names is read once. Raises StudyError at the first limit passed."""

    def __init__(self, where: Where):
        self.where = where
        self.read: dict[int, Node] = {}  # by the composed node's identity
        self.faults: list[str] = []

    def of(self, composed: Any) -> str:
        """The place where a composed node, or an alias, begins."""
        return self.where(composed.start_mark)

    def node(self, composed: Any) -> Node:
        """The tree of a composed node, or of what an alias names."""
        if isinstance(composed, _Alias):
            return self.read[id(composed.target)]  # it ended before the alias
        node = self.read[id(composed)] = Node(None, self.of(composed))
        if isinstance(composed, ScalarNode):
            node.value = _value(composed)
        elif isinstance(composed, SequenceNode):
            node.value = []
            for inner in composed.value:
                child = self.node(inner)
                node.value.append(child)
                self.grow(node, child, inner)
        elif isinstance(composed, MappingNode):
            node.value = {}
            bases: list[Node] = []
            for written, value in composed.value:
                self.node(written)  # an alias may name the key
                child, key = self.node(value), _key(written)
                if key in node.keys:
                    self.faults.append(f"{self.of(written)}: {key}: key given twice (first at {node.keys[key]})")
                elif _merges(written):
                    bases += child.value if isinstance(child.value, list) else [child]
                else:
                    node.keys[key], node.value[key] = self.of(written), child
                    self.grow(node, child, written)
            self.merge(node, bases, composed)
        return node

    def merge(self, node: Node, bases: Sequence[Node], composed: Any) -> None:
        """Take over the keys of `bases` that a mapping does not give itself; of several the first that has a key.

        (https://yaml.org/type/merge.html: of YAML 1.1, and still in use.) Each keeps the place where it is written.
        """
        for base in bases:
            for key in [key for key in base.keys if key not in node.keys]:
                node.keys[key], node.value[key] = base.keys[key], base.value[key]
                self.grow(node, base.value[key], composed)

    def grow(self, node: Node, child: Node, composed: Any) -> None:
        """Count `child` in its parent's size and depth, under the limits."""
        node.size += child.size
        node.depth = max(node.depth, child.depth + 1)
        if node.size > MAX_EXPANDED:
            raise StudyError(f"{self.of(composed)}: more than {MAX_EXPANDED:,} values once aliases are expanded")
        if node.depth > MAX_DEPTH:
            raise StudyError(f"{self.of(composed)}: nested more than {MAX_DEPTH} levels deep")
