"""The critical value on planted curves: what its 95 % interval holds, and what it does where there is no transition.

Each runs 200 replicates by default and 2,000 with `-m slow` (`-s` prints the numbers of docs/transition.md). A limit is
what a method that just meets the requirement passes 99 times in 100, from the binomial distribution.
"""

import pytest
from scipy.stats import binom

from tests.sweeper.known_answers import FAMILIES, WITHOUT, alarms, coverage, told

REPLICATES = [200, pytest.param(2000, marks=pytest.mark.slow)]
SEEDS = (3, 5, 10)


def at_least(share: float, replicates: int) -> int:
    """Fewest successes of a method whose rate of success is `share`, 99 times in 100."""
    return int(binom.ppf(0.01, replicates, share))


def at_most(share: float, replicates: int) -> int:
    """Most successes of a method whose rate of success is `share`, 99 times in 100."""
    return int(binom.ppf(0.99, replicates, share))


@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_interval_holds_the_planted_place(family, seeds, replicates):
    """Where the estimand is the family's own: raw 93–97 %, widened to half a grid step at least 93 %."""
    found = coverage(family, FAMILIES[family][2], seeds, replicates)
    print(f"\n{family}, {FAMILIES[family][2]}, {seeds} seeds: {found}")
    assert found.refused <= replicates // 200
    assert at_least(0.93, replicates) <= found.raw <= at_most(0.97, replicates)
    assert found.wide >= at_least(0.93, replicates)
    assert found.error < 0.02  # a tenth of the grid's step


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kind"), [("broken", "midpoint"), ("onset", "midpoint"), ("logistic", "onset")])
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_holds_the_other_estimand_too(family, kind, seeds):
    """Midpoint of an onset, onset of a logistic: at least 92 %."""
    found = coverage(family, kind, seeds, 2000)
    print(f"\n{family}, {kind}, {seeds} seeds: {found}")
    assert found.refused <= 10 and found.raw >= at_least(0.92, 2000)


@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("name", WITHOUT)
def test_no_transition_gives_no_number(name, replicates):
    """At 3, 5 and 10 seeds at most 5 % false alarms."""
    for seeds in SEEDS:
        found = alarms(name, seeds, replicates)
        print(f"\n{name}, {seeds} seeds: {found} of {replicates}")
        assert found <= at_most(0.05, replicates)


@pytest.mark.parametrize(
    ("seeds", "replicates"), [(3, 200), *(pytest.param(seeds, 2000, marks=pytest.mark.slow) for seeds in SEEDS)]
)
@pytest.mark.parametrize("family", ["onset", "logistic"])
def test_onset_is_told_from_logistic(family, seeds, replicates):
    """By Akaike weight, in at least 98 %."""
    found = told(family, seeds, replicates)
    print(f"\n{family} told from the other, {seeds} seeds: {found} of {replicates}")
    assert found >= at_least(0.98, replicates)
