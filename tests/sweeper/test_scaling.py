"""Exponents of curves that scale are found; curves that do not have a bad quality."""

import numpy as np
import pytest
from scipy.special import gammaln

from sweeper.analysis.scaling import collapse, family_scaling, quality, with_errors
from sweeper.analysis.trends import families
from tests.sweeper.planted_curves import even_grid, planted_curve
from tests.sweeper.synthetic import logistic

SIZES = (10, 20, 40, 80)
X_C = -2.8


def planted(stretch, lift, points=30, seeds=5, noise=0.1, shift=0.0, seed=0):
    """m = L^(−β/ν) log(1 + exp 4 (x − x_c) L^(1/ν)), L in units of its geometric mean; `shift` moves x_c to and fro."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-4, -1.6, points)
    found = []
    for index, size in enumerate(SIZES):
        scale = size / np.exp(np.log(SIZES).mean())
        curve = scale**-lift * np.log1p(np.exp(4 * (x - X_C - shift * (-1) ** index) * scale**stretch))
        found.append(with_errors(size, x, curve + noise * scale**-lift * rng.normal(size=(seeds, points))))
    return found


@pytest.mark.parametrize(("stretch", "lift"), [(1.0, 0.3), (0.5, -0.5)])
def test_planted_exponents_and_place_are_found(stretch, lift):
    found = collapse(planted(stretch, lift))
    assert found.x_c == pytest.approx(X_C, abs=0.05)
    assert found.stretch == pytest.approx(stretch, abs=0.08) and found.lift == pytest.approx(lift, abs=0.12)
    assert 0.6 < found.quality < 1.5 and found.points > 60 and not found.edge
    intervals = (found.x_c_interval, found.stretch_interval, found.lift_interval)
    for value, (low, high) in zip((X_C, stretch, lift), intervals, strict=True):
        assert low - 0.05 < value < high + 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "seeds", "noise", "scatter"),
    [(12, 3, 0.05, 0.03), (12, 5, 0.05, 0.03), (15, 5, 0.05, 0.05), (30, 5, 0.1, 0)],
)
def test_ranges_hold_what_was_planted(points, seeds, noise, scatter):
    """In 90 % of 50 families at least, with seeds whose places scatter and few points; prints how often."""
    truth, held, families_of_curves = (X_C, 0.7, 0.2), np.zeros(3), 50
    for family in range(families_of_curves):
        rng = np.random.default_rng([points, seeds, family])
        curves = []
        for size in SIZES:
            scale = size / np.exp(np.log(SIZES).mean())
            x, places = np.linspace(-4, -1.6, points), X_C + scatter * rng.normal(size=(seeds, 1))
            y = scale**-0.2 * np.log1p(np.exp(4 * (x - places) * scale**0.7))
            curves.append(with_errors(size, x, y + noise * scale**-0.2 * rng.normal(size=(seeds, points))))
        found = collapse(curves)
        ranges = (found.x_c_interval, found.stretch_interval, found.lift_interval)
        held += [low <= value <= high for value, (low, high) in zip(truth, ranges, strict=True)]
    print(points, seeds, noise, scatter, held.astype(int), "of", families_of_curves)
    assert (held >= 0.9 * families_of_curves).all()


def test_curves_that_do_not_scale_have_a_bad_quality():
    """Places that jump back and forth with the size."""
    assert collapse(planted(1.0, 0.3, shift=0.3)).quality > 20


def test_quality_is_best_at_the_truth_and_about_one_there():
    curves = planted(1.0, 0.3)
    means = [one.y.mean(axis=0) for one in curves]
    best, count = quality(curves, means, (X_C, 1.0, 0.3))
    assert best == pytest.approx(1, abs=0.4) and count > 60
    for theta in ((X_C + 0.2, 1.0, 0.3), (X_C, 0.5, 0.3), (X_C, 1.0, 0.8)):
        assert quality(curves, means, theta)[0] > 2 * best


def test_quality_of_two_straight_lines_by_hand():
    """Both sizes on y = x but for one point 0.2 above, dy = 0.1 everywhere. Points between two others of the other
    size are compared with a line whose variance there is dy² (w₁² + w₂²), w the weights of linear interpolation."""
    x = np.array([0.0, 1.0, 2.0])
    first, second = (with_errors(1.0, x + by, np.tile(x + by, (2, 1))) for by in (0.0, 0.5))
    for one in (first, second):
        one.dy[:] = 0.1
    means = [x + np.array([0.0, 0.2, 0.0]), x + 0.5]
    # First's points at 1 and 2 lie between second's; second's at 0.5 and 1.5 between first's: weights ½ and ½.
    expected = (0.2**2 / 0.015 + 0 + 0.1**2 / 0.015 + 0.1**2 / 0.015) / 4
    assert quality([first, second], means, (0.0, 1.0, 0.0)) == (pytest.approx(expected), 4)


def test_mean_field_magnet_has_its_known_exponents():
    """The Curie–Weiss magnet, exact for N spins: T_c = 1, |m| N^(1/4) against (T − T_c) N^(1/2). Real corrections to
    scaling, none planted."""
    temperature = np.linspace(0.9, 1.1, 21)
    rng = np.random.default_rng(0)
    curves = []
    for spins in (200, 400, 800, 1600):
        up = np.arange(spins + 1)
        moment = 2 * up - spins
        log_weight = gammaln(spins + 1) - gammaln(up + 1) - gammaln(spins - up + 1)
        log_weight = log_weight + moment**2 / (2 * spins * temperature[:, None])
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        mean = (weight * np.abs(moment) / spins).sum(axis=1) / weight.sum(axis=1)
        curves.append(with_errors(spins, temperature, mean + 0.002 * rng.normal(size=(5, 21))))
    found = collapse(curves)
    assert found.x_c == pytest.approx(1, abs=0.003)
    assert found.stretch == pytest.approx(0.5, abs=0.03) and found.lift == pytest.approx(0.25, abs=0.03)
    assert found.quality < 2.5


def test_a_family_needs_four_sizes_and_three_seeds():
    def scaling(sizes, seeds=3):
        rng = np.random.default_rng(1)
        places = 0.05 * np.exp(0.03 * rng.normal(size=seeds))
        curves = [
            planted_curve(places, logistic, even_grid(0.15), 0.05, rng, latents=f"{size}-{size}") for size in sizes
        ]
        (family,) = families(curves)
        return family_scaling(family)

    found = scaling(SIZES)
    assert found is not None and [one.size for one in found.sized] == list(SIZES)
    assert all(np.isfinite(one.x).all() and one.y.shape[0] == 3 for one in found.sized)
    assert scaling(SIZES[:3]) is None and scaling(SIZES, seeds=2) is None


def test_curves_of_different_seeds_are_an_error():
    first, second = planted(1.0, 0.3)[:2]
    with pytest.raises(ValueError, match="same seeds"):
        collapse([first, with_errors(20, second.x, second.y[:3])])
