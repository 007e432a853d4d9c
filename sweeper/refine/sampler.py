"""The proposals as a sampler of Optuna: for a study whose values rise from a floor at an unknown onset, with noise.

Optuna's own samplers look for the largest or smallest value; this one looks for a place, and says when it is known well
enough. A trial is a point of the curve: a parameter `control`, and a parameter `seed` that names the replicate. Where
trials have no such parameter, the k-th of one value of `control` counts as replicate k.

    sampler = OnsetSampler(coarse=itertools.product([0.8, 0.9, 0.95, 1], range(3)), half_width=0.05, trials=60)
    study = optuna.create_study(sampler=sampler)
    while sampler.advice(study).points:
        trial = study.ask()
        study.tell(trial, measure(trial.suggest_float("rho", 0, 1), trial.suggest_int("seed", 0, 1000)))
    sampler.transition(study).onset

`Study.optimize` ends by itself once nothing is left to do. Several workers may ask at a time, and share a storage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import copy
from typing import Any

import numpy as np
import optuna
from numpy.typing import ArrayLike
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from models.cell import nine_digits
from sweeper.analysis.transition import Transition
from sweeper.parameters.control import RHO, Array, Axis
from sweeper.refine.points import Advice, Goal, Point, Points, transition_of
from sweeper.refine.proposal import propose

DONE = ("met", "spent", "stuck")  # states of advice after which nothing follows


class Linear(Axis):
    """A parameter that is its own coordinate, without a physical end: `Linear("temperature", "low", "T", "T")`."""

    @property
    def end(self) -> None:
        """None: the floor is the coarse grid's end."""
        return None

    def coordinate(self, values: ArrayLike) -> Array:
        """x of `values`, (…,) to (…,), ascending away from the floor."""
        return np.asarray(values, dtype=np.float64) * (1 if self.collapsed == "low" else -1)

    def value(self, x: ArrayLike) -> Array:
        """The values at `x`, (…,) to (…,): the inverse of `coordinate`."""
        return self.coordinate(x)


class OnsetSampler(BaseSampler):
    """Suggests points that narrow the interval of an onset.

    Args:
        coarse: points (value of `control`, seed) to begin with. Their seeds are taken at every new value.
        half_width: wanted of the interval of the onset, in the axis's coordinate: 0.05 is 5 % of 1 − ρ.
        trials: most of them, failed and running ones included.
        control, seed: names of the parameters.
        axis: which end of `control` has the floor, and its coordinate; `Linear` for one that is its own.
        reference: value of `control` that counts as far from the floor [the farthest of `coarse`].
    """

    def __init__(
        self,
        coarse: Iterable[Point],
        half_width: float,
        trials: int,
        control: str = "rho",
        seed: str = "seed",
        axis: Axis = RHO,
        reference: float | None = None,
    ):
        self.coarse = [(nine_digits(value), int(number)) for value, number in coarse]
        self.goal = Goal(half_width, trials)
        self.control, self.seed, self.axis = control, seed, axis
        farthest = max((value for value, _ in self.coarse), key=lambda value: float(axis.coordinate(value)))
        self.reference = farthest if reference is None else reference
        self._chosen: dict[int, Point] = {}

    def advice(self, study: optuna.Study) -> Advice:
        """What is to be done next, and whether anything is."""
        return propose(self.points(study.get_trials(deepcopy=False)), self.goal)

    def transition(self, study: optuna.Study) -> Transition:
        """Onset and midpoint as the finished trials have them, or why there are none."""
        return transition_of(self.points(study.get_trials(deepcopy=False)))

    def points(self, trials: Sequence[FrozenTrial]) -> Points:
        """The trials as points of a curve; those without the parameter are none. Its steps are kept to."""
        allowed = None
        values: dict[Point, float | None] = {}
        pending: list[Point] = []
        replicates: Counter[float] = Counter()
        for trial in sorted(trials, key=lambda trial: trial.number):
            if self.control not in trial.params:
                continue
            allowed = allowed or _steps(trial.distributions[self.control])
            value = nine_digits(trial.params[self.control])
            point = (value, int(trial.params.get(self.seed, replicates[value])))
            replicates[value] += 1
            if trial.state.is_finished():
                values[point] = trial.value if trial.state == TrialState.COMPLETE else None
            else:
                pending.append(point)
        return Points(self.coarse, values, pending, self.axis, self.reference, allowed)

    # what Optuna calls ----------------------------------------------------------------------------------------------

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: the two parameters of a trial are chosen together when the first is asked for."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing; see `sample_independent`."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of `control`, or the seed, of the next point. Raises ValueError for any other parameter."""
        if param_name not in (self.control, self.seed):
            raise ValueError(f"{type(self).__name__} knows {self.control!r} and {self.seed!r}, not {param_name!r}")
        self._raise_error_if_multi_objective(study)
        if trial._trial_id not in self._chosen:
            others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
            self._chosen[trial._trial_id] = self._next(self.points(others))
        return self._chosen[trial._trial_id][param_name == self.seed]

    def _next(self, points: Points) -> Point:
        """The next point; where nothing needs to be done, what would narrow the interval further, or a further seed."""
        tighter = Goal(self.goal.half_width / 4, len(points.values) + len(points.pending) + len(self.coarse) + 1)
        for goal in (self.goal, tighter):
            advice = propose(points, goal)
            if advice.points:
                return advice.points[0]
        taken = {*points.values, *points.pending}
        number = next(n for n in range(len(taken) + 1) if any((value, n) not in taken for value, _ in self.coarse))
        return next((value, number) for value, _ in self.coarse if (value, number) not in taken)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """End `Study.optimize` once nothing is left to do."""
        self._chosen.pop(trial._trial_id, None)
        ended = copy(trial)
        ended.state, ended.values = state, values
        trials = [ended if each.number == trial.number else each for each in study.get_trials(deepcopy=False)]
        if propose(self.points(trials), self.goal).state in DONE:
            with suppress(RuntimeError):  # asked and told from outside, where there is no loop to end
                study.stop()


def _steps(distribution: BaseDistribution) -> list[float] | None:
    """The values of a parameter that comes in steps, None for any other."""
    if isinstance(distribution, FloatDistribution | IntDistribution) and distribution.step and not distribution.log:
        count = round((distribution.high - distribution.low) / distribution.step)
        return [distribution.low + number * distribution.step for number in range(count + 1)]
    return None
