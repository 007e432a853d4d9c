"""Which cells a study's refinement asks for next: its lines as Optuna studies that the sampler is asked on.

The Optuna studies live in memory and are made anew from the store's content each time, so that nothing but this content
decides, and a killed refinement goes on where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from models.cell import Cell, cell_id
from sweeper.refine.lines import Line, points_of
from sweeper.refine.points import Advice, Goal
from sweeper.refine.sampler import OnsetSampler
from sweeper.refine.trials import distributions, trial_at


@dataclass(frozen=True)
class Proposal:
    """What one line's refinement stands at, and the `cells` it asks for next."""

    line: Line
    goal: Goal
    advice: Advice
    cells: tuple[Cell, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "curve": self.line.label,
            "state": self.advice.state,
            "why": self.advice.why,
            "half_width": self.advice.half_width,
            "half_width_wanted": self.goal.half_width,
            "cells": self.advice.used,
            "most_cells": self.goal.cells,
            "next": [{"rho": cell.rho, "seed": cell.seed} for cell in self.cells],
        }


def ask(
    lines: Collection[Line],
    goal: Goal,
    reference: float,
    finished: Mapping[Cell, float | None],
    pending: Collection[Cell],
    failed: Collection[str] = (),
) -> list[Proposal]:
    """The next step of each line.

    finished: the order parameter of each finished cell, None where it diverged; pending: cells that are to be trained
    or in training; failed: ids of cells that are not to be asked for again, though they are neither.
    """
    ended, waiting = points_of(lines, finished), points_of(lines, pending)
    proposals = []
    for line in lines:
        sampler = OnsetSampler(
            line.coarse, goal.half_width, goal.cells, line.axis.name, axis=line.axis, reference=reference
        )
        study = _in_memory(sampler)
        for point, cell in ended[line].items():
            value = finished[cell]
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            study.add_trial(trial_at(point, line.axis, state, value))
        for point in waiting[line]:
            study.add_trial(trial_at(point, line.axis, TrialState.RUNNING))
        proposals.append(Proposal(line, goal, *_asked(study, sampler, line, failed)))
    return proposals


def _in_memory(sampler: OnsetSampler) -> optuna.Study:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(sampler=sampler)
    finally:
        optuna.logging.set_verbosity(before)


def _asked(
    study: optuna.Study, sampler: OnsetSampler, line: Line, failed: Collection[str]
) -> tuple[Advice, tuple[Cell, ...]]:
    """The sampler's advice and its next cells, as many as belong together. A failed one is reported to the sampler, and
    another is asked for in its place."""
    while True:
        advice, cells = sampler.advice(study), []
        for _ in advice.points:
            trial = study.ask(distributions(line.axis))
            cell = line.at((trial.params[line.axis.name], trial.params["seed"]))
            if cell_id(cell) in failed:
                study.tell(trial, state=TrialState.FAIL)
            else:
                cells.append(cell)
        if cells or not advice.points:
            return advice, tuple(cells)
