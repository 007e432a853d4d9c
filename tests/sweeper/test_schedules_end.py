"""Cells whose schedule ends their training: committed at that step, and done for any number of steps."""

from __future__ import annotations

from sweeper.store.names import row_name
from tests.sweeper.conftest import same, table

ENDS = {"halve_after": 1, "halvings": 2, "validate_every": 5, "learning_rate": 0.3, "objective": "vae", "rho": None,
        "smoothing_samples": None}  # fmt: skip


def test_a_cell_whose_schedule_ended_is_done_for_any_number_of_steps(tiny):
    """40 steps and then 100 are 100 straight, and 200 more ask for nothing; its row says when it ended."""
    straight, extended = tiny(cells=ENDS), tiny(store="extended", cells=ENDS)
    straight.run("train.steps=100")
    extended.run("train.steps=10")
    extended.run("train.steps=100")
    rows = table(straight.store)
    ended = [row["schedule_ended_at"] for row in rows]
    assert all(step is not None and step % 5 == 0 and 10 <= step <= 100 for step in ended)
    assert [row["step"] for row in rows] == ended and {row["halvings_done"] for row in rows} == {2}
    assert {row["state"] for row in rows} == {"done"}
    assert same(straight.store, extended.store)
    outcome = extended.run("train.steps=300")
    assert not outcome.before.missing and not outcome.after.missing


def test_another_evaluation_of_such_a_cell_trains_nothing(tiny):
    """Its kept state is that of the step at which it ended."""
    study = tiny(cells=ENDS, train={"steps": 100, "keep": "weights"})
    study.run()
    outcome = study.run("evaluation.importance_samples=3")
    assert {item.action for item in outcome.before.items} == {"evaluate"}
    assert not outcome.after.missing
    assert all(row["iw_samples"] == 3 for row in table(study.store))


def test_the_name_of_its_file_says_so():
    """So that planning opens none."""
    assert row_name("a" * 24, 40, "abcd1234", ended=True).endswith("-000000040-abcd1234-ended.parquet")
