"""Cells as trials of Optuna studies: one study per line, one trial per cell, with parameters control and seed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from models.cell import RANGES
from sweeper.parameters.control import Axis
from sweeper.refine.points import Point

LARGEST_SEED = 2**53  # Optuna keeps whole numbers as floating-point ones


def distributions(axis: Axis) -> dict[str, BaseDistribution]:
    """The ranges of the two parameters."""
    low, high, _ = RANGES[axis.name]
    return {axis.name: FloatDistribution(low, high), "seed": IntDistribution(0, LARGEST_SEED)}


def trial_at(
    point: Point,
    axis: Axis,
    state: TrialState,
    value: float | None = None,
    attributes: Mapping[str, Any] | None = None,
    curve: Mapping[int, float] | None = None,
    times: tuple[datetime, datetime] | None = None,
) -> FrozenTrial:
    """The trial of a cell. `curve`: its value by step, along the way; `times`: when it began and ended."""
    trial = create_trial(
        state=state,
        value=value,
        params={axis.name: point[0], "seed": point[1]},
        distributions=distributions(axis),
        user_attrs=dict(attributes or {}),
        intermediate_values=dict(curve or {}),
    )
    if times is not None:
        trial.datetime_start, trial.datetime_complete = times
    return trial
