"""A run that changes nothing leaves the report as it is, and says what it said."""

import json

import pytest


@pytest.fixture
def done(tiny, sweeper_command):
    """A study that was run, and what that printed."""
    study = tiny(cells={"rho": [0.8, 0.95], "seed": [0, 1]}, train={"steps": 20})
    first = sweeper_command.run(study.argv("run"))
    assert first.code == 0, first.err
    return study, first


def drawn_at(study):
    return {path: path.stat().st_mtime_ns for path in (study.store / "analysis").rglob("*") if path.is_file()}


def test_nothing_is_drawn_again_when_nothing_changed_and_the_same_is_said(done, sweeper_command):
    study, first = done
    before = drawn_at(study)
    again = sweeper_command.run(study.argv("run"))
    assert again.code == 0 and again.out == first.out and "its report is left as it is" in again.err
    assert drawn_at(study) == before
    told = [json.loads(sweeper_command.run([*study.argv(word), "--json"]).out) for word in ("run", "report", "run")]
    assert told[0]["report"] == told[1] == told[2]["report"] and told[1]["page"]
    assert drawn_at(study) != before  # `report` draws always


@pytest.mark.parametrize("change", ["analysis", "a figure", "a row", "a failure", "the note"])
def test_it_is_drawn_again_when_something_did(done, sweeper_command, change):
    study, _ = done
    before, sets = drawn_at(study), []
    if change == "analysis":
        sets = ["--set", "analysis.rho_ref=0.9"]
    elif change == "a figure":
        next((study.store / "analysis").glob("*.png")).unlink()
    elif change == "a row":
        sets = ["--set", "cells.seed=[0, 1, 2]"]
    elif change == "a failure":
        (study.store / "cache" / "drawn.json").write_text(
            (study.store / "cache" / "drawn.json").read_text().replace('"digest": "', '"digest": "0')
        )
    else:
        (study.store / "cache" / "drawn.json").write_text("{")
    again = sweeper_command.run([*study.argv("run"), *sets])
    assert again.code == 0 and "left as it is" not in again.err
    page = study.store / "analysis" / "report.html"
    assert drawn_at(study)[page] > before[page]
