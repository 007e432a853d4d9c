"""Where a curve passes a level, between two of its points: known answers, and curves of which the truth is known."""

import numpy as np
import pytest
from scipy.optimize import brentq

from sweeper.analysis.monotone import Monotone


def crossing(x, values, level):
    return Monotone.of(np.array(x, dtype=float), np.array(values, dtype=float)).crossing(level)


def test_a_straight_line_leaves_nothing_open():
    found = crossing([0, 1, 2, 3], [0, 2, 4, 6], 3)
    assert (found.low, found.high, found.first, found.last) == (1, 2, 1.5, 1.5)
    assert found.share == pytest.approx(1 / 3)


def test_a_kink_lies_between_the_chord_and_its_own_place():
    """0 up to x = 1.5, then slope 2: the level 0.5 is passed at 1.75; the chord from (1, 0) to (2, 1) passes it at
    1.5."""
    found = crossing([0, 1, 2, 3], [0, 0, 1, 3], 0.5)
    assert (found.first, found.last) == (pytest.approx(1.5), pytest.approx(1.75))
    down = crossing([0, 1, 2, 3], [0, 2, 3, 3], 2.5)  # the same, bent downward: slope 2 up to x = 1.5
    assert (down.first, down.last) == (pytest.approx(1.25), pytest.approx(1.5))


def test_of_a_jump_the_whole_gap_stays_open():
    found = crossing([0, 1, 2, 3], [0, 0, 5, 5], 1)
    assert (found.first, found.last, found.share) == (1, 2, 1)


def test_of_a_jump_on_a_slope_the_slope_counts():
    """Slope 1 on both sides and a jump of 4: the level 2 of (1, 1) to (2, 6) is passed at once or at x = 2."""
    found = crossing([0, 1, 2, 3], [0, 1, 6, 7], 2)
    assert (found.first, found.last) == (1, 2)
    found = crossing([0, 1, 2, 3], [0, 1, 6, 7], 5.5)  # a jump at the start leaves 0.5 to rise
    assert (found.first, found.last) == (pytest.approx(1.5), 2)


def test_beyond_the_first_point_only_a_bound_is_known():
    found = crossing([-np.inf, 0, 1], [0, 5, 9], 3)
    assert found.low == -np.inf and found.first == found.last == found.high == 0
    assert crossing([0, 1, 2], [1, 2, 3], 0.5).high == 0


@pytest.mark.parametrize("bent", ["upward", "downward"])
def test_a_curve_bent_one_way_passes_within_the_ends(bent):
    """Random sums of hinges and exponentials on random grids, 300 of each: the truth always lies between."""
    rng = np.random.default_rng(len(bent))
    for _ in range(300):
        kinks, slopes = rng.uniform(-1, 5, size=3), rng.exponential(size=3)

        def convex(x, kinks=kinks, slopes=slopes):
            return float(slopes @ np.maximum(x - kinks, 0) + 0.1 * np.exp(0.5 * x))

        def curve(x, convex=convex):
            return convex(x) if bent == "upward" else 20 - convex(5 - x)

        grid = np.sort(rng.uniform(0, 5, size=6))
        values = np.array([curve(x) for x in grid])
        level = rng.uniform(values[1], values[4])
        found = crossing(grid, values, level)
        truth = brentq(lambda x, curve=curve, level=level: curve(x) - level, 0, 5, xtol=1e-12)
        assert found.first - 1e-9 <= truth <= found.last + 1e-9


def test_noise_moves_the_ends_little():
    """The ends are continuous in the values, also where one case passes into another."""
    rng = np.random.default_rng(0)
    for base in ([0, 2, 4, 6], [0, 0, 2, 4], [0, 2, 4, 4], [0, 1, 3, 5], [0, 2, 3, 5]):
        for _ in range(50):
            one, other = (crossing([0, 1, 2, 3], base + 1e-7 * rng.normal(size=4), 2.5) for _ in range(2))
            assert abs(one.first - other.first) < 1e-5 and abs(one.last - other.last) < 1e-5
