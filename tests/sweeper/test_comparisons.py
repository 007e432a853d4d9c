"""Verdicts on curves planted the same and apart, with error rates that a right method keeps 99 times in 100."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from sweeper.analysis.comparisons import (
    MAX_LINES,
    compare_curves,
    comparison_lines,
    comparisons_table,
    crossings,
)
from sweeper.analysis.curves import curves
from sweeper.analysis.equivalence import ACROSS, COARSE, judge
from sweeper.analysis.intervals import Known
from sweeper.parameters.control import axis_of
from tests.sweeper.planted_curves import even_grid, planted_curve, step_function
from tests.sweeper.synthetic import GRID, broken, flat, jump, store

MARGIN = np.log(1.25)
FINE = even_grid(0.05)


def onset_of(pair, **more):
    """The comparison of two curves by their onsets."""
    (found,) = (one for one in compare_curves(pair, **more) if one.kind == "onset")
    return found


def two(ratio, seeds=5, spread=0.03, rng=None, u_c=0.05, **more):
    """A broken line on two data sets whose onsets are `ratio` apart in 1 − ρ, each seed with its own place in both.

    The onset's log u is 0.9 log u_c + a constant.
    """
    rng = rng or np.random.default_rng(0)
    own = np.exp(spread * rng.normal(size=seeds))
    return [
        planted_curve(u_c * own * by * np.exp(spread / 3 * rng.normal(size=seeds)), data=data, rng=rng, **more)
        for data, by in (("mnist", ratio ** (1 / 0.9)), ("omniglot", 1))
    ]


# --- the judge


def known(differences, open_by=0.0):
    """Differences that a grid leaves open by so much either way."""
    d = np.asarray(differences, dtype=float)
    return Known(d, d - open_by, d + open_by)


@pytest.mark.parametrize("seeds", [3, 5])
def test_interval_covers_and_the_margin_is_rarely_called_the_same(seeds):
    """2,000 replicates: 95 % coverage, and 5 % of differences at the margin within it, as two one-sided tests have."""
    rng, count = np.random.default_rng(1), 2000
    found = [judge(known(MARGIN + 0.05 * rng.normal(size=seeds)), MARGIN) for _ in range(count)]
    covered = sum(one.low <= MARGIN <= one.high for one in found)
    assert binom.ppf(0.005, count, 0.95) <= covered <= binom.ppf(0.995, count, 0.95)
    same = sum(one.verdict == "yes" for one in found)
    assert same <= binom.ppf(0.99, count, 0.05) and all((one.p < 0.05) == (one.verdict == "yes") for one in found)
    assert sum(one.verdict == "no" for one in found) <= binom.ppf(0.99, count, 0.025)


def test_a_verdict_rests_on_what_the_grid_leaves_open_too():
    """Seeds that agree to the last digit know no more than the grid."""
    close = [0.01, 0.01, 0.01]
    assert judge(known(close, 0.1), MARGIN).verdict == "yes"
    found = judge(known(close, 0.25), MARGIN)
    assert (found.verdict, found.reason) == ("cannot tell", COARSE) and found.p < 0.001
    assert found.low_seeds == pytest.approx(0.01) and found.low == pytest.approx(-0.24)
    assert judge(known([0.5, 0.5, 0.5], 0.2), MARGIN).verdict == "no"
    assert judge(known([0.5, 0.5, 0.5], 0.3), MARGIN).reason == COARSE
    assert judge(known([0.0, 0.2, 0.4], 0.01), MARGIN).reason == ACROSS


@pytest.mark.parametrize(("differences", "margin"), [([0.1], 0.2), ([[0.1, 0.2]], 0.2), ([0.1, 0.2], 0.0)])
def test_what_cannot_be_judged_is_an_error(differences, margin):
    with pytest.raises(ValueError, match="should"):
        judge(known(differences), margin)


# --- planted curves


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.0, "yes"), (1.1, "yes"), (1 / 1.1, "yes"), (1.6, "no"), (1 / 1.6, "no")]
)
def test_planted_ratio_is_found_with_its_verdict(ratio, verdict):
    found = onset_of(two(ratio, rho=FINE, noise=0.02))
    assert found.verdict == verdict and found.ratio == pytest.approx(ratio, rel=0.03)
    assert (
        found.low_wide <= found.low < found.low_seeds < found.ratio < found.high_seeds < found.high <= found.high_wide
    )
    assert found.seeds == (0, 1, 2, 3, 4) and np.exp(np.log(found.per_seed).mean()) == pytest.approx(found.ratio)
    assert (found.first, found.second) == ("mnist", "omniglot") and found.scale == "1 − ρ"


def test_pairing_takes_out_what_seeds_share():
    """Places that scatter by 20 % from seed to seed, but alike in both curves."""
    found = onset_of(two(1.05, spread=0.2, rho=FINE))
    unpaired = np.std(two(1.05, spread=0.2, rho=FINE)[0].transition.onset.per_seed)
    assert found.verdict == "yes" and unpaired > 0.005


def test_at_the_margin_smooth_curves_are_rarely_called_the_same():
    """100 pairs planted a ratio of 1.25 apart; the estimand's own error on a fine grid is far below the margin."""
    rng = np.random.default_rng(3)
    verdicts = [onset_of(two(1.25, 3, rng=rng, u_c=0.05 + 0.002 * rng.random(), rho=FINE)).verdict for _ in range(100)]
    assert verdicts.count("yes") <= binom.ppf(0.99, 100, 0.05) and verdicts.count("no") <= binom.ppf(0.99, 100, 0.05)


@pytest.mark.parametrize("step", [0.1, 0.14, 0.3])
def test_at_the_margin_step_functions_are_never_called_the_same(step):
    """The grid cannot see where in a step the drop lies; with half a step in all, 18 % would be at a step of 0.14."""
    rng = np.random.default_rng(4)
    rho = even_grid(step)
    for _ in range(60):
        places = 0.05 * np.exp(step * rng.random() + 0.02 * rng.normal(size=3))
        pair = [
            planted_curve(places * by, step_function, rho, 0.02, rng, data=data)
            for data, by in (("mnist", 1.25), ("omniglot", 1))
        ]
        assert onset_of(pair).verdict == "cannot tell"


@pytest.mark.parametrize(("first", "second"), [(broken, broken), (jump(3), jump(15))])
@pytest.mark.parametrize("step", [0.1, 0.2])
def test_the_interval_of_a_ratio_holds_it(first, second, step):
    """Places exactly 1.25 apart, on kinks and on jumps of different heights: in 40 pairs each at most 6 misses, and no
    verdict but "cannot tell" in more than the 5 % of either error."""
    rng, found = np.random.default_rng(1), []
    for _ in range(40):
        own = 0.05 * np.exp(step * rng.random() + 0.05 * rng.normal(size=3))
        ratio = 1.25 ** (1 / 0.9) if first is broken else 1.25
        pair = [
            planted_curve(own * by * np.exp(0.01 * rng.normal(size=3)), shape, even_grid(step), 0.1, rng, data=data)
            for data, by, shape in (("mnist", ratio, first), ("omniglot", 1, second))
        ]
        found.append(onset_of(pair))
    assert sum(one.low <= 1.25 <= one.high for one in found) >= binom.ppf(0.01, 40, 0.93)
    assert sum(one.verdict == "yes" for one in found) <= binom.ppf(0.99, 40, 0.05)
    assert sum(one.verdict == "no" for one in found) <= binom.ppf(0.99, 40, 0.05)


def test_the_same_step_functions_are_called_so_where_the_grid_allows_it():
    pair = [planted_curve([0.05, 0.051, 0.052], step_function, even_grid(0.1), data=d) for d in ("mnist", "omniglot")]
    assert onset_of(pair).verdict == "yes"
    coarse = [planted_curve([0.05, 0.051, 0.052], step_function, even_grid(0.3), data=d) for d in ("mnist", "omniglot")]
    assert onset_of(coarse).reason == COARSE


def test_another_margin_gives_another_verdict():
    pair = two(1.1, rho=FINE)
    assert onset_of(pair).verdict == "yes" and onset_of(pair, same_within=1.02).verdict == "no"
    with pytest.raises(ValueError, match="above 1"):
        compare_curves(pair, same_within=1.0)


def test_a_seeds_place_is_known_between_the_points_that_it_has():
    """A missing cell next to the place makes the gap wider."""
    curve = planted_curve([0.05, 0.05, 0.05], rho=FINE)
    between = crossings(curve, curve.transition.onset, (0, 1))
    assert between.highs - between.lows == pytest.approx([0.05, 0.05])
    assert (between.lows < between.estimates).all() and (between.estimates < between.highs).all()
    lacking = curve.values.copy()
    lacking[1, np.searchsorted(curve.control, curve.transition.onset.value)] = np.nan
    curve = replace(curve, values=lacking)
    between = crossings(curve, curve.transition.onset, (0, 1))
    assert between.highs - between.lows == pytest.approx([0.05, 0.1])


# --- which pairs


def test_pairs_differ_in_exactly_one_thing():
    """Two data sets, architectures and methods: 12 of the 28 pairs of curves."""
    cells, _ = store(data=("mnist", "omniglot"), latents=("10-10", "20-20"), smoothing_samples=(2, 5))
    found = [one for one in compare_curves(curves(cells)) if one.kind == "onset"]
    assert Counter(one.subject for one in found) == {"data": 4, "architecture": 4, "method": 4}
    assert {one.label for one in found if one.subject == "data"} == {
        f"mnist and omniglot · mlp {n}-{n} (64-64) · smoothing samples {s}" for n in (10, 20) for s in (2, 5)
    }
    assert "mnist · mlp 10-10 (64-64) · smoothing samples 2 and smoothing samples 5" in {one.label for one in found}
    assert "mnist · smoothing samples 2 · mlp 10-10 (64-64) and mlp 20-20 (64-64)" in {one.label for one in found}


def test_different_s_are_compared_by_what_they_smooth():
    """(1 − ρ)(1 − 1/S) the same: 1 − ρ then is 1.6 times as large at S = 2 as at S = 5."""
    pair = [
        planted_curve(0.03 / (1 - 1 / s) * np.array([0.99, 1, 1.01]), rho=FINE, smoothing_samples=s) for s in (2, 5)
    ]
    found = onset_of(pair)
    # The onset's log u is 0.9 log u_c + a constant.
    assert found.ratio == pytest.approx((0.8 / 0.5) ** 0.9 * 0.5 / 0.8, rel=1e-3) and found.verdict == "yes"
    assert found.scale == "(1 − ρ)(1 − 1/S)"
    pair[0] = planted_curve([0.05, 0.05, 0.051], rho=FINE, smoothing_samples=1)
    assert onset_of(pair).reason == "S = 1 does not smooth"


def test_on_another_axis_the_ratio_is_that_of_the_value():
    """β_c of the first 1.5 times that of the second; collapse at high β."""
    axis = axis_of("kl_weight")
    pair = [
        planted_curve(0.05 * by * np.array([0.99, 1, 1.01]), rho=FINE, axis=axis, data=data)
        for data, by in (("mnist", 1.5 ** (-1 / 0.9)), ("omniglot", 1))
    ]
    found = onset_of(pair)
    assert found.ratio == pytest.approx(1.5, rel=0.01) and found.verdict == "no" and found.scale == "β"


def test_what_forbids_a_comparison_is_its_reason():
    good = planted_curve([0.05, 0.051, 0.049], data="omniglot")

    def reason(other):
        found = onset_of([planted_curve(**{"places": [0.05, 0.051, 0.049], **other}), good])
        assert found.verdict == "cannot tell" and found.ratio is None and found.per_seed == ()
        return found.reason

    assert reason({"shape": flat}).startswith("no critical ρ of mnist: flat curve")
    assert reason({"seeds": [2, 3, 4]}) == "fewer than 3 seeds have a critical ρ on both sides: 1"
    assert reason({"steps": 9000}) == "9,000 training steps against 6,000, with which the place moves"


def test_a_single_point_is_no_curve():
    """Plain cells of another data set are nothing to compare with."""
    plain = planted_curve([0.05] * 3, rho=np.array([1.0]), data="omniglot")
    assert compare_curves([planted_curve([0.05] * 3), plain]) == []


# --- shown


def test_sentences_say_verdict_ratio_and_both_intervals():
    line = onset_of(two(1.03, rho=FINE)).sentence()
    assert line.startswith(
        "mnist and omniglot · mlp 40-40 (200-200): the same critical ρ within a ratio of 1.25 in 1 − ρ: yes (ratio 1.0"
    )
    assert ", 95 % interval [0.9" in line and "] with what both grids leave open; [1" in line
    assert line.endswith("] over 5 seeds alone)")
    flat_one = onset_of([planted_curve([0.05] * 3, flat), planted_curve([0.05] * 3, data="omniglot")]).sentence()
    assert ": cannot tell (no critical ρ of mnist: flat curve" in flat_one


def test_many_pairs_of_a_kind_are_counted():
    many = [planted_curve([0.05, 0.05, 0.051], latents=f"{n}-{n}") for n in range(10, 15)]
    lines = comparison_lines(compare_curves(many))
    assert len(compare_curves(many)) == 20 and MAX_LINES < 10
    assert lines == [
        "10 pairs of architectures: the same critical ρ within a ratio of 1.25 in 1 − ρ: yes: 10, no: 0, cannot tell: "
        "0 (each in the table of comparisons)"
    ]


def test_table_has_a_row_a_pair_and_kind():
    cells, _ = store(data=("mnist", "omniglot"), latents=("10-10",), rho=GRID)
    table = comparisons_table(compare_curves(curves(cells)))
    assert table["kind"].tolist() == ["onset", "midpoint"] and (table["seeds"] == 3).all()
    assert (table["low_wide"] <= table["low"]).all() and table["ratio"].between(0.8, 0.95).all()  # planted: 0.86
    assert table["per_seed"].map(len).eq(3).all()
    none = comparisons_table(compare_curves([planted_curve([0.05] * 3, flat, data=d) for d in ("mnist", "omniglot")]))
    assert none.dtypes["ratio"] == table.dtypes["ratio"] and none["reason"].str.startswith("no critical ρ").all()
