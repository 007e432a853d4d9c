"""Slopes over depth and width that were planted, and no trend where none can be told."""

from dataclasses import replace

import numpy as np
import pytest

from sweeper.analysis.equivalence import COARSE
from sweeper.analysis.trends import families, find_trends, trends_table
from tests.sweeper.planted_curves import even_grid, planted_curve
from tests.sweeper.synthetic import GRID, flat

FINE = even_grid(0.05)
SEEDS = 0.03 * np.array([-1.0, 0.2, 0.8])


def family(along="depth", sizes=(2, 3, 4, 5), factor=1.1, rng=None, u_c=0.04, **more):
    """Broken lines with 1 − ρ at the onset multiplied by `factor` a layer, or for twice the width."""
    rng = rng or np.random.default_rng(0)
    found = []
    for size in sizes:
        power = size if along == "depth" else np.log2(size / sizes[0])
        places = u_c * factor ** (power / 0.9) * np.exp(SEEDS + 0.005 * rng.normal(size=3))
        latents = "-".join(["40"] * size) if along == "depth" else f"{size}-{size}"
        found.append(planted_curve(places, **{"rho": FINE, "latents": latents, **more}))
    return found


@pytest.mark.parametrize("along", ["depth", "width"])
@pytest.mark.parametrize(("factor", "verdict"), [(1.1, "falling"), (1 / 1.1, "rising"), (1.0, "none")])
def test_planted_slope_and_its_direction(along, factor, verdict):
    """ρ falls where 1 − ρ grows; a ratio a layer, or for twice the width."""
    sizes = (2, 3, 4, 5) if along == "depth" else (10, 20, 40, 80)
    (found,) = find_trends(family(along, sizes, factor))
    assert found.along == along and found.sizes == sizes and found.left_out == ()
    assert found.verdict == verdict and found.ratio == pytest.approx(factor, rel=0.01)
    assert (
        found.low_wide <= found.low < found.low_seeds < found.ratio < found.high_seeds < found.high <= found.high_wide
    )
    assert found.change == pytest.approx(found.ratio**3) and found.seeds == (0, 1, 2) and len(found.per_seed) == 3
    assert f"critical ρ against {along} ({', '.join(map(str, sizes))}): {verdict} (1 − ρ × " in found.sentence()
    assert found.sentence().endswith("over 3 seeds alone)")


def test_a_coarse_grid_knows_no_direction():
    """A slope that seeds agree on, but smaller than the grid's steps could feign."""
    (found,) = find_trends(family(factor=1.05, rho=GRID))
    assert found.verdict == "cannot tell" and found.low_seeds > 1 > found.low
    assert found.reason == COARSE and COARSE in found.sentence()


def test_sizes_without_a_place_are_left_out_and_named():
    curves = family(sizes=(2, 3, 4, 5))
    curves[1] = planted_curve([0.05] * 3, flat, FINE, latents="40-40-40")
    (found,) = find_trends(curves)
    assert found.sizes == (2, 4, 5) and found.left_out == (3,) and found.ratio == pytest.approx(1.1, rel=0.01)
    curves[2] = planted_curve([0.05] * 3, flat, FINE, latents="40-40-40-40")
    (found,) = find_trends(curves)
    assert found.verdict == "cannot tell" and found.reason == "fewer than 3 sizes with a critical ρ"


def test_other_reasons_for_no_trend():
    (found,) = find_trends([*family(sizes=(2, 3)), *family(sizes=(4,), steps=9000)])
    assert found.reason == "trained for 6,000 and 9,000 steps"
    (found,) = find_trends([*family(sizes=(2, 3)), *family(sizes=(4,), seeds=(1, 2, 3))])
    assert found.reason == "fewer than 3 seeds have one at every size: 2"


def test_families_share_all_but_one_size():
    """Uneven networks, other data and other methods are no part of a family; two sizes are no trend."""
    curves = [
        *family("depth", (2, 3, 4)), *family("width", (10, 20)), *family("depth", (3, 4), data="omniglot"),
        planted_curve([0.05] * 3, latents="64-32-16"), *family("depth", (5,), smoothing_samples=2),
    ]  # fmt: skip
    found = families(curves)
    # Two layers of 40, 10 and 20 units are three widths.
    assert [(one.along, one.sizes) for one in found] == [("depth", (2, 3, 4)), ("width", (10, 20, 40))]
    assert [one.label.removeprefix("mnist · mlp (200-200) · ") for one in found] == ["40 units per layer", "2 layers"]


def test_a_curve_asks_its_network_for_the_units_of_its_layers():
    """Two variables of a level are two layers."""
    curve = planted_curve([0.05] * 3, latents="64-32-16")
    biva = {"network": "biva", "latents": "2x4x4-2x4x4-3x1x1", "bottom_up_maps": "1-3"}
    assert curve.layer_units == (64, 32, 16)
    assert replace(curve, fields=curve.fields | biva).layer_units == (16, 32, 48, 32, 3)


def test_table_has_a_row_a_family():
    table = trends_table(find_trends([*family(), *family(data="omniglot", shape=flat)]))
    assert table["verdict"].tolist() == ["falling", "cannot tell"] and table["seeds"].tolist() == [3, 0]
    assert table["sizes"].tolist() == [[2, 3, 4, 5], []] and table["left_out"].tolist() == [[], [2, 3, 4, 5]]
