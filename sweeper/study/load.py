"""Reading a study: file → tree → overrides → typed sections → cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.cell import CONTINUE, Cell
from models.cell.continuation import branches
from sweeper.errors import StudyError
from sweeper.study.extends import EXTENDS, extended, read_study
from sweeper.study.faults import faults_of
from sweeper.study.schema import StudyFile
from sweeper.study.source import MAX_BYTES
from sweeper.study.study import Study
from sweeper.study.tree import MAX_DEPTH, MAX_EXPANDED, MAX_WRITTEN, Node, parse

GIVEN = "the study given"  # the place of what no file holds


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> Study:
    """The study in the YAML file at `path`, with `overrides` (`train.steps=1000`, `cells.rho=[0.9, 1]`) applied.

    An override's value is YAML and is checked like the file's; on `cells.*` it holds for every grid of the study.
    A file may begin from another: see `sweeper.study.extends`.
    Raises StudyError with all faults at once, each with its place.
    """
    of_a_store = Path(path).with_name("store.json").exists()
    return _study(read_study(path), overrides, of_a_store)


def study_from(study: Study | Mapping[str, Any] | Path | str, overrides: Sequence[str] = ()) -> Study:
    """The study that a program has: a loaded one, a mapping as a study file holds it, the path of a file, or YAML text,
    which is told from a path by a line break or a `{` at its start.

    A mapping and a text extend files relative to the current folder. Raises StudyError, as `load_study`; ValueError
    for overrides of a loaded study.
    """
    if isinstance(study, Study):
        if overrides:
            raise ValueError("overrides are applied when a study is loaded: give its file, its text or a mapping")
        return study
    if isinstance(study, Mapping):
        return _study(extended(_tree(study, 1), Path()), overrides)
    if isinstance(study, str) and ("\n" in study or study.lstrip().startswith("{")):
        return _study(extended(parse(study, GIVEN), Path()), overrides)
    return load_study(study, overrides)


def _tree(value: Any, depth: int) -> Node:
    """A mapping, as a program has it, as a tree whose place is `GIVEN` throughout. Raises StudyError."""
    if depth > MAX_DEPTH:
        raise StudyError(f"{GIVEN}: nested more than {MAX_DEPTH} levels deep")
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy
        value = value.tolist()
    node = Node(value, GIVEN)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise StudyError(f"{GIVEN}: a key should be text, got {key!r}")
        node.value = {key: _tree(each, depth + 1) for key, each in value.items()}
        node.keys = dict.fromkeys(value, GIVEN)
    elif isinstance(value, (list, tuple, range)):
        node.value = [_tree(each, depth + 1) for each in value]
    elif isinstance(value, Path):
        node.value = str(value)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise StudyError(f"{GIVEN}: {value!r} is a {type(value).__name__}, which no study file can hold")
    below = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    node.size = 1 + sum(each.size for each in below)
    if node.size > MAX_EXPANDED:
        raise StudyError(f"{GIVEN}: more than {MAX_EXPANDED:,} values")
    node.depth = 1 + max((each.depth for each in below), default=0)
    return node


def _study(tree: Node, overrides: Sequence[str], of_a_store: bool = False) -> Study:
    """The study of a tree, with overrides applied; `of_a_store`: see `sweeper.study.blocks.joined`."""
    if not isinstance(tree.value, dict):
        raise StudyError(f"{tree.place}: a study is a mapping of name, cells, train, …; see studies/quickstart.yaml")
    faults: list[str] = []
    for override in overrides:
        try:
            _apply(tree, override)
        except StudyError as fault:
            faults += fault.faults
    if EXTENDS in tree.value:  # of a file it is gone by now
        faults.append(f"{tree.keys[EXTENDS]}: {EXTENDS}: only a study file can extend another")
    try:
        file = StudyFile.model_validate(tree.plain(), context={"of_a_store": of_a_store})
    except ValidationError as error:
        raise StudyError(faults_of(error, tree) + faults) from None
    if faults:
        raise StudyError(faults)
    joined: Any = file.cells  # the schema has joined the blocks to a tuple of cells
    cells = _with_branches(joined, file, tree.value["cells"].place)
    blocks = tree.value["cells"].plain()
    study = Study(
        name=file.name,
        question=file.question,
        cells=cells,
        train=file.train,
        evaluation=file.evaluation,
        analysis=file.analysis,
        refine=file.refine,
        run=file.run,
        blocks=tuple(blocks if isinstance(blocks, list) else [blocks]),
    )
    _check_copy(study, tree.value["cells"].place)
    return study


def _with_branches(cells: tuple[Cell, ...], file: StudyFile, place: str) -> tuple[Cell, ...]:
    """The cells, with those that continue from others as branches. Raises StudyError where there can be none."""
    if all(cell.procedure != CONTINUE for cell in cells):
        return cells
    try:
        found = branches(cells, file.train.steps)
    except ValueError as fault:
        raise StudyError(f"{place}: {fault}") from None
    if file.refine is not None:
        raise StudyError(f"{place}: procedure: continue goes through the grid as it is, and cannot be refined")
    if file.train.keep == "none":
        raise StudyError(f"{place}: procedure: continue takes over kept weights: train.keep should not be none")
    return found


def _check_copy(study: Study, place: str) -> None:
    """Raise StudyError where the copy that a store keeps, its aliases written out, could not be read back."""
    copy = study.to_yaml()
    try:
        if len(copy) > MAX_WRITTEN:  # else it has fewer values than that
            parse(copy, place, place)
    except StudyError as fault:
        raise StudyError(f"{fault} (with aliases written out, as the store keeps it)") from None
    if len(copy.encode()) > MAX_BYTES:
        raise StudyError(f"{place}: larger than {MAX_BYTES:,} bytes with aliases written out, as the store keeps it")


def _apply(tree: Node, override: str) -> None:
    """Set one `section.key=value` in the tree; its faults will be placed as `--set section.key=value`."""
    place = f"--set {override if len(override) <= 60 else override[:57] + '…'}"
    key, equals, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names) or len(names) > 2:
        raise StudyError(f"{place}: should be key=value or section.key=value, as in train.steps=1000")
    value = parse(text, place, place)
    parents = [tree]
    if len(names) == 2:
        section = tree.value.setdefault(names[0], Node({}, place))
        tree.keys.setdefault(names[0], place)
        parents = section.value if isinstance(section.value, list) else [section]
    for parent in parents:
        if isinstance(parent.value, str) and len(names) == 2:
            raise StudyError(f"{place}: {names[0]} is a text, it has no {names[1]}")
        if isinstance(parent.value, dict):  # what is not is a fault of the file, reported with the others
            parent.value[names[-1]] = value
            parent.keys[names[-1]] = place
