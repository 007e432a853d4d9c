"""Rows of schema version 1 in stores of today: read as they are, upgraded under the lock, whole whatever is killed.

What must hold at every moment of an upgrade: each row is there once with all that it said, for this package and for
`pandas.read_parquet` alike, and an earlier version refuses the store.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest
from crashing import crash_everywhere
from store_rows import OLD, OLD_HISTORY, as_version_1, cell_id, history, row

import sweeper
from sweeper.errors import StoreNewer
from sweeper.merge import merge
from sweeper.store import CELL_COLUMNS, CELL_SCHEMA, HISTORY_SCHEMA, SCHEMA_VERSION, Store, rows
from sweeper.store.names import row_name

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
NEW = [column.name for column in CELL_COLUMNS if column.since == 2]


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A store of version 1 with five rows."""
    store = Store.create(tmp_path / "old")
    as_version_1(monkeypatch, store, range(1, 6))
    return store


def said(frame: pandas.DataFrame) -> list[str]:
    """All that rows said under version 1, every bit, in order of cells."""
    kept = [name for name in frame.columns if name in OLD]
    assert kept == OLD
    plain = frame.sort_values("cell_id")[OLD].astype(object).to_dict("records")
    return [repr({k: list(v) if hasattr(v, "tolist") else v for k, v in each.items()}) for each in plain]


def files(root: Path) -> dict[str, bytes]:
    """The bytes of all that a store holds but for its caches."""
    paths = (path for path in root.rglob("*") if path.is_file() and "cache" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if not path.name.startswith(".")}


def test_without_the_lock_it_is_read_with_nulls_and_left_as_it_is(old):
    before = files(old.paths.root)
    frame = sweeper.load(old.paths.root)
    assert list(frame.columns) == CELL_SCHEMA.names and frame[NEW].isna().all().all()
    assert set(frame["schema_version"]) == {1}
    assert old.check() == [] and len(sweeper.load(old.paths.root, "history")) == 15
    assert old.read_row(old.paths.cells / row_name(cell_id(1), 500, "abcd1234"), ["kernels"]) == {"kernels": None}
    assert files(old.paths.root) == before


@pytest.mark.parametrize("name", sorted(path.parent.name for path in REFERENCE.glob("*/cells")))
def test_the_stores_of_the_repository_are_read_as_they_are(name):
    store = Store.open(REFERENCE / name)
    frame = store.cells()
    rows = REFERENCE / name / "rows" / "cells"  # from version 6 on
    commits = rows if rows.is_dir() else store.paths.cells
    assert len(frame) == len(list(commits.iterdir())) == len(pandas.read_parquet(store.paths.cells))
    assert store.check() == []
    if set(frame["schema_version"]) == {1}:
        assert frame[NEW].isna().all().all()


def test_under_the_lock_every_row_gets_the_columns_and_says_what_it_said(old):
    before, along = said(sweeper.load(old.paths.root)), pandas.read_parquet(old.paths.history)
    assert list(along.columns) == OLD_HISTORY
    with old.lock():
        assert old.repair() == []
    assert f'"schema_version": {SCHEMA_VERSION}' in old.paths.version.read_text()
    for path in old.paths.cells.iterdir():
        assert pq.read_schema(path).names == CELL_SCHEMA.names
    frame = pandas.read_parquet(old.paths.cells)
    assert said(frame) == before and frame[NEW].isna().all().all() and set(frame["schema_version"]) == {1}
    now = pandas.read_parquet(old.paths.history)
    assert list(now.columns) == HISTORY_SCHEMA.names and now.drop(columns=OLD_HISTORY).isna().all().all()
    pandas.testing.assert_frame_equal(now[OLD_HISTORY], along)
    again = files(old.paths.root)
    old.commit(row(9), history(9))
    with old.lock():
        assert old.repair() == []
    assert again.items() <= files(old.paths.root).items() and old.check() == []
    assert old.cells()["kernels"].dropna().tolist() == ["text"] and len(old.cells()) == 6


def test_half_way_pandas_reads_every_row_and_from_the_first_file_on_the_columns(old, monkeypatch):
    """Files are upgraded in order of names, and readers of the folder take the columns of the first."""
    before, seen = said(pandas.read_parquet(old.paths.cells)), []
    replace = rows.encode

    def look(*arguments, **options):
        frame = pandas.read_parquet(old.paths.cells)
        assert said(frame) == before == said(sweeper.load(old.paths.root))
        seen.append(all(name in frame.columns and frame[name].isna().all() for name in NEW))
        return replace(*arguments, **options)

    monkeypatch.setattr(rows, "encode", look)
    with old.lock():
        old.repair()
    assert seen == [False] + [True] * 9  # five rows, then the five histories


@pytest.mark.fault
def test_a_crash_at_any_call_of_an_upgrade_loses_nothing_and_the_next_run_ends_it(
    monkeypatch, tmp_path, times, injected
):
    def prepare(root):
        store = Store.create(root)
        as_version_1(monkeypatch, store, (1, 2))
        return store

    expected = said(sweeper.load(prepare(tmp_path / "as it was").paths.root))

    def check(root, finished):
        store = Store.open(root)
        assert said(store.cells()) == said(pandas.read_parquet(store.paths.cells)) == expected
        versions = {pq.read_schema(path).names == CELL_SCHEMA.names for path in store.paths.cells.glob("[!.]*")}
        if True in versions:  # an earlier version must not come and commit rows of its own
            assert f'"schema_version": {SCHEMA_VERSION}' in store.paths.version.read_text()
        assert store.repair() == [] and store.check() == []
        assert {pq.read_schema(path).names == CELL_SCHEMA.names for path in store.paths.cells.iterdir()} == {True}
        assert said(store.cells()) == expected

    crashes = crash_everywhere(monkeypatch, tmp_path, prepare, lambda store: store.repair(), check, times(3, 1, 1))
    assert crashes >= times(4, 10, 10)
    injected("crashes at a call of the system, in an upgrade of a store", crashes)


def test_readers_see_every_row_while_a_store_is_upgraded(tmp_path, monkeypatch):
    store = Store.create(tmp_path / "old")
    as_version_1(monkeypatch, store, range(1, 31))
    expected = said(store.cells())
    with ThreadPoolExecutor(1) as pool, store.lock():
        upgrade = pool.submit(store.repair)
        reads = 0
        while not upgrade.done() or reads == 0:
            assert said(pandas.read_parquet(store.paths.cells)) == said(sweeper.load(store.paths.root)) == expected
            reads += 1
        assert upgrade.result() == []


def test_an_earlier_version_refuses_it_once_the_upgrade_has_begun(old, monkeypatch):
    from sweeper.store import store as module

    with old.lock():
        old.repair()
    before = files(old.paths.root)
    monkeypatch.setattr(module, "SCHEMA_VERSION", 1)
    with pytest.raises(StoreNewer, match=f"schema version {SCHEMA_VERSION}, this one knows up to 1"):
        Store.open(old.paths.root)
    assert files(old.paths.root) == before


def test_a_row_that_a_worker_of_an_earlier_version_still_commits_is_read_and_upgraded_next_time(old, monkeypatch):
    """Such a worker outlived its driver; the store is one of this version by now."""
    with old.lock():
        old.repair()
    version = old.paths.version.read_bytes()
    as_version_1(monkeypatch, old, [7])
    old.paths.version.write_bytes(version)
    assert len(old.cells()) == 6 and old.check() == []
    with old.lock():
        assert old.repair() == []
    assert all(pq.read_schema(path).names == CELL_SCHEMA.names for path in old.paths.cells.iterdir())
    assert len(old.cells()) == 6


def test_a_damaged_row_of_version_1_is_quarantined_and_the_others_are_upgraded(old):
    path = old.paths.cells / row_name(cell_id(2), 500, "abcd1234")
    path.write_bytes(path.read_bytes()[:-1])
    with old.lock():
        assert [fault.path for fault in old.repair()] == [path]
    assert len(old.cells()) == 4 and old.check() == []


def test_old_and_new_stores_are_merged_in_any_order(old, tmp_path):
    """Rows of version 1 become rows of the target's columns; what both say is compared, and no more."""
    new = Store.create(tmp_path / "new")
    for number in (1, 9):
        new.commit(row(number, iw_se_mc=0.5, kernels="torch"), history(number))
    sources = files(old.paths.root), files(new.paths.root)
    targets = []
    for order in ((old, new), (new, old)):
        targets.append(tmp_path / f"target {len(targets)}")
        merged = merge(targets[-1], [each.paths.root for each in order])
        assert sorted(taken.added + taken.replaced for taken in merged.sources) in ([1, 5], [2, 4])
        assert [taken.differing for taken in merged.sources] == [[], []] and not merged.damaged
        store = Store.open(targets[-1])
        assert len(store.cells()) == 6 and store.check() == []
        assert all(pq.read_schema(path).names == CELL_SCHEMA.names for path in store.paths.cells.iterdir())
    assert (files(old.paths.root), files(new.paths.root)) == sources
    shutil.rmtree(targets[0])
    new.commit(row(3, elbo=-1.0), history(3))
    assert merge(targets[0], [old.paths.root, new.paths.root]).sources[1].differing == [cell_id(3)]
