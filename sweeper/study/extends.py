"""Studies that begin from another: `extends: other.yaml`. Files become one tree, whose values keep their places.

The file and its sections (`cells`, `train`, …) merge key by key, and what the extending file says stands. All else
replaces what it stands over: values, lists, ranges, and a list of blocks the `cells` of the other file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.study.source import MAX_BYTES, read_tree
from sweeper.study.tree import MAX_EXPANDED, Node

EXTENDS = "extends"
MAX_FILES = 10  # of a chain
MERGED_LEVELS = 2  # the file and its sections; below are values, a range {from, to, …} among them


def read_study(path: Path | str) -> Node:
    """The tree of the study file at `path`, merged with what it extends. Raises StudyError, as `read_tree` does too."""
    path = Path(path)
    return extended(read_tree(path), path.parent, (path,))


def extended(tree: Node, folder: Path, files: Sequence[Path] = ()) -> Node:
    """`tree` merged with what it extends, without `extends`. `folder`: the one that its paths are relative to; `files`:
    the file that it was read from.

    Raises StudyError where a file of the chain cannot be read, is in it twice, or the chain passes a limit.
    """
    chain, read = [tree], list(files)
    while isinstance(tree.value, dict) and EXTENDS in tree.value:
        node = tree.value[EXTENDS]
        path = _base(node, folder, read)
        tree, folder = _read(path, node), path.parent
        chain.append(tree)
        read.append(path)
        if sum(_size(each) for each in read) > MAX_BYTES:
            raise StudyError(f"{node.place}: {EXTENDS}: larger than {MAX_BYTES:,} bytes with all that it extends")
    merged = _without(chain.pop())
    while chain:
        merged = _over(merged, _without(chain.pop()), MERGED_LEVELS)
    return merged


def _base(node: Node, folder: Path, read: Sequence[Path]) -> Path:
    """The path that an `extends` names."""
    if not isinstance(node.value, str) or not node.value:
        raise StudyError(f"{node.place}: {EXTENDS}: should be the path of a study file, as in extends: other.yaml")
    path = folder / os.path.expanduser(node.value)
    seen = [*read, path]
    if any(os.path.realpath(path) == os.path.realpath(each) for each in read):
        raise StudyError(f"{node.place}: {EXTENDS}: a study cannot extend itself: {' → '.join(map(str, seen))}")
    if len(seen) > MAX_FILES:
        raise StudyError(f"{node.place}: {EXTENDS}: more than {MAX_FILES} files that extend each other")
    return path


def _read(path: Path, node: Node) -> Node:
    """The tree of a file that is extended; a fault that has no place in it is one of the line that names it."""
    if path.exists() and not path.is_file():
        raise StudyError(f"{node.place}: {EXTENDS}: {path} is no file")
    try:
        tree = read_tree(path)
    except StudyError as fault:
        if fault.faults[0].startswith(f"{path}: "):
            raise StudyError(f"{node.place}: {EXTENDS}: {fault}") from None
        raise
    if not isinstance(tree.value, dict):
        raise StudyError(f"{tree.place}: a study is a mapping of name, cells, train, …, also where another extends it")
    return tree


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone since it was read
        return 0


def _without(tree: Node) -> Node:
    """The tree without its `extends`."""
    if not isinstance(tree.value, dict) or EXTENDS not in tree.value:
        return tree
    return _mapping(tree, {k: v for k, v in tree.value.items() if k != EXTENDS}, dict(tree.keys))


def _over(base: Node, own: Node, levels: int) -> Node:
    """`own` laid over `base`. Neither is changed: an alias may hold them too."""
    if not levels or not isinstance(base.value, dict) or not isinstance(own.value, dict):
        return own
    value = dict(base.value)
    for key, node in own.value.items():
        value[key] = _over(value[key], node, levels - 1) if key in value else node
    return _mapping(own, value, base.keys | own.keys)


def _mapping(place: Node, value: dict[str, Node], keys: dict[str, str]) -> Node:
    """A mapping that stands at the place of another. Raises StudyError if it is too large."""
    size = 1 + sum(node.size for node in value.values())
    if size > MAX_EXPANDED:
        raise StudyError(f"{place.place}: more than {MAX_EXPANDED:,} values with all that it extends")
    depth = 1 + max((node.depth for node in value.values()), default=0)
    return Node(value, place.place, {key: keys[key] for key in value}, size, depth)
