"""Measured beside published: which cells are meant, what differs, and what decides the exit code."""

import json

import numpy as np
import pandas as pd
import pytest

from sweeper.cli.words.compare import COMPARED_HEADER, compared_table, order_lines
from sweeper.compare import compare
from sweeper.study.reference import Published, Reference
from tests.sweeper.synthetic import flat, store

MORE = {"split": "test", "images": 100, "iw_samples": 100, "iw_bound": -20.0}
SMOOTHED = {"data": "digits", "latents": "10-10-10", "objective": "ou"}
CONDITIONS = {"steps": 6000, "iw_samples": 100, "split": "test"}


@pytest.fixture(scope="module")
def cells():
    return store()[0].assign(**MORE)


def printed(quantity="kl_top", value=(12.5,), interval=None, margin=1.0, cells=None, conditions=None) -> Published:
    cells = {**SMOOTHED, "rho": 0.8} if cells is None else cells
    conditions = CONDITIONS if conditions is None else conditions
    return Published("a line", quantity, value, interval, margin, cells, conditions)


def beside(rows, *published, **more):
    return compare(rows, Reference("r", "somebody", "", published), **more)


def only(rows, *published, **more):
    (found,) = beside(rows, *published, **more).beside
    return found


def test_mean_over_seeds_with_its_interval(cells):
    values = cells[cells["rho"] == 0.8]["kl_top"].to_numpy()
    found = only(cells, printed())
    assert found.value == (pytest.approx(values.mean()),) and found.seeds == 3
    half = 4.302652729911275 * values.std(ddof=1) / np.sqrt(3)  # t(0.975) of two degrees of freedom
    assert (found.low[0], found.high[0]) == pytest.approx((values.mean() - half, values.mean() + half))
    assert found.difference == (pytest.approx(values.mean() - 12.5),)
    assert found.differs == () and found.judged


@pytest.mark.parametrize(("margin", "verdict"), [(2.0, "within"), (0.01, "outside")])
def test_margin_decides_under_the_same_conditions(cells, margin, verdict):
    found = beside(cells, printed(margin=margin))
    assert found.beside[0].verdict == verdict and found.failed == (verdict == "outside")


def test_other_conditions_are_named_and_do_not_decide(cells):
    """Ten thousand steps do not contradict a million."""
    conditions = {"steps": 1_000_000, "split": "validation", "iw_samples": 100, "batch_size": 128}
    found = beside(cells, printed(margin=0.01, conditions=conditions))
    assert found.beside[0].differs == (
        "steps 6,000 here, 1,000,000 there", "split test here, validation there", "batch size 64 here, 128 there",
    )  # fmt: skip
    assert found.beside[0].verdict == "outside" and not found.beside[0].judged and not found.failed
    assert found.coverage() == (
        "r: 1 of 1 printed numbers are in the store, none under the published conditions: nothing is decided"
    )
    mixed = cells.assign(step=np.where(cells["seed"] == 0, 9000, 6000))
    assert only(mixed, printed()).differs == ("steps 6,000 and 9,000 here, 6,000 there",)


def test_what_the_store_lacks_is_said_and_counted(cells):
    found = beside(cells, printed(), printed(cells={**SMOOTHED, "rho": 0.81}), printed(cells={**SMOOTHED, "rho": 1.0}))
    assert [one.verdict for one in found.beside] == ["within", "not in the store", "not in the store"]
    assert found.coverage() == (
        "r: 1 of 3 printed numbers are in the store, 1 result under the published conditions, 0 outside the margin"
    )
    nothing = beside(pd.DataFrame(), printed(), printed("onset", cells=SMOOTHED))
    assert {one.verdict for one in nothing.beside} == {"not in the store"} and not nothing.failed


def test_settings_that_the_reference_leaves_open_stand_side_by_side():
    cells = store(smoothing_samples=(2, 5))[0].assign(**MORE)
    found = beside(cells, printed()).beside
    assert [one.setting for one in found] == ["smoothing samples 2", "smoothing samples 5"]
    assert found[0].seeds == found[1].seeds == 3
    assert only(cells, printed(cells={**SMOOTHED, "rho": 0.8, "smoothing_samples": 5})).setting == ""


def test_active_units_are_compared_layer_by_layer(cells):
    counts = np.stack(cells[cells["rho"] == 0.8]["active_units"].to_list()).mean(axis=0)
    near = printed("active_units", tuple(counts + np.array([0, 2, -2])), margin=2)
    assert only(cells, near).verdict == "within"
    assert only(cells, near).difference == pytest.approx((0, -2, 2))
    assert only(cells, printed("active_units", tuple(counts + np.array([0, 2, -3])), margin=2)).verdict == "outside"


def test_onset_and_midpoint_against_an_interval_or_a_value(cells):
    """Outside an interval the difference counts from its nearer end; the interval shown is the wide one."""
    place = only(cells, printed("onset", (), (0.9, 0.95), 0.0, SMOOTHED))
    assert place.verdict == "within" and place.difference == (0.0,) and place.judged
    assert 0.93 < place.low[0] < place.value[0] < place.high[0] < 0.96
    above = only(cells, printed("onset", (), (0.9, 0.92), 0.005, SMOOTHED))
    assert above.verdict == "outside" and above.difference[0] == pytest.approx(place.value[0] - 0.92)
    below = only(cells, printed("onset", (), (0.96, 0.97), 0.005, SMOOTHED))
    assert below.difference[0] == pytest.approx(place.value[0] - 0.96)
    assert only(cells, printed("midpoint", (0.9,), None, 0.02, SMOOTHED)).verdict == "within"
    other = only(cells, printed("midpoint", (0.9,), None, 0.02, SMOOTHED), rho_ref=0.84)
    assert other.value != only(cells, printed("midpoint", (0.9,), None, 0.02, SMOOTHED)).value


def test_no_number_says_why():
    cells = store(shape=flat)[0].assign(**MORE)
    found = only(cells, printed("onset", (0.9,), None, 0.1, SMOOTHED))
    assert found.verdict == "no number" and found.reason.startswith("flat curve") and not found.judged
    lost = cells.assign(state="diverged", kl_top=np.nan, iw_bound=None)
    assert only(lost, printed()).reason == "3 cells diverged"
    assert only(cells.assign(iw_bound=None), printed("iw_bound")).reason == "iw_bound was not evaluated"


def test_fewer_than_three_seeds_have_no_interval(cells):
    found = only(cells[cells["seed"] < 2], printed())
    assert found.seeds == 2 and found.low == () and found.verdict == "within"


def test_diverged_cells_are_left_out_of_the_mean(cells):
    place = cells.index[(cells["rho"] == 0.8) & (cells["seed"] == 1)][0]
    lost = cells.copy()
    lost.loc[place, ["state", "kl_top", "split"]] = ["diverged", np.nan, None]
    found = only(lost, printed())
    assert found.seeds == 2 and np.isfinite(found.value[0]) and found.differs == ()


def test_steps_are_named_first_and_the_number_of_seeds_last_which_decides_nothing(cells):
    conditions = {"seeds": 1, "batch_size": 128, "split": "validation", "steps": 1_000_000}
    found = beside(cells, printed(margin=0.01, conditions=conditions))
    assert found.beside[0].differs == (
        "steps 6,000 here, 1,000,000 there", "split test here, validation there", "batch size 64 here, 128 there",
        "seeds 3 here, 1 there",
    )  # fmt: skip
    ((row,), (heads,)) = compared_table(found), [COMPARED_HEADER]
    assert dict(zip(heads, row, strict=True))["verdict"] == "outside, other steps"
    only_seeds = only(cells, printed(margin=2.0, conditions=CONDITIONS | {"seeds": 1}))
    assert only_seeds.differs == ("seeds 3 here, 1 there",) and only_seeds.judged


def test_a_condition_that_a_row_is_too_old_to_have_is_at_its_default(cells):
    old = cells.assign(
        cell=[json.dumps({k: v for k, v in json.loads(c).items() if k != "gradient_clip"}) for c in cells["cell"]]
    )
    assert only(old, printed(conditions=CONDITIONS | {"gradient_clip": 0.0})).differs == ()
    assert only(old, printed(conditions=CONDITIONS | {"gradient_clip": 5.0})).differs == (
        "gradient clip 0.0 here, 5.0 there",
    )


def test_lines_that_lie_the_same_way_round_are_counted_whatever_the_steps(cells):
    """Paired over seeds; a pair printed within the margin says nothing, an interval with 0 in it cannot tell."""

    def line(rho, value, margin=1.0):
        return Published(f"ρ = {rho}", "kl_top", (value,), None, margin, SMOOTHED | {"rho": rho}, {"steps": 10**6})

    found = beside(cells, line(0.8, 20.0), line(0.89, 10.0), line(0.95, 30.0), line(0.96, 30.5))
    (order,) = found.orders
    assert order.quantity == "kl_top" and len(order.pairs) == 5  # 0.95 and 0.96 are printed alike
    verdicts = {(pair.first, pair.second): pair.verdict for pair in order.pairs}
    assert verdicts["ρ = 0.8", "ρ = 0.89"] == "the same way" and verdicts["ρ = 0.89", "ρ = 0.95"] == "the other way"
    values = {rho: cells[cells["rho"] == rho].set_index("seed")["kl_top"] for rho in (0.8, 0.89)}
    assert order.pairs[0].measured == pytest.approx((values[0.8] - values[0.89]).mean()) and order.pairs[0].seeds == 3
    said = order_lines(found)
    assert said[0].startswith(
        "order by kl_top: of 5 pairs of lines printed farther apart than the margin, 1 the same way"
    )
    assert len([text for text in said if text.startswith("the other way: ")]) == order.count("the other way") == 4
    alike = cells.assign(kl_top=np.where(cells["seed"] == 0, 1.0, np.where(cells["rho"] == 0.8, 1.0, 1.1)))
    assert beside(alike, line(0.8, 20.0), line(0.89, 10.0)).orders[0].pairs[0].verdict == "cannot tell"
    assert beside(cells[cells["seed"] < 2], line(0.8, 20.0), line(0.89, 10.0)).orders == ()


def test_a_line_of_the_table_is_named_once(cells):
    found = beside(cells, printed(), printed("iw_bound", (-20.0,)), printed(cells={**SMOOTHED, "rho": 0.89}))
    assert [row[0] for row in compared_table(found)] == ["a line", "", ""]


# --- the command


REFERENCE = """\
name: tiny
source: nobody
cells: {{data: digits, latents: 3-2, objective: ou, rho: 0.8}}
conditions: {{steps: {steps}}}
entries:
  - name: bound
    printed: [{{quantity: iw_bound, value: {value}, margin: 1}}]
  - name: another width
    cells: {{latents: 4-4}}
    printed: [{{quantity: kl_top, value: 1, margin: 1}}]
"""


def test_the_command_prints_and_exits_as_documented(tiny, tmp_path, sweeper_command):
    study = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20})
    study.run()
    rows = study.opened().cells()
    bound = float(rows[rows["objective"] == "ou"]["iw_bound"].iloc[0])

    def run(*more, **said):
        path = tmp_path / "reference.yaml"
        path.write_text(REFERENCE.format(**{"steps": 20, "value": round(bound, 3), **said}), encoding="utf-8")
        return sweeper_command.run(["compare", str(study.store), "--reference", str(path), *more])

    shown = run()
    assert shown.code == 0 and shown.err == ""
    assert "within" in shown.out and "the same" in shown.out and "not in the store: another width (kl_top)" in shown.out
    assert shown.out.splitlines()[-1] == (
        "tiny: 1 of 2 printed numbers are in the store, 1 result under the published conditions, 0 outside the margin"
    )
    assert run(value=bound + 1.1).code == 1
    other = run(value=bound + 1.1, steps=1000)
    assert other.code == 0 and "[1] steps 20 here, 1,000 there" in other.out and "outside" in other.out
    told = json.loads(run("--json", value=bound + 1.1).out)
    assert told["failed"] and told["entries"][0]["verdict"] == "outside" and told["json_version"] == 1
    assert told["entries"][0]["difference"][0] == pytest.approx(-1.1, abs=1e-3)
    fault = run(steps="many")
    assert fault.code == 2 and "reference.yaml:4:21: conditions.steps" in fault.err and fault.out == ""


def test_no_store_and_no_reference(tmp_path, sweeper_command):
    path = tmp_path / "r.yaml"
    path.write_text(REFERENCE.format(steps=1, value=1), encoding="utf-8")
    assert sweeper_command.run(["compare", str(tmp_path / "none"), "--reference", str(path)]).code == 74
    assert sweeper_command.run(["compare", str(tmp_path)]).code == 2
    assert sweeper_command.run(["compare", str(tmp_path), "--reference", str(tmp_path / "no.yaml")]).code == 2
