"""A loaded study: its cells and settings, frozen and checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from models.cell import Cell
from models.cell.registry import find
from models.evaluation.settings import Evaluation
from sweeper.study.analysis import Analysis
from sweeper.study.scalars import flow
from sweeper.study.schema import SECTIONS
from sweeper.study.sections import EvaluationSection, Refine, Run, Train


@dataclass(frozen=True)
class Study:
    """What a study file asks for. Two studies are equal if they ask for the same, however it is written.

    `cells` are canonical (`Cell.canonical`), each once, in an order that depends on the grids' order of values but not
    on the order of keys. `blocks` are the grids as written (overrides included), for `to_yaml` and `diff`.
    """

    name: str
    question: str
    cells: tuple[Cell, ...] = field(repr=False)
    train: Train
    evaluation: EvaluationSection
    analysis: Analysis
    refine: Refine | None
    run: Run
    blocks: tuple[Mapping[str, Any], ...] = field(repr=False, compare=False)

    @property
    def steps(self) -> int:
        """Training steps asked of every cell."""
        return self.train.steps

    def evaluation_settings(self, data: str) -> Evaluation:
        """The settings of the final evaluation of cells of this data set, as `models` takes them."""
        settings = Evaluation(**{f.name: getattr(self.evaluation, f.name) for f in fields(Evaluation)})
        return settings.on(getattr(find("data", data), settings.split) or sys.maxsize)

    @property
    def image_choice_open(self) -> bool:
        """Whether the study leaves it open which images are evaluated."""
        return bool(self.evaluation.images) and "image_choice" not in self.evaluation.model_fields_set

    def with_image_choice(self, choice: str) -> Study:
        """The same study with `evaluation.image_choice` as given."""
        return replace(self, evaluation=self.evaluation.model_copy(update={"image_choice": choice}))

    def to_yaml(self) -> str:
        """The study as a study file, overrides and the sections' defaults written out. Loads to an equal study."""
        lines = []
        for key, value in self._resolved().items():
            if key == "cells":
                lines.append("cells:")
                for block in self.blocks:
                    entries = [f"  {name}: {flow(grid)}" for name, grid in block.items()]
                    if len(self.blocks) > 1:
                        entries[0] = f"- {entries[0][2:]}"
                    lines += entries
            else:
                lines.append(f"{key}: {flow(value)}")
        return "\n".join(lines) + "\n"

    def _resolved(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "question": self.question,
            "cells": self.blocks,
            **{name: part.plain() for name in SECTIONS if (part := getattr(self, name)) is not None},
        }

    def diff(self, other: Study) -> list[str]:
        """What changed from this study to `other`, one line per change, as `train.steps: 1000 → 2000`; else empty."""
        lines = []
        before, after = self._resolved(), other._resolved()
        for key in dict.fromkeys([*before, *after]):
            if key == "cells":
                lines += self._diff_cells(other)
            elif key in SECTIONS:
                lines += _changes(f"{key}.", before.get(key, {}), after.get(key, {}))
            else:
                lines += _changes("", {key: before[key]}, {key: after[key]})
        return lines

    def _diff_cells(self, other: Study) -> list[str]:
        if self.cells == other.cells:
            return []
        lines: list[str] = []
        if len(self.blocks) == len(other.blocks):
            for number, (mine, theirs) in enumerate(zip(self.blocks, other.blocks, strict=True), 1):
                prefix = "cells." if len(self.blocks) == 1 else f"cells, grid {number}: "
                lines += _changes(prefix, mine, theirs)
        added, removed = set(other.cells) - set(self.cells), set(self.cells) - set(other.cells)
        counts = f"cells: {len(self.cells)} → {len(other.cells)} ({len(added)} added, {len(removed)} removed)"
        return [*lines, counts if added or removed else "cells: the same, in another order"]


def _changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    absent = object()
    return [
        f"{prefix}{key}: {_text(before, key)} → {_text(after, key)}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key, absent) != after.get(key, absent)
    ]


def _text(values: Mapping[str, Any], key: str) -> str:
    return flow(values[key]) if key in values else "(not given)"
