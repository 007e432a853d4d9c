"""Where some seeds have collapsed and others have not, the report says how many."""

import numpy as np

from sweeper.analysis.report import Report
from sweeper.analysis.split import alive, split_sentence, splits
from sweeper.analysis.tables import points_table
from tests.sweeper.planted_curves import even_grid, planted_curve, step_function


def test_seeds_on_either_side_of_a_jump_are_counted():
    """Jumps at u = .03, .03, .05 and .08: between, a point has some seeds on either level."""
    curve = planted_curve([0.03, 0.03, 0.05, 0.08], step_function, even_grid(0.1))
    found = splits(curve)
    u = np.array([1 - each.value for each in found])
    assert ((u > 0.03) & (u < 0.08)).all() and [each.alive for each in found] == [3 if v > 0.05 else 2 for v in u]
    assert {each.seeds for each in found} == {4}
    table = points_table([curve]).set_index("rho")["alive"]
    assert table[found[0].value] == 0.75 and table[curve.control.min()] == 1 and table[1.0] == 0
    words = split_sentence(curve)
    assert words.startswith(f"seeds are split: 3 of 4 are alive at ρ = {found[0].value:.6g}, ") and "2 of 4 at" in words
    assert f"{curve.label}: {words}" in Report("planted", "kl_top", [curve]).headline()


def test_seeds_that_fall_gradually_are_not_split():
    curve = planted_curve([0.03, 0.031, 0.032], rho=even_grid(0.1))
    assert splits(curve) == [] and split_sentence(curve) is None
    assert 0 <= alive(curve, len(curve.control) // 2) <= 1


def test_without_a_floor_nothing_is_said():
    curve = planted_curve([1e-9, 1e-9, 1e-9], rho=even_grid(0.1))
    assert curve.transition.floor is None or split_sentence(curve) is None


def test_two_seeds_are_too_few():
    curve = planted_curve([0.03, 0.08], step_function, even_grid(0.1))
    assert splits(curve) == []
