"""Onset and midpoint on curves whose place is known, and the reason where there is none."""

import numpy as np
import pytest

from sweeper.analysis import shapes
from sweeper.analysis.critical import find_transition
from sweeper.analysis.shapes import fit_shapes, mean_weights
from sweeper.analysis.transition import FRACTIONS
from tests.sweeper.synthetic import GRID, broken, logistic, onset, planted, sample

SHAPES = {"broken": (broken, 0.05), "onset": (onset, 0.045), "logistic": (logistic, 0.085)}

# Top KL measured on trained models (means over seeds), and u where it is 10 % of the way up, read off at the time.
MEASURED = {
    "digits 3×10, 6000 steps": (
        [0.7, 0.8, 0.9, 0.93, 0.96, 0.98, 0.99, 1], [8.8, 7.9, 6.1, 5.1, 3.6, 0.98, 0.27, 0.10], 0.018,
    ),
    "MNIST 4×40, 2000 steps": ([0.8, 0.9, 0.95, 0.97, 0.99, 1], [17.6, 9.8, 2.9, 1.6, 0.93, 0.77], 0.042),
    "MNIST 4×40, 6000 steps": ([0.8, 0.9, 0.95, 0.97, 0.99, 1], [20.7, 13.4, 1.31, 0.38, 0.25, 0.21], 0.053),
    "OMNIGLOT 4×40, 2000 steps": ([0.8, 0.9, 0.95, 0.97, 0.99, 1], [18.0, 9.9, 2.6, 1.3, 0.90, 0.76], 0.048),
    "OMNIGLOT 4×40, 4000 steps": ([0.8, 0.9, 0.95, 0.97, 0.99, 1], [20.1, 12.4, 1.8, 0.62, 0.40, 0.34], 0.052),
}  # fmt: skip


def three(values):
    """Three seeds that scatter a little around one curve."""
    return np.array(values) * np.array([[0.99], [1.0], [1.01]])


@pytest.mark.parametrize("name", MEASURED)
def test_onset_of_measured_curves(name):
    """Within 7 % in u of what was read off along chords, less than a quarter of a grid step: the rising tail of a real
    curve must not lift the floor."""
    rho, values, u = MEASURED[name]
    found = find_transition(rho, three(values), 0.8).onset
    assert found.reason is None
    assert 1 - found.value == pytest.approx(u, rel=0.07)


@pytest.mark.parametrize("kind", FRACTIONS)
@pytest.mark.parametrize("name", SHAPES)
def test_planted_place_is_found(name, kind):
    """Small noise (0.5 % of the drop), five seeds: log u within 0.06, about a third of the grid's step."""
    shape, u_c = SHAPES[name]
    values = sample(shape, u_c, 5, 0.005, 0.01, np.random.default_rng(1))
    found = getattr(find_transition(GRID, values, 0.8), kind)
    truth = planted(shape, u_c, FRACTIONS[kind])
    assert abs(np.log((1 - found.value) / (1 - truth))) < 0.06
    assert found.low_wide <= found.low <= found.value <= found.high <= found.high_wide < 1
    assert found.low_wide < truth < found.high_wide
    assert found.seeds == (0, 1, 2, 3, 4) and len(found.per_seed) == 5


def test_order_of_points_and_scale_of_values_do_not_matter():
    values = sample(broken, 0.05, 3, 0.01, 0.03, np.random.default_rng(2))
    turned = np.random.default_rng(0).permutation(len(GRID))
    once, again = find_transition(GRID, values), find_transition(GRID[turned], 1000 * values[:, turned])
    assert again.onset.value == pytest.approx(once.onset.value, abs=1e-12)
    assert again.midpoint.low == pytest.approx(once.midpoint.low, abs=1e-12)


def test_interval_is_t_over_seeds_in_log_u():
    """Straight lines from a seed's own kink, far below the level: nothing is left open between grid points."""
    rho = np.append(1 - np.geomspace(0.2, 0.01, 41), 1.0)
    kinks = np.log(0.02) + np.array([-0.015, 0.0, 0.015])
    with np.errstate(divide="ignore"):
        values = np.maximum(np.log(np.round(1 - rho, 12)) - kinks[:, None], 0)
    found = find_transition(rho, values).onset
    places = 0.9 * kinks + 0.1 * np.log(0.2)
    half = 4.302652730 * places.std(ddof=1) / np.sqrt(3)
    assert np.log(1 - found.value) == pytest.approx(places.mean(), abs=1e-9)
    assert np.log((1 - found.low_smooth) / (1 - found.value)) == pytest.approx(half, abs=1e-6)
    assert np.log((1 - found.high_smooth) / (1 - found.value)) == pytest.approx(-half, abs=1e-6)
    assert 1 - np.array(found.per_seed) == pytest.approx(np.exp(places), abs=1e-9)


def test_interval_holds_what_the_grid_leaves_open():
    """Hand-made: 0 up to u = 0.05, then a straight line, so a kink at a grid point: interpolation leaves nothing open,
    but nothing is taken for granted, so the interval is the gap."""
    rho = 1 - np.array([0.2, 0.1, 0.05, 0.025, 0.0])
    values = np.array([[0.9], [1.0], [1.1]]) * [10, 5, 0, 0, 0]
    found = find_transition(rho, values).onset
    assert np.log((1 - found.value) / 0.05) == pytest.approx(0.2 * np.log(2), abs=1e-9)
    assert (found.low_smooth, found.high_smooth) == (pytest.approx(found.value), pytest.approx(found.value))
    assert (found.low, found.high) == (pytest.approx(0.9), pytest.approx(0.95)) and found.resolved
    assert (found.low_gap, found.high_gap, found.low_wide, found.high_wide) == pytest.approx((0.9, 0.95, 0.9, 0.95))


def test_seeds_that_jump_within_one_step_give_its_bracket():
    """Three seeds that jump at 0.9405, 0.9450 and 0.9495: interpolation puts all of them at 0.9466."""
    u = np.round(1 - GRID, 12)
    values = np.where(u > np.array([[0.0595], [0.055], [0.0505]]), 6.9 + 12 * np.log(u.clip(0.05) / 0.06).clip(0), 0.3)
    found = find_transition(GRID, values).onset
    assert (found.low, found.high, found.resolved) == (pytest.approx(0.94), pytest.approx(0.95), False)
    assert found.value == pytest.approx(1 - np.sqrt(0.05 * 0.06))
    assert found.warnings == ("the drop lies within one step of the grid, 0.94–0.95",)


def test_the_mnist_curve_of_three_seeds():
    """Means over seeds as trained (40-40-40-40, 10,000 steps): on the coarse grid a bracket, on the dense one a number
    in it, which the coarse grid's interpolation, 0.9467 [0.9457, 0.9478], missed."""
    coarse = {0.8: 21.5, 0.87: 17.0, 0.905: 13.4, 0.92: 11.4, 0.93: 9.7, 0.94: 7.0, 0.95: 0.34, 0.96: 0.25, 0.98: 0.16,
              1: 0.13}  # fmt: skip
    dense = coarse | {0.9425: 5.5, 0.944: 4.3, 0.9455: 1.6, 0.947: 0.54, 0.9485: 0.39}
    rough = find_transition(list(coarse), three(list(coarse.values()))).onset
    assert not rough.resolved and (rough.low, rough.high) == (pytest.approx(0.94), pytest.approx(0.95))
    fine = find_transition(list(dense), three(list(dense.values()))).onset
    assert 0.944 <= fine.low < fine.value < fine.high <= 0.9475 and abs(fine.value - 0.9451) < 0.0006


def test_other_conventions_stand_beside_the_onset():
    values = sample(broken, 0.05, 3, 0.0, 0.01, np.random.default_rng(3))
    found = find_transition(GRID, values)
    nearer, farther = found.band
    assert farther < found.onset.value < nearer and found.other_reference == 0.9 - 0.01
    assert found.other_onset == find_transition(GRID, values, 0.89).onset.value != found.onset.value
    assert found.collapsed == (1.0, 0.98, 0.96, 0.95) or found.collapsed == (1.0, 0.98, 0.96)


def test_reference_between_grid_points_is_interpolated():
    values = sample(broken, 0.05, 3, 0.0, 0.01, np.random.default_rng(3))
    keep = GRID != 0.8
    exact, between = find_transition(GRID, values, 0.8), find_transition(GRID[keep], values[:, keep], 0.8)
    assert between.height == pytest.approx(exact.height, abs=1e-9)  # a broken line is straight there
    assert between.onset.value == pytest.approx(exact.onset.value, abs=1e-6)


def test_stronger_smoothing_than_the_reference_has_no_say():
    values = sample(broken, 0.05, 3, 0.005, 0.02, np.random.default_rng(4))
    rho = np.append(GRID, [0.5, 0.3])
    falling = np.hstack([values, np.tile([3.0, 0.1], (3, 1))])
    assert find_transition(rho, falling).onset == find_transition(GRID, values).onset


def test_missing_and_diverged_cells_are_counted():
    values = sample(broken, 0.05, 3, 0.005, 0.02, np.random.default_rng(5))
    diverged = np.zeros(values.shape, bool)
    diverged[0, 3] = True
    values[0, 3], values[1, 5], values[2, 6] = 1e9, np.nan, np.inf
    found = find_transition(GRID, values, diverged=diverged).onset
    assert (found.n_diverged, found.n_missing) == (1, 2)
    assert found.value == pytest.approx(planted(broken, 0.05, 0.1), abs=0.005)


def reason(rho, values, **more):
    transition = find_transition(rho, values, **more)
    assert transition.onset.value is None and transition.onset.low_wide is None and transition.onset.per_seed == ()
    return transition.onset.reason


def test_reasons_for_no_number():
    """Each refusal names its cause."""
    good = sample(broken, 0.05, 3, 0.005, 0.02, np.random.default_rng(6))
    assert reason(GRID, good + 1.4).startswith("no collapsed floor")  # as two layers end, at 1.4 nats
    assert reason(GRID, good[:2]).startswith("fewer than 3 usable seeds: 2 of 2")
    lacking = good.copy()
    lacking[1, GRID == 1] = np.nan
    assert reason(GRID, lacking).startswith("fewer than 3 usable seeds: 2 of 3")
    assert reason(GRID, good, reference=0.5).startswith("reference outside the grid")
    assert reason([1.0], good[:, :1]).startswith("reference outside the grid")
    assert reason(GRID, np.full((3, len(GRID)), 0.5)).startswith("flat curve")
    late = sample(broken, 0.012, 3, 0.005, 0.02, np.random.default_rng(7))
    assert reason(GRID, late).startswith("a bound only: the onset lies above ρ = 0.98, the last point before 1")
    coarse = np.array([0.8, 0.9, 0.95, 0.99, 1])
    early = np.tile([10.0, 0.1, 0.1, 0.1, 0.1], (3, 1)) * [[0.99], [1], [1.01]]
    assert reason(coarse, early).startswith("at the grid's edge: the onset lies next to ρ = 0.8")
    rising = three(10 * ((1 - GRID) / 0.2) ** 1.2)
    assert reason(GRID, rising).startswith("no floor: between ρ = 0.98 and ρ = 1 the order parameter still falls")
    few = three([20, 12, 8, 4, 0.1])
    assert reason([0.8, 0.85, 0.9, 0.95, 0.97], few).startswith("fewer than 2 grid points below the onset")


def test_a_curve_that_is_not_monotone_has_no_number():
    """A term of a middle layer that falls to −9 and comes back, and a curve that peaks in the middle."""
    rho = [0.8, 0.84, 0.87, 0.89, 0.905, 0.92, 0.93, 0.94, 0.95, 0.96, 0.98, 1]
    dip = [0.2, -2, -4, -6, -8, -9, -8.5, -7, -2, -1, -0.3, -0.1]
    assert reason(rho, three(dip)).startswith(
        "not monotone: from -0.1 at ρ = 1 the order parameter falls to -9 at ρ = 0.92"
    )
    peak = [5, 7, 9, 11, 12, 11, 10, 7, 0.3, 0.25, 0.2, 0.2]
    assert reason(rho, three(peak)).startswith(
        "not monotone: from 12 at ρ = 0.905 the order parameter falls to 5 at ρ = 0.8"
    )


def test_seeds_of_very_different_heights_are_not_flat():
    u = np.round(1 - GRID, 12)
    values = broken(u, 0.05) * np.array([[4.4], [10], [17]]) / 12.7 + 0.01
    assert find_transition(GRID, values).onset.value == pytest.approx(planted(broken, 0.05, 0.1), abs=0.003)


def test_a_reference_too_near_is_said_to_be():
    """At ρ = 0.94 the curve has risen by 1.8 nats only; farther away the floor is small beside it."""
    values = sample(broken, 0.05, 3, 0.001, 0.01, np.random.default_rng(6))
    said = reason(GRID, values, reference=0.94)
    assert said.startswith("reference too near the transition: 1.8") and said.endswith("take ρ = 0.92")


def test_seeds_in_two_modes_have_no_number_and_one_apart_is_named():
    u = np.round(1 - GRID, 12)
    values = np.stack([broken(u, u_c) for u_c in (0.04, 0.041, 0.06, 0.061)])
    assert reason(GRID, values).startswith("seeds in two modes: seeds 0, 1 at ρ = 0.95")
    found = find_transition(GRID, np.stack([broken(u, u_c) for u_c in (0.04, 0.041, 0.042, 0.061)]), seeds=[5, 6, 7, 8])
    assert found.onset.value is not None
    (warning,) = found.onset.warnings
    assert warning.startswith("one seed lies apart: ") and "seed 8 at ρ = 0.93" in warning


@pytest.mark.parametrize("values", [np.ones((3, 2)), np.ones(3)])
def test_wrong_shapes_are_errors(values):
    with pytest.raises(ValueError, match="shape"):
        find_transition([0.8, 0.9, 1.0], values)
    with pytest.raises(ValueError, match="distinct"):
        find_transition([0.9, 0.9], np.ones((3, 2)))


@pytest.mark.parametrize("name", SHAPES)
def test_the_planted_family_is_told_from_the_others(name):
    """Fine grid, noise 1 % of the drop: the heaviest weight is the planted family's, its own critical ρ near."""
    shape, u_c = SHAPES[name]
    rho = np.append(1 - np.geomspace(0.2, 0.01, 24), 1.0)
    values = sample(shape, u_c, 3, 0.01, 0.01, np.random.default_rng(10), rho)
    fits = [fit_shapes(rho, row, 0.8) for row in values]
    weights = mean_weights(fits)
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights, key=weights.get) == name
    place = np.mean([np.log(1 - fit[name].critical) for fit in fits])
    assert place == pytest.approx(np.log(u_c), abs=0.06)
    assert all(fit[name].floor >= 0 for fit in fits)


def test_flat_curve_weighs_flat():
    values = 0.5 + 0.05 * np.random.default_rng(11).normal(size=(5, len(GRID)))
    weights = mean_weights(fit_shapes(GRID, row, 0.8) for row in values)
    assert max(weights, key=weights.get) == "flat"


def test_too_few_points_are_not_fitted():
    assert fit_shapes([0.8, 0.9, 0.95, 1.0], [3.0, 2.0, 1.0, 0.0], 0.8) == {}


def test_one_shape_is_fitted_as_many_are_to_the_last_bit():
    """With shapes that are constant, zero, falling or not finite, and with values below zero."""
    rng = np.random.default_rng(0)
    flat = [np.full(13, value) for value in (0.0, 2.0, np.inf, 1e-200)]
    kinds = [rng.normal(size=13), *flat, np.linspace(5, 0, 13)]
    for y in (*rng.normal(size=(20, 13)), np.abs(rng.normal(size=13)), np.zeros(13), np.linspace(0, 5, 13)):
        for g in (*kinds, *np.abs(rng.normal(size=(20, 13)))):
            moments = len(y), float(y.mean()), float(y @ y)
            with np.errstate(invalid="ignore"):
                many, one = shapes._least_squares(g[None], y)[0], shapes._least_squares_of_one(g[None], y, *moments)
            assert np.float64(one).tobytes() == many.tobytes() or np.isnan([one, many]).all()
