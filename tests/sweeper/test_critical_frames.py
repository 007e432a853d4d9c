"""`sweeper.critical`: the report's table from a store's rows, and the same from frames that were made by hand."""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from synthetic import broken, planted, rows_of, store

import sweeper
from models.cell import Cell
from sweeper.analysis.curves import curves, select
from sweeper.analysis.tables import critical_table
from sweeper.parameters.control import axis_of

SHOWN = ["kind", "value", "low", "high", "reason"]


@pytest.fixture(scope="module")
def phase():
    return sweeper.load(ROOT / "results/reference/phase_cpu")


@pytest.fixture(scope="module")
def known(phase):
    return sweeper.critical(phase)


@pytest.mark.parametrize("name", ["phase_cpu", "hysteresis", "null_model", "precision"])
def test_a_stores_rows_give_the_reports_table(name):
    place = ROOT / "results/reference" / name
    cells, history = sweeper.load(place), sweeper.load(place, "history")
    table = sweeper.critical(cells, history=history)
    expected = critical_table(curves(select(cells)), "kl_top", history)
    pd.testing.assert_frame_equal(table[list(expected)], expected)
    assert {*SHOWN} <= set(table) and len(table) == 2 * len(curves(select(cells)))
    assert table["value"].equals(expected.get("value", expected["critical"]))


@pytest.mark.parametrize(
    "columns",
    [
        ["data", "architecture", "objective", "rho", "seed", "kl_top", "step"],
        ["data", "latents", "hidden", "objective", "rho", "seed", "kl_top"],
        ["data", "rho", "seed", "kl_top"],
    ],
    ids=" ".join,
)
def test_a_frame_made_by_hand_gives_the_same_numbers(phase, known, columns):
    """Whatever else it has or has not: the curves are told apart by its data set."""
    made = pd.DataFrame(phase[columns].to_dict("list"))
    found, expected = sweeper.critical(made), known
    pd.testing.assert_frame_equal(found[SHOWN], expected[SHOWN])
    assert list(found["data"]) == list(expected["data"])
    if "architecture" in columns or "latents" in columns:
        assert list(found["architecture"]) == list(expected["architecture"])


def test_three_columns_are_enough_and_find_what_was_planted():
    cells, _ = store(u_c=0.05)
    (onset, midpoint) = sweeper.critical(cells[["rho", "seed", "kl_top"]]).itertuples()
    assert onset.low_wide < planted(broken, 0.05, 0.1) < onset.high_wide and onset.kind == "onset"
    assert midpoint.value < onset.value and onset.reason is None and onset.objective == "ou"
    moved = sweeper.critical(cells[["rho", "seed", "kl_top"]], rho_ref=0.87)
    assert moved["reference"].tolist() == [0.87, 0.87] and moved["value"][0] > onset.value


def test_latents_may_be_text_a_number_or_a_list_and_a_gap_is_a_default():
    cells, _ = store(latents=("10-10", "5-5"))
    expected = sweeper.critical(cells)
    by_hand = cells[["data", "latents", "rho", "seed", "kl_top"]].assign(hidden="64-64")
    for latents in (
        by_hand["latents"],
        by_hand["latents"].map(np.array),
        by_hand["latents"].map(lambda s: "-".join(map(str, s))),
    ):
        found = sweeper.critical(by_hand.assign(latents=latents, activation=[None, *[np.nan] * (len(cells) - 1)]))
        pd.testing.assert_frame_equal(found[["architecture", *SHOWN]], expected[["architecture", *SHOWN]])
    one = sweeper.critical(by_hand.assign(latents=[s[0] for s in by_hand["latents"]]))
    assert sorted(set(one["architecture"])) == ["mlp 10 (64-64)", "mlp 5 (64-64)"]


def test_other_control_parameters_and_order_parameters():
    """β, with the reference that it needs; and units of a layer."""
    cells = rows_of(
        [Cell(data="digits", latents="4-4", seed=s, kl_weight=w) for w in np.geomspace(0.1, 10, 9) for s in range(3)],
        lambda cell: 0.02 + 0.01 * cell.seed + max(0.0, -5 * np.log(cell.kl_weight / 2)),
    )  # fmt: skip
    table = sweeper.critical(cells[["kl_weight", "seed", "kl_top"]], control="kl_weight", reference=0.1)
    expected = critical_table(curves(select(cells), "kl_top", 0.1, axis_of("kl_weight")))
    assert table["value"].equals(expected.get("value", expected["critical"])) and 1 < table["value"][0] < 2.2
    with pytest.raises(ValueError, match="which kl_weight counts as uncollapsed"):
        sweeper.critical(cells, control="kl_weight")
    rows, _ = store()
    for name, columns in {
        "active_units_top": ["rho", "seed", "active_units"],
        "relative_activity_2": ["rho", "seed", "relative_activity"],
        "kl_per_unit_top": ["rho", "seed", "kl_top", "latents"],
    }.items():
        found = sweeper.critical(rows[columns], order_parameter=name)
        expected = critical_table(curves(select(rows), name), name)
        pd.testing.assert_frame_equal(found[["low", "high", "reason"]], expected[["low", "high", "reason"]])
        with pytest.raises(ValueError, match=f"cells lack the column {columns[2]}: needed are rho, seed, {columns[2]}"):
            sweeper.critical(rows[["rho", "seed", *columns[3:]]], order_parameter=name)


def test_steps_as_control_parameter_come_from_the_history():
    place = ROOT / "results/reference/phase_cpu"
    cells, history = sweeper.load(place), sweeper.load(place, "history")
    table = sweeper.critical(cells, control="steps", reference=10_000, history=history)
    assert set(table["control"]) == {"steps"} and len(table) > 4
    with pytest.raises(ValueError, match="give history="):
        sweeper.critical(cells, control="steps", reference=10_000)


@pytest.mark.parametrize(
    ("change", "options", "fault"),
    [
        (lambda c: c.drop(columns=["kl_top"]), {}, "cells lack the column kl_top: needed are rho, seed, kl_top"),
        (lambda c: c[["data"]], {}, "cells lack the columns rho, seed, kl_top"),
        (lambda c: c[["rho", "seed", "kl_top"]], {"history": pd.DataFrame()}, "cells lack the column cell_id"),
        (lambda c: c.assign(seed=[None, *c["seed"][1:]]), {}, "rows without a value of seed"),
        (lambda c: pd.concat([c, c.tail(1)])[["rho", "seed", "kl_top"]], {}, "several rows for rho 1, seed 2"),
        (lambda c: c[["rho", "seed", "kl_top"]].assign(rho=1.5), {}, r"rho should be in \[0, 1\], got 1.5"),
        (lambda c: pd.concat([c, c.tail(1)])[["rho", "seed", "kl_top"]], {}, "seed 2: what tells them apart"),
        (lambda c: pd.concat([c, c[["rho"]]], axis=1), {}, "several columns called rho"),
        (lambda c: c.assign(kl_top=[[value] for value in c["kl_top"]]), {}, "kl_top should be a number in every row"),
        (lambda c: c.assign(kl_top="much"), {}, "kl_top should be a number in every row"),
        (lambda c: c, {"collapsed": "up"}, "collapsed should be low or high, got 'up'"),
        (lambda c: c, {"order_parameter": None}, "order_parameter should be kl_top, .* got None"),
        (lambda c: c, {"order_parameter": "kl_topp"}, "did you mean 'kl_top'"),
        (lambda c: c, {"control": "rhoo"}, "did you mean 'rho'"),
        (lambda c: c, {"rho_ref": 0.8, "reference": 0.8}, "give one of the two"),
        (lambda c: c, {"rho_ref": 0.8, "control": "kl_weight"}, "for another control reference"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, options, fault):
    cells, _ = store()
    with pytest.raises(ValueError, match=fault):
        sweeper.critical(change(cells), **options)


def test_a_frame_of_something_else_and_a_frame_of_nothing():
    with pytest.raises(TypeError, match=r"as sweeper.load\(store\) returns it, got str"):
        sweeper.critical("results/reference/phase_cpu")
    empty = sweeper.critical(pd.DataFrame())
    assert len(empty) == 0 and {*SHOWN} <= set(empty) and len(empty.query("value > 0")) == 0


def test_diverged_rows_count_and_rows_of_fewer_steps_do_not():
    cells, _ = store()
    made = cells[["rho", "seed", "kl_top", "step"]]
    early = made.assign(step=3000, kl_top=made["kl_top"] + 5)
    lost = made.assign(state="done", step=6000)
    lost.loc[5, ["state", "kl_top"]] = "diverged", np.nan
    pd.testing.assert_frame_equal(sweeper.critical(pd.concat([early, made])), sweeper.critical(made))
    assert sweeper.critical(lost)["n_diverged"].tolist() == [1, 1]


@pytest.fixture(scope="module")
def by_hand():
    """A frame of three columns, and what is found in it."""
    made = store()[0][["rho", "seed", "kl_top"]]
    return made, sweeper.critical(made)


@pytest.mark.parametrize("column", ["data", "objective", "architecture", "latents", "step", "state"])
def test_a_row_without_a_value_has_the_default(by_hand, column):
    """In some rows or in all, as a table has it that was joined from several."""
    made, expected = by_hand
    pd.testing.assert_frame_equal(sweeper.critical(made.assign(**{column: None}))[SHOWN], expected[SHOWN])
    given = {"data": "", "objective": "ou", "architecture": "", "latents": "1-1", "step": 0.0, "state": "done"}[column]
    some = made.assign(**{column: [given if row % 2 else None for row in range(len(made))]})
    pd.testing.assert_frame_equal(sweeper.critical(some)[SHOWN], expected[SHOWN])


def test_what_overflowed_is_no_value():
    cells, _ = store()
    made = cells[["rho", "seed", "kl_top"]].copy()
    made.loc[5, "kl_top"] = np.inf
    assert sweeper.critical(made)["n_missing"].tolist() == [1, 1]


def test_the_frame_that_was_given_stays_as_it_is():
    cells, _ = store()
    made = cells[["rho", "seed", "kl_top"]]
    before = made.copy()
    sweeper.critical(made)
    pd.testing.assert_frame_equal(made, before)
