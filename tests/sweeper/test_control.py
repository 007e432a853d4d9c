"""The axis of a control parameter: its coordinate ascends away from collapse, and is all that the analysis knows."""

from dataclasses import fields
from itertools import product

import numpy as np
import pandas as pd
import pytest

from models.cell import Cell
from sweeper.analysis.critical import find_transition
from sweeper.analysis.curves import curves
from sweeper.parameters.control import CONTROLS, RHO, STEPS, axis_of
from tests.sweeper.synthetic import GRID, broken, rows_of, sample


def test_coordinate_of_rho_is_log_of_what_is_left_to_one():
    assert RHO.coordinate([0.9, 0.99]) == pytest.approx(np.log([0.1, 0.01]), abs=1e-12)
    assert RHO.coordinate(1.0) == -np.inf and RHO.end == 1.0


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("collapsed", ["low", "high"])
def test_every_numeric_field_has_an_axis_that_ascends_away_from_collapse(name, collapsed):
    axis = axis_of(name, collapsed)
    values = np.array([0.1, 0.2, 0.5, 0.9])
    x = axis.coordinate(values)
    assert (np.diff(x) > 0).all() if collapsed == "low" else (np.diff(x) < 0).all()
    assert axis.value(x) == pytest.approx(values, abs=1e-12)
    if axis.end is not None:
        assert axis.coordinate(axis.end) == -np.inf and axis.value(-np.inf) == axis.end


def test_known_directions():
    """Larger β and larger decoder variance collapse; larger free bits, more steps and a smaller ρ do not."""
    assert {axis_of(name).collapsed for name in ("rho", "kl_weight", "decoder_variance")} == {"high"}
    assert {axis_of(name).collapsed for name in ("free_bits", "steps")} == {"low"}
    assert axis_of("free_bits").end == 0
    assert axis_of("kl_weight").end is None and axis_of("decoder_variance").end is None


def test_controls_are_the_numbers_of_a_cell_and_steps():
    numbers = {field.name for field in fields(Cell) if field.type in ("int", "float")}
    assert set(CONTROLS) == numbers - {"seed"} | {"steps"}


def test_what_is_no_control_parameter_is_an_error():
    with pytest.raises(ValueError, match="did you mean 'kl_weight'"):
        axis_of("kl_weigth")
    with pytest.raises(ValueError, match="numeric field of a cell, or steps; got 'data'"):
        axis_of("data")
    with pytest.raises(ValueError, match="which end of learning_rate collapses is not known"):
        axis_of("learning_rate")
    with pytest.raises(ValueError, match=r"rho should be in \[0, 1\]"):
        RHO.coordinate([0.5, 1.2])
    with pytest.raises(ValueError, match="free_bits should be at least 0"):
        axis_of("free_bits").coordinate(-1.0)


@pytest.mark.parametrize("name", ["kl_weight", "free_bits", "decoder_variance", "steps"])
def test_the_same_curve_has_the_same_place_on_every_axis(name):
    """Planted over u = 1 − ρ and laid over another axis so that x differs by a constant: so does every place."""
    axis = axis_of(name)
    values = sample(broken, 0.05, 5, 0.01, 0.03, np.random.default_rng(0))
    inner = GRID < 1
    control = axis.value(RHO.coordinate(GRID[inner]) + 2.0)
    over_rho = find_transition(GRID[inner], values[:, inner], 0.8)
    over_other = find_transition(control, values[:, inner], float(axis.value(np.log(0.2) + 2.0)), axis=axis)
    for mine, other in zip(over_rho.criticals, over_other.criticals, strict=True):
        assert axis.coordinate(other.value) == pytest.approx(RHO.coordinate(mine.value) + 2.0, abs=1e-9)
        ends = ("low", "high") if axis.collapsed == "high" else ("high", "low")
        for mine_end, other_end in zip(("low", "high"), ends, strict=True):
            place = axis.coordinate(getattr(other, other_end))
            assert place == pytest.approx(RHO.coordinate(getattr(mine, mine_end)) + 2.0, abs=1e-9)
            assert other.low_wide <= other.low <= other.value <= other.high <= other.high_wide


def test_another_axis_needs_a_reference():
    with pytest.raises(ValueError, match="which kl_weight counts as uncollapsed"):
        find_transition([1.0, 2.0], np.ones((3, 2)), axis=axis_of("kl_weight"))


def test_a_place_next_to_the_end_is_a_bound():
    """Seeds that drop beyond the last point count as dropping there, so the bound errs to the safe side."""
    rho = 1 - np.array([0.2, 0.1, 0.05, 0.025, 0.0])
    late, early = [10, 7, 4, 2, 0], [10, 7, 4, 0.5, 0]
    beyond = find_transition(rho, np.array([late] * 3) * [[0.9], [1], [1.1]]).onset
    assert beyond.bound == pytest.approx(0.975)
    mixed = find_transition(rho, np.array([late, late, early])).onset
    assert mixed.value is None and mixed.seeds == () and 0.95 < mixed.bound < 0.975
    assert mixed.reason.startswith("a bound only: the onset lies above ρ = 0.975, the last point before 1, in 2 of 3")


def test_a_bound_from_above_where_the_low_end_collapses():
    axis = axis_of("free_bits")
    values = np.array([[0.0, 2, 4, 7, 10]] * 3) * [[0.9], [1], [1.1]]
    found = find_transition([0.0, 0.1, 0.2, 0.4, 0.8], values, 0.8, axis=axis).onset
    assert found.bound == pytest.approx(0.1)
    assert found.reason.startswith("a bound only: the onset lies below λ = 0.1, the last point before 0")


def test_curves_over_another_field_hold_all_others_fixed():
    """β varies within a curve; ρ and S tell curves apart, and plain cells are no part of smoothed ones."""
    beta = axis_of("kl_weight")
    grid = product((0.25, 0.5, 1.0, 2.0, 4.0), (0.9, 1.0), range(3))
    cells = rows_of(
        (Cell("digits", "10-10", seed, objective="ou", rho=rho, kl_weight=weight) for weight, rho, seed in grid),
        lambda cell: 10 / cell.kl_weight,
    )
    found = curves(cells, reference=0.25, axis=beta)
    assert [curve.variant for curve in found] == ["ou, rho 0.9", "vae"]
    for curve in found:
        assert curve.control.tolist() == [0.25, 0.5, 1.0, 2.0, 4.0] and curve.values.shape == (3, 5)
        assert curve.axis is beta and "kl_weight" not in curve.fields


def test_cells_at_the_end_belong_to_every_curve_that_reaches_it():
    """Without a warm-up its starting weight has no effect: such cells are the end of the curves of every weight."""
    warmup = axis_of("kl_warmup_steps")
    grid = product((0, 100, 1000), (0.0, 0.5), range(3))
    cells = rows_of(
        (Cell("digits", "10-10", s, kl_warmup_steps=steps, kl_weight_start=start) for steps, start, s in grid),
        lambda cell: 0.1 + cell.kl_warmup_steps * (1 + cell.kl_weight_start),
    )
    found = curves(cells, reference=1000, axis=warmup)
    assert {curve.fields["kl_weight_start"] for curve in found} == {0.0, 0.5}
    for curve in found:
        assert curve.control.tolist() == [0, 100, 1000] and np.isfinite(curve.values).all()
    assert np.array_equal(found[0].values[:, 0], found[1].values[:, 0])


def trained():
    """Three cells of 8,000 steps whose order parameter is 0 up to step 1,000 and then grows with log steps."""
    cells = rows_of((Cell("digits", "10-10", seed) for seed in range(3)), lambda cell: 0.0, steps=8000)
    steps = [0, 250, 500, 1000, 2000, 4000, 8000]
    rows = [
        {"cell_id": name, "study": "planted", "step": step, "split": "validation",
         "kl_top": scale * np.log(max(step, 1000) / 1000)}
        for name, scale in zip(cells["cell_id"], (0.99, 1.0, 1.01), strict=True)
        for step in steps
    ]  # fmt: skip
    return cells, pd.DataFrame(rows)


def test_curves_over_steps_come_from_the_history():
    cells, history = trained()
    (curve,) = curves(cells, reference=8000, axis=STEPS, history=history)
    assert curve.control.tolist() == sorted(set(history["step"])) and curve.steps == (8000, 8000)
    onset = curve.transition.onset
    assert onset.low_wide < 1000 * 8**0.1 < onset.high_wide
    with pytest.raises(ValueError, match="need the history"):
        curves(cells, reference=8000, axis=STEPS)


def test_a_cell_that_diverged_counts_over_steps_until_then():
    cells, history = trained()
    name = cells["cell_id"][0]
    cells.loc[0, ["state", "step"]] = ["diverged", 3000]
    history = history[(history["cell_id"] != name) | (history["step"] <= 2000)]
    (curve,) = curves(cells, reference=8000, axis=STEPS, history=history)
    assert np.isfinite(curve.values[0, curve.control <= 2000]).all()
    assert (curve.diverged[0] == (curve.control > 2000)).all() and not curve.diverged[1:].any()
