"""Onset and midpoint on curves whose place is known, and the reason where there is none."""

import numpy as np
import pytest
from scipy.optimize import brentq

from sweeper.analysis.critical import FRACTIONS, find_transition
from sweeper.analysis.families import fit_families, mean_weights
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
    """Within 3.5 % in u of what was read off along chords, a tenth of a grid step: the rising tail of a real curve must
    not lift the floor."""
    rho, values, u = MEASURED[name]
    found = find_transition(rho, three(values), 0.8).onset
    assert found.reason is None
    assert 1 - found.value == pytest.approx(u, rel=0.035)


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
    assert np.log((1 - found.low) / (1 - found.value)) == pytest.approx(half, abs=1e-6)
    assert np.log((1 - found.high) / (1 - found.value)) == pytest.approx(-half, abs=1e-6)
    assert 1 - np.array(found.per_seed) == pytest.approx(np.exp(places), abs=1e-9)


def test_interval_holds_what_two_ways_of_interpolating_leave_open():
    """Hand-made: 0 up to u = 0.05, then a straight line; the cubic leaves the kink flat. Seeds differ in scale alone,
    so all of the interval is half the distance between the chord's and the cubic's place, times 1.96."""
    rho = 1 - np.array([0.2, 0.1, 0.05, 0.025, 0.0])
    values = np.array([[0.9], [1.0], [1.1]]) * [10, 5, 0, 0, 0]
    found = find_transition(rho, values).onset
    chord = 0.2  # of the step above the kink; the level is 1 of 10, a fifth of that step's rise
    cubic = brentq(lambda s: 5 * (s**2 * (3 - 2 * s)) + 5 * s**2 * (s - 1) - 1, 0, 1)  # slopes 0 and 5 a step
    step, middle = np.log(2), (chord + cubic) / 2
    assert np.log((1 - found.value) / 0.05) == pytest.approx(middle * step, abs=1e-9)
    half = 1.959963985 * (cubic - chord) / 2 * step
    assert np.log((1 - found.low) / (1 - found.value)) == pytest.approx(half, abs=1e-6)
    assert np.log((1 - found.low_wide) / (1 - found.value)) == pytest.approx(step / 2, abs=1e-9)


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
    fits = [fit_families(rho, row, 0.8) for row in values]
    weights = mean_weights(fits)
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights, key=weights.get) == name
    place = np.mean([np.log(1 - fit[name].critical) for fit in fits])
    assert place == pytest.approx(np.log(u_c), abs=0.06)
    assert all(fit[name].floor >= 0 for fit in fits)


def test_flat_curve_weighs_flat():
    values = 0.5 + 0.05 * np.random.default_rng(11).normal(size=(5, len(GRID)))
    weights = mean_weights(fit_families(GRID, row, 0.8) for row in values)
    assert max(weights, key=weights.get) == "flat"


def test_too_few_points_are_not_fitted():
    assert fit_families([0.8, 0.9, 0.95, 1.0], [3.0, 2.0, 1.0, 0.0], 0.8) == {}
