"""Reading a study: file → tree → overrides → typed sections → cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.cell import CONTINUE, Cell
from models.continuation import branches
from sweeper.errors import StudyError
from sweeper.study.faults import faults_of
from sweeper.study.schema import StudyFile
from sweeper.study.source import MOST_BYTES, MOST_WRITTEN, Node, parse, read_tree
from sweeper.study.study import Study


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> Study:
    """The study in the YAML file at `path`, with `overrides` (`train.steps=1000`, `cells.rho=[0.9, 1]`) applied.

    An override's value is YAML and is checked like the file's; on `cells.*` it holds for every grid of the study.
    Raises StudyError with all faults at once, each with its place.
    """
    tree = read_tree(path)
    if not isinstance(tree.value, dict):
        raise StudyError(f"{tree.place}: a study is a mapping of name, cells, train, …; see studies/quickstart.yaml")
    faults: list[str] = []
    for override in overrides:
        try:
            _apply(tree, override)
        except StudyError as fault:
            faults += fault.faults
    try:
        file = StudyFile.model_validate(tree.plain(), context={})
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
        if len(copy) > MOST_WRITTEN:  # else it has fewer values than that
            parse(copy, place, place)
    except StudyError as fault:
        raise StudyError(f"{fault} (with aliases written out, as the store keeps it)") from None
    if len(copy.encode()) > MOST_BYTES:
        raise StudyError(f"{place}: larger than {MOST_BYTES:,} bytes with aliases written out, as the store keeps it")


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
