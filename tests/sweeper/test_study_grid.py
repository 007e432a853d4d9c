"""The values of a grid are exactly those that were written."""

from itertools import pairwise
from math import isclose
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models.cell import FIELDS
from sweeper.study.cell_block import field_type
from sweeper.study.grid import grid_type

RHO = TypeAdapter(grid_type("rho", field_type(FIELDS["rho"]), "float"))
STEPS = TypeAdapter(grid_type("kl_warmup_steps", field_type(FIELDS["kl_warmup_steps"]), "int"))
RATE = TypeAdapter(grid_type("learning_rate", field_type(FIELDS["learning_rate"]), "float"))


@pytest.mark.parametrize(
    ("grid", "values"),
    [
        (0.5, (0.5,)),
        (1, (1.0,)),
        ([0.5, 1], (0.5, 1.0)),
        ({"from": 0.7, "to": 0.9, "step": 0.1}, (0.7, 0.8, 0.9)),
        ([{"from": 0.7, "to": 0.9, "step": 0.1}, 1], (0.7, 0.8, 0.9, 1.0)),
        ({"from": 0, "to": 1, "step": 0.3}, (0.0, 0.3, 0.6, 0.9)),
        ({"from": 0.1, "to": 0.4, "points": 4}, (0.1, 0.2, 0.3, 0.4)),
        ({"from": 0.1, "to": 0.4, "points": 4, "spacing": "linear"}, (0.1, 0.2, 0.3, 0.4)),
        ({"from": 0.9, "to": 0.999, "points": 3, "spacing": "geometric"}, (0.9, 0.99, 0.999)),
        ({"from": 0.0, "to": 0.9999, "points": 5, "spacing": "geometric"}, (0.0, 0.9, 0.99, 0.999, 0.9999)),
        ([{"from": 0.9, "to": 0.99, "step": 0.03}, 0.8], (0.9, 0.93, 0.96, 0.99, 0.8)),
    ],
)
def test_values_of_rho(grid: Any, values: tuple[float, ...]) -> None:
    assert RHO.validate_python(grid) == values


@pytest.mark.parametrize(
    ("grid", "values"),
    [
        ({"from": 0, "to": 10, "step": 5}, (0, 5, 10)),
        ({"from": 1, "to": 1000, "points": 4, "spacing": "geometric"}, (1, 10, 100, 1000)),
        ([1e3, 2], (1000, 2)),
    ],
)
def test_values_of_a_whole_number_are_whole(grid: Any, values: tuple[int, ...]) -> None:
    found = STEPS.validate_python(grid)
    assert found == values
    assert all(type(value) is int for value in found)


def test_geometric_in_other_fields_is_in_the_value() -> None:
    grid = {"from": 1e-4, "to": 1e-2, "points": 3, "spacing": "geometric"}
    assert RATE.validate_python(grid) == (1e-4, 1e-3, 1e-2)


def test_large_seeds_keep_every_digit() -> None:
    seeds = TypeAdapter(grid_type("seed", field_type(FIELDS["seed"]), "int"))
    top = 2**63 - 1
    assert seeds.validate_python({"from": top - 2, "to": top, "step": 1}) == (top - 2, top - 1, top)


@pytest.mark.parametrize(
    ("grid", "fault"),
    [
        ({"from": 0.9, "to": 0.7, "step": 0.1}, "from should be below to, got from 0.9 to 0.7"),
        ({"from": 0.9, "to": 0.9, "points": 2}, "from should be below to"),
        ({"from": 0.7, "to": 0.9}, "a range has either step or points"),
        ({"from": 0.7, "to": 0.9, "step": 0.1, "points": 3}, "a range has either step or points"),
        ({"from": 0.7, "to": 0.9, "step": 0.1, "spacing": "geometric"}, "spacing goes with points"),
        ({"from": 0.7, "to": 1, "points": 3, "spacing": "geometric"}, "geometric in 1 - rho needs to below 1, got 1"),
        ({"from": 0, "to": 1, "step": 1e-9}, "more than 100,000 values"),
        ([0.7, {"from": 0.5, "to": 0.9, "step": 0.1}], "0.7 is given twice"),
        ([0.1, 0.1000000000001], "0.1 is given twice"),  # the same to the 9 digits that are trained
    ],
)
def test_a_range_that_makes_no_sense_is_refused(grid: Any, fault: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error") as error:
        RHO.validate_python(grid)
    assert fault in error.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "grid", [{"from": 0, "to": 1, "step": 0.5}, {"from": 1, "to": 10, "points": 3, "spacing": "geometric"}]
)
def test_a_range_of_whole_numbers_that_gives_a_fraction_is_refused(grid: Any) -> None:
    with pytest.raises(ValidationError, match="kl_warmup_steps should be a whole number, this range gives"):
        STEPS.validate_python(grid)


@settings(max_examples=100, deadline=None)
@given(
    low=st.integers(0, 900), step=st.integers(1, 100), count=st.integers(1, 50), digits=st.integers(3, 6),
)  # fmt: skip
def test_a_step_grid_has_the_decimals_that_were_written(low: int, step: int, count: int, digits: int) -> None:
    """Whatever the step: value i is the float nearest to the decimal from + i·step, and the end is included."""
    high = low + step * count
    scale = 10**digits
    text = {"from": low / scale, "to": high / scale, "step": step / scale}
    if high > scale:
        return
    assert RHO.validate_python(text) == tuple((low + step * i) / scale for i in range(count + 1))


@settings(max_examples=100, deadline=None)
@given(low=st.floats(0, 0.9), gap=st.floats(0.01, 0.0999), points=st.integers(2, 20))
def test_geometric_points_keep_one_ratio_and_both_ends(low: float, gap: float, points: int) -> None:
    low, high = float(f"{low:.6g}"), float(f"{low + gap:.6g}")
    values = RHO.validate_python({"from": low, "to": high, "points": points, "spacing": "geometric"})
    assert (len(values), values[0], values[-1]) == (points, low, high)
    # to the 9 digits that values keep, of which 1 - rho has 5 at 0.9999
    ratios = [(1 - b) / (1 - a) for a, b in pairwise(values)]
    assert all(isclose(ratio, ratios[0], rel_tol=1e-4) for ratio in ratios)
