"""The critical value on planted curves: what its 95 % interval holds, and what it does where there is no transition.

Each runs few replicates by default and many with `-m slow`. A limit is what a method that just meets the requirement
passes 99 times in 100, from the binomial distribution.
"""

import pytest
from scipy.stats import binom

from tests.sweeper.known_answers import GRIDS, SCENARIOS, WITHOUT, alarms, coverage, told

REPLICATES = [100, pytest.param(2000, marks=pytest.mark.slow)]
SEEDS = (3, 5, 10)


def at_least(share: float, replicates: int) -> int:
    """Fewest successes of a method whose rate of success is `share`, 99 times in 100."""
    return int(binom.ppf(0.01, replicates, share))


def at_most(share: float, replicates: int) -> int:
    """Most successes of a method whose rate of success is `share`, 99 times in 100."""
    return int(binom.ppf(0.99, replicates, share))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_interval_holds_the_planted_place(name, grid):
    """In at least 93 % the interval holds it, or there is no number for the right reason; 3 seeds, 40 replicates."""
    found = coverage(name, grid, 3, 40)
    assert found.covered + found.right >= at_least(0.93, 40)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_interval_holds_the_planted_place_in_500(name, grid, seeds):
    """The same with 500 replicates at 3, 5 and 10 seeds; `-s` prints the rows of the table in docs/transition.md."""
    found = coverage(name, grid, seeds, 500)
    print(f"\n{name} | {grid} | {seeds} | {found}")
    assert found.covered + found.right >= at_least(0.93, 500)


@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("name", WITHOUT)
def test_no_transition_gives_no_number(name, replicates):
    """At 3, 5 and 10 seeds at most 5 % false alarms."""
    for seeds in SEEDS:
        found = alarms(name, seeds, replicates)
        print(f"\n{name}, {seeds} seeds: {found} of {replicates}")
        assert found <= at_most(0.05, replicates)


@pytest.mark.parametrize(
    ("seeds", "replicates"), [(3, 50), *(pytest.param(seeds, 2000, marks=pytest.mark.slow) for seeds in SEEDS)]
)
@pytest.mark.parametrize("family", ["onset", "logistic"])
def test_onset_is_told_from_logistic(family, seeds, replicates):
    """By Akaike weight, in at least 98 %."""
    found = told(family, seeds, replicates)
    print(f"\n{family} told from the other, {seeds} seeds: {found} of {replicates}")
    assert found >= at_least(0.98, replicates)
