"""Stores as earlier versions of the schema were written: read, resumed with nothing finished retrained, merged.

`stores/version-N.tar.xz` was written by sweeper when N was its schema version, and is never made again once that
version is released. It has two finished cells with pictures and kept states, one that diverged, and two that were
stopped at step 21 of 40.
"""

import tarfile
from pathlib import Path

import pytest

from sweeper.driver.inline import Inline
from sweeper.merge import merge
from sweeper.planning import make_plan
from sweeper.run import run_study
from sweeper.store import SCHEMA_VERSION, Store
from sweeper.store.columns import FINGERPRINTS, FINGERPRINTS_BY_VERSION
from sweeper.study import load_study

STORES = Path(__file__).parent / "stores"
ELBO = {  # of the finished cells, as they were measured then
    1: [-31.671952880471945, -31.7279472001642],
    2: [-32.099353167898954, -32.154160925224424],  # on other images: spread over the split
    3: [-32.099353167898954, -32.154160925224424],
    4: [-32.099353167898954, -32.154160925224424],
    5: [-32.099353167898954, -32.154160925224424],
    6: [-32.099353167898954, -32.154160925224424],
    7: [-32.099353167898954, -32.154160925224424],
    8: [-32.099353167898954, -32.154160925224424],
    9: [-32.099353167898954, -32.154160925224424],
}


@pytest.fixture(params=range(1, SCHEMA_VERSION + 1))
def version(request):
    """Every version of the schema."""
    return request.param


@pytest.fixture
def old(version, tmp_path):
    """A store of that version."""
    with tarfile.open(STORES / f"version-{version}.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def content(root, *folders):
    """The bytes of every file in these folders."""
    return {path.relative_to(root): path.read_bytes() for name in folders for path in (root / name).rglob("*.*")}


def test_a_store_of_every_version_is_whole_and_says_what_it_said_then(old, version):
    store = Store.open(old)
    cells, history = store.cells(), store.history()
    assert store.check() == [] and list(cells["state"]) == ["done", "done", "diverged"]
    assert cells["elbo"].dropna().tolist() == ELBO[version] and len(history) == 7
    assert set(cells["schema_version"]) == {version}
    assert [store.pictures(name) is not None for name in cells["cell_id"]] == [True, True, False]
    assert set(store.states().values()) == {40} and [record.step for record in store.running()] == [21]


def test_a_store_of_every_version_is_resumed_and_nothing_finished_is_trained_again(old, version):
    """Finished rows stay to the byte; those of an earlier version get the columns that they lack, and stay so else."""
    study, store, jobs = load_study(old / "study.yaml"), Store.open(old), []
    kept = ("cells", "history") if version < 6 else ("rows",)  # where the file of each commit is
    finished = content(old, *kept, "pictures", "checkpoints")
    rows = store.read("cells")[0]
    assert len(finished) == 12

    class Watched(Inline):
        def execute(self, work):
            super().execute(work)
            jobs.extend(work.jobs.handed)

    outcome = run_study(study, store, lambda plan: Watched())
    assert outcome.before.counts == {"done": 2, "diverged": 1, "continue": 2} and outcome.after.counts["done"] == 4
    assert [(len(job.cells), job.start) for job in jobs] == [(2, 21)]
    after = content(old, *kept, "pictures", "checkpoints")
    changed = {path.parent.name for path in finished if after[path] != finished[path]}  # of rows/cells/…: cells
    assert changed == {kind for kind in FINGERPRINTS if FINGERPRINTS_BY_VERSION[kind, version] != FINGERPRINTS[kind]}
    now = store.read("cells")[0].to_pylist()
    assert [str(row) for row in now if row["cell_id"] in rows["cell_id"].to_pylist()] == list(
        map(str, rows.to_pylist())
    )
    resumed = [row for row in now if row["cell_id"] not in rows["cell_id"].to_pylist()]
    choice, kernels = ("first", {None}) if version == 1 else ("spread", {"compiled", "compiled, torch"})
    assert [row["image_choice"] for row in resumed] == [choice] * 2 and {row["kernels"] for row in resumed} <= kernels
    assert not make_plan(study, store).missing and store.check() == [] and store.running() == []


def test_a_store_of_every_version_is_merged(old, version, tmp_path):
    (taken,) = merge(tmp_path / "target", [old]).sources
    assert (taken.added, taken.states, taken.damaged) == (3, 2, [])
    target = Store.open(tmp_path / "target")
    assert target.cells()["elbo"].dropna().tolist() == ELBO[version] and target.check() == []


def test_every_version_up_to_this_one_has_its_store():
    expected = {f"version-{number}.tar.xz" for number in range(1, SCHEMA_VERSION + 1)}
    assert {path.name for path in STORES.iterdir()} == expected
