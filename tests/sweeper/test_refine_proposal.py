"""Proposals on curves whose onset is known: how few cells they take, and what they do where something is in the way."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from sweeper.parameters.control import axis_of
from sweeper.refine.points import Goal, Points, transition_of
from sweeper.refine.proposal import propose
from tests.sweeper.synthetic import broken, flat, jump, logistic, onset, planted

SHAPES = {"broken": (broken, 0.05), "onset": (onset, 0.045), "logistic": (logistic, 0.085)}
SCOUT = [(rho, 0) for rho in (0.8, 0.95, 1.0)]


class Trained:
    """Planted cells, each with its own noise (1 % of the drop) and each seed with its own place (3 % in u)."""

    def __init__(self, shape, u_c, start=0, noise=0.01, spread=0.03):
        self.shape, self.u_c, self.start, self.spread = shape, u_c, start, spread
        self.noise = noise * np.ptp(shape(np.array([0.0, 0.2]), u_c))

    def __call__(self, point):
        rho, seed = point
        place, noise = (np.random.default_rng([self.start, seed, key]).normal() for key in (0, 1 + round(1e9 * rho)))
        u = np.array([round(1 - rho, 12)])
        return float(self.shape(u, self.u_c * np.exp(self.spread * place))[0] + self.noise * noise)


def refine(trained, goal, coarse=SCOUT, ahead=1, **known):
    """Points once nothing is left to do, the last advice, and how many rounds it took with so many asked ahead."""
    points, rounds = Points(coarse, **known), 0
    while True:
        pending = []
        for _ in range(ahead):
            advice = propose(replace(points, pending=pending), goal)
            pending += advice.points
        if not pending:
            return points, advice, rounds
        assert len(set(pending)) == len(pending) and not set(pending) & points.values.keys()
        points, rounds = replace(points, values={**points.values, **{p: trained(p) for p in pending}}), rounds + 1


@pytest.mark.parametrize("name", SHAPES)
def test_the_interval_of_a_uniform_grid_with_a_third_of_its_cells(name):
    """Step 0.1 in log u from u = 0.2 to 0.01 and ρ = 1, five seeds: 155 cells. The number is near the planted one."""
    shape, u_c = SHAPES[name]
    uniform = 5 * (np.log(0.2 / 0.01) / 0.1 + 1)
    used = []
    for start in range(4):
        points, advice, _ = refine(Trained(shape, u_c, start), Goal(0.05, 100))
        found, truth = transition_of(points).onset, planted(shape, u_c, 0.1)
        assert advice.state == "met" and advice.half_width <= 0.05
        assert np.log((1 - found.low) / (1 - found.high)) == pytest.approx(2 * advice.half_width)
        assert abs(np.log((1 - found.value) / (1 - truth))) < 0.08
        used.append(len(points.values))
    assert np.median(used) <= uniform / 3


@pytest.mark.parametrize("height", [3, 6, 18])
def test_it_does_not_stop_at_an_interval_that_misses_a_jump(height):
    """Of 3, 6 and 18 of 20 nats. The level lies in the jump, of which interpolation between points knows nothing."""
    held = []
    for start in range(40):
        u_c = float(np.exp(np.random.default_rng([start, 9]).uniform(np.log(0.03), np.log(0.09))))
        points, advice, _ = refine(Trained(jump(height), u_c, start), Goal(0.1, 60))
        found = transition_of(points).onset
        assert advice.state == "met" and found.low <= found.value <= found.high
        held.append(found.low <= planted(jump(height), u_c, 0.1) <= found.high)
    assert sum(held) >= 38


def test_a_proposal_depends_on_nothing_but_the_points():
    """Not on their order, on which were asked first, or on the last digits of numbers."""
    trained, goal = Trained(*SHAPES["onset"]), Goal(0.05, 60)
    points, _, _ = refine(trained, Goal(0.05, 17))
    values, rng = list(points.values.items()), np.random.default_rng(0)
    for kept in range(3, len(values)):
        now = replace(points, values=dict(values[:kept]), pending=[p for p, _ in values[kept : kept + 2]])
        first = propose(now, goal)
        turned = [values[i] for i in rng.permutation(kept)]
        again = replace(now, values={(rho + 1e-13, seed): y for (rho, seed), y in turned}, pending=now.pending[::-1])
        assert propose(again, goal) == first


@pytest.mark.parametrize("ahead", [2, 6])
def test_asked_ahead_it_takes_fewer_rounds_and_not_many_more_cells(ahead):
    trained, goal = Trained(*SHAPES["broken"], spread=0.02), Goal(0.03, 200)
    alone, _, rounds = refine(trained, goal)
    points, advice, fewer = refine(trained, goal, ahead=ahead)
    assert advice.state == "met" and fewer < rounds
    assert len(points.values) <= 2 * len(alone.values)


def test_seeds_of_the_coarse_grid_are_trained_everywhere():
    coarse = list(product((0.8, 0.9, 0.98, 1.0), range(3)))
    points, advice, _ = refine(Trained(*SHAPES["broken"], spread=0.005), Goal(0.06, 60), coarse)
    assert advice.state == "met"
    assert set(points.values) == set(product({rho for rho, _ in points.values}, range(3)))


def test_what_the_coarse_grid_lacks_is_asked_first():
    assert propose(Points([(0.9, 4), (0.95, 4)]), Goal(0.05, 20)).points == ((1.0, 4), (0.95, 4), (0.9, 4), (0.8, 4))


def test_asked_values_have_few_decimals():
    points, _, _ = refine(Trained(*SHAPES["broken"]), Goal(0.05, 60))
    assert all(len(f"{rho:.9g}") <= len("0.9445") for rho, _ in points.values)


def test_an_onset_nearer_to_1_than_the_grid_is_found():
    """From ρ = 0.8 and 1 alone, at u = 0.001, twenty times nearer than any point of the grid."""
    points, advice, _ = refine(Trained(broken, 0.001), Goal(0.1, 60), [(0.8, 0), (1.0, 0)])
    assert advice.state == "met"
    assert transition_of(points).onset.value == pytest.approx(planted(broken, 0.001, 0.1), abs=3e-4)


def test_a_second_point_on_the_floor_is_asked_for():
    """A logistic of three seeds at points of which none but ρ = 1 lies on its floor: without another, no number."""
    trained = Trained(*SHAPES["logistic"], noise=0.001)
    coarse = list(product((0.8, 0.9, 0.94, 0.95, 1.0), range(3)))
    known = Points(coarse, {point: trained(point) for point in coarse})
    assert transition_of(known).onset.reason.startswith("no floor")
    advice = propose(known, Goal(0.05, 60))
    assert advice.state == "floor" and len({rho for rho, _ in advice.points}) == 1
    assert all(0.95 < rho < 1 for rho, _ in advice.points) and [seed for _, seed in advice.points] == [0, 1, 2]
    waiting = propose(replace(known, pending=advice.points), Goal(0.05, 60))
    assert waiting.state != "floor"
    _, advice, _ = refine(trained, Goal(0.05, 60), coarse)
    assert advice.state == "met"


def test_more_seeds_where_the_seeds_scatter():
    """Five times the scatter takes more seeds for the same interval, over a few replicates."""

    def seeds(spread):
        found = [refine(Trained(*SHAPES["broken"], start, spread=spread), Goal(0.05, 400)) for start in range(3)]
        assert all(advice.state == "met" for _, advice, _ in found)
        return sum(len({seed for _, seed in points.values}) for points, _, _ in found)

    assert seeds(0.02) <= 15 and seeds(0.1) >= 24


@pytest.mark.parametrize("cells", [12, 15, 18, 23])
def test_the_budget_is_kept_and_leaves_enough_for_a_number(cells):
    points, advice, _ = refine(Trained(*SHAPES["broken"]), Goal(1e-4, cells))
    assert advice.state == "spent" and len(points.values) <= cells
    assert transition_of(points).onset.value is not None


def test_cells_that_gave_nothing_are_not_asked_again_and_seeds_without_an_end_are_replaced():
    trained = Trained(*SHAPES["broken"])
    poisoned = {(1.0, 1), (0.94, 0)}
    points, advice, _ = refine(lambda point: None if point in poisoned else trained(point), Goal(0.05, 60))
    assert advice.state == "met" and poisoned <= points.values.keys()
    assert 1 not in transition_of(points).onset.seeds and len(transition_of(points).onset.seeds) >= 3


@pytest.mark.parametrize(
    ("shape", "reason"),
    [(flat, "flat"), (lambda u, u_c: 1 - u, "flat"), (lambda u, u_c: 9 + u, "no coll")],
)
def test_without_a_transition_it_stops(shape, reason):
    points, advice, _ = refine(Trained(shape, 0.05, noise=0), Goal(0.05, 60))
    assert advice.state == "stuck" and advice.why.startswith(reason)
    assert len(points.values) == 3


def test_it_waits_where_points_in_training_decide():
    """One value is left between two, and the ends of the further seeds are in training too."""
    coarse, trained = [(rho, 0) for rho in (0.8, 0.94, 0.95, 1.0)], Trained(*SHAPES["broken"])
    known = Points(coarse, {point: trained(point) for point in coarse})
    pending = [*propose(known, Goal(0.05, 60)).points, *product((0.8, 1.0), (1, 2))]
    assert propose(replace(known, pending=pending), Goal(0.05, 60)).state == "wait"


def test_only_allowed_values_are_asked():
    """On the points of a fine grid, and to its step at best."""
    allowed = [0.8, 0.84, 0.87, 0.89, 0.905, 0.92, 0.93, 0.94, 0.95, 0.96, 0.98, 1.0]
    points, advice, _ = refine(Trained(*SHAPES["broken"]), Goal(0.01, 60), [(0.8, 0), (1.0, 0)], allowed=allowed)
    assert advice.state == "stuck" and {rho for rho, _ in points.values} <= set(allowed)
    assert transition_of(points).onset.value == pytest.approx(planted(broken, 0.05, 0.1), abs=0.005)
    assert len(points.values) <= 20


def test_another_control_parameter():
    """Collapse at large β, which has no physical end: the coarse grid's largest value is the floor."""
    axis = axis_of("kl_weight")
    coarse = [(beta, 0) for beta in (0.1, 1.0, 10.0)]

    def trained(point):
        return 0.1 + 3 * max(np.log(3.0) - np.log(point[0]), 0) + 0.001 * (point[1] % 3)

    points, advice, _ = refine(trained, Goal(0.05, 60), coarse, axis=axis, reference=0.1)
    assert advice.state == "met"
    assert transition_of(points).onset.value == pytest.approx(3.0 * 30**-0.1, rel=0.05)
