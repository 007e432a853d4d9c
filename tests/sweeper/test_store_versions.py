"""Stores as earlier versions of the schema were written: read, resumed with nothing finished retrained, merged.

`stores/version-N.tar.xz` was written by sweeper when N was its schema version, and is never made again: it has two
finished cells with pictures and kept states, one that diverged, and two that were stopped at step 21 of 40.
"""

import tarfile
from pathlib import Path

import pytest

from sweeper.driver.inline import Inline
from sweeper.merge import merge
from sweeper.plan import make_plan
from sweeper.run import run_study
from sweeper.store import SCHEMA_VERSION, Store
from sweeper.study import load_study

STORES = Path(__file__).parent / "stores"
ELBO = [-31.671952880471945, -31.7279472001642]  # of the finished cells, as they were measured then


@pytest.fixture(params=range(1, SCHEMA_VERSION + 1))
def old(request, tmp_path):
    """A store of a version."""
    with tarfile.open(STORES / f"version-{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def content(root, *folders):
    """The bytes of every file in these folders."""
    return {path.relative_to(root): path.read_bytes() for name in folders for path in (root / name).rglob("*.*")}


def test_a_store_of_every_version_is_whole_and_says_what_it_said_then(old):
    store = Store.open(old)
    cells, history = store.cells(), store.history()
    assert store.check() == [] and list(cells["state"]) == ["done", "done", "diverged"]
    assert cells["elbo"].dropna().tolist() == ELBO and len(history) == 7
    assert [store.pictures(name) is not None for name in cells["cell_id"]] == [True, True, False]
    assert set(store.states().values()) == {40} and [record.step for record in store.running()] == [21]


def test_a_store_of_every_version_is_resumed_and_nothing_finished_is_trained_again(old):
    study, store, orders = load_study(old / "study.yaml"), Store.open(old), []
    finished = content(old, "cells", "history", "pictures", "checkpoints")
    assert len(finished) == 12

    class Watched(Inline):
        def execute(self, work):
            super().execute(work)
            orders.extend(work.orders.handed)

    outcome = run_study(study, store, lambda plan: Watched())
    assert outcome.before.counts == {"done": 2, "diverged": 1, "continue": 2} and outcome.after.counts["done"] == 4
    assert [(len(order.cells), order.start) for order in orders] == [(2, 21)]
    after = content(old, "cells", "history", "pictures", "checkpoints")
    assert {path: after[path] for path in finished} == finished
    assert not make_plan(study, store).missing and store.check() == [] and store.running() == []


def test_a_store_of_every_version_is_merged(old, tmp_path):
    (taken,) = merge(tmp_path / "target", [old]).sources
    assert (taken.added, taken.states, taken.damaged) == (3, 2, [])
    target = Store.open(tmp_path / "target")
    assert target.cells()["elbo"].dropna().tolist() == ELBO and target.check() == []


def test_every_version_up_to_this_one_has_its_store():
    expected = {f"version-{number}.tar.xz" for number in range(1, SCHEMA_VERSION + 1)}
    assert {path.name for path in STORES.iterdir()} == expected
