"""Which images are evaluated where a study does not say: spread over the split, or as a store's cells were before."""

from __future__ import annotations

import re

import pytest

from sweeper.cli.words.plan import settled_lines
from sweeper.merge import merge
from sweeper.planning import make_plan
from sweeper.planning.settled import settled
from sweeper.study import load_study

FIRST = "evaluation.image_choice=first"


def choices(tiny) -> list[str]:
    """`image_choice` of every row."""
    return sorted(tiny.opened().cells()["image_choice"])


def as_before(tiny) -> None:
    """Make the store one of a version that knew no `image_choice`: its study does not have it."""
    path = tiny.opened().paths.study
    text = path.read_text()
    path.write_text(re.sub(r" image_choice: \w+,", "", text))
    assert "image_choice" in text and "image_choice" not in path.read_text()


@pytest.fixture
def small(tiny):
    """Two cells, evaluated on 20 of 300 images."""
    return tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20})


def test_a_new_store_takes_images_spread_over_the_split_and_says_so_in_its_study(small):
    small.run()
    assert choices(small) == ["spread", "spread"]
    assert "image_choice: spread" in small.opened().paths.study.read_text()
    assert not make_plan(small.load(), small.opened()).missing


def test_a_store_of_before_goes_on_with_the_first_images_and_stays_with_them(small, sweeper_command):
    small.run(FIRST)
    as_before(small)
    study = load_study(small.opened().paths.study)
    assert study.image_choice_open and not make_plan(study, small.opened()).missing
    planned = sweeper_command.run(small.argv("plan", "--set", "cells.rho=[0.8, 0.9, 1]"))
    said = "evaluation.image_choice: first, as finished cells here were evaluated"
    assert said in planned.out and "2 already done, 1 to train" in planned.out
    grown = sweeper_command.run(small.argv("run", "--set", "cells.rho=[0.8, 0.9, 1]"))
    assert grown.code == 0 and said in grown.err and choices(small) == ["first"] * 3
    assert "changed since the last run: evaluation" not in grown.err
    assert "image_choice: first" in small.opened().paths.study.read_text()
    again = small.run("cells.rho=[0.8, 0.9, 1]")  # by a study that still does not say
    assert not again.before.missing
    shown = sweeper_command.run(["report", str(small.store), "--json"])
    assert shown.code == 0


def test_said_in_the_study_it_is_followed_and_all_are_evaluated_anew(small):
    small.run(FIRST)
    outcome = small.run("evaluation.image_choice=spread")
    assert outcome.before.counts == {"evaluate": 2} and choices(small) == ["spread"] * 2
    assert not small.run().before.missing  # and a study that does not say goes on with these
    assert settled_lines(small.load(), settled(small.load(), small.opened())) == []


def test_where_all_images_are_taken_there_is_nothing_to_settle(small):
    small.run("evaluation.images=0")
    assert choices(small) == ["all", "all"]
    for more in ("evaluation.images=0", "evaluation.image_choice=first"):
        assert not make_plan(small.load("evaluation.images=0", more), small.opened()).missing
    assert small.load("evaluation.images=300").evaluation_settings("digits").image_choice == "first"
    assert make_plan(small.load(), None).study.evaluation.image_choice == "spread"


def test_a_store_made_by_merging_is_like_its_sources(small, tmp_path):
    """And of two studies of which one does not say, the difference told is not one that the rows do not have."""
    small.run(FIRST)
    as_before(small)
    merged = merge(tmp_path / "all", [small.store])
    assert not make_plan(small.load(), merged.target).missing
    merged.target.paths.study.write_text(small.load(FIRST).to_yaml())
    assert merge(tmp_path / "all", [small.store]).studies == ((),)


@pytest.mark.parametrize("name", ["phase_cpu", "precision"])
def test_the_committed_rows_serve_the_committed_studies(name):
    """Under one evaluation, said in the study or not, as the study that the store keeps does not."""
    from pathlib import Path

    from sweeper.store import Store

    root = Path(__file__).parents[2]
    store = Store.open(root / "results" / "reference" / name)
    for path in (root / "studies" / f"{name}.yaml", store.paths.study):
        assert not make_plan(load_study(path), store).missing
    dense = load_study(root / "studies" / "phase_dense.yaml")
    ids = {dense.evaluation_settings(data).id() for data in ("mnist", "omniglot")}
    assert {row.evaluation_id for rows in store.committed().values() for row in rows} <= ids
