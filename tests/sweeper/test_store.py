"""Rows in, rows out: what a commit promises to readers."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
from store_rows import cell_id, history, row

import sweeper
from sweeper.errors import StoreDamaged, StoreNewer, StoreUnwritable, StudyError
from sweeper.store import CELL_COLUMNS, CELL_SCHEMA, SCHEMA_VERSION, Store
from sweeper.store.parts import Parts


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / 'a store\'s "folder"')


def contents(store):
    """Every file of the store with its bytes and time."""
    files = [path for path in store.paths.root.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_row_is_read_as_it_was_committed(store):
    assert store.commit(row(7), history(7))
    (committed,) = store.committed()[cell_id(7)]
    assert (committed.steps, committed.evaluation_id, committed.state) == (500, "abcd1234", "done")
    assert store.read_row(committed.path) == row(7)
    assert store.read("history")[0].to_pylist() == history(7)
    assert store.check() == []


def test_the_second_commit_of_a_cell_is_refused_and_changes_nothing(store):
    assert store.commit(row(1), history(1))
    assert not store.commit(row(1, elbo=0.0), history(1))
    assert store.cells()["elbo"].tolist() == [1.25]


def test_plain_pandas_gives_the_same_frame_with_mixed_depths_and_a_diverged_cell(store):
    store.commit(row(1, evaluation_id=None, layers=2), [])
    store.commit(row(2, layers=4), history(2, layers=4))
    store.commit(row(3, layers=3), history(3))
    plain = pandas.read_parquet(store.paths.cells)
    pandas.testing.assert_frame_equal(plain, sweeper.load(store.paths.root))
    assert list(plain.columns) == [column.name for column in CELL_COLUMNS]
    assert plain["state"].tolist() == ["diverged", "done", "done"]
    assert [None if cell is None else len(cell) for cell in plain["kl_per_layer"]] == [None, 4, 3]
    assert plain["elbo"].isna().tolist() == [True, False, False]
    assert plain["finished_at"].dt.tz is not None


def test_more_steps_or_another_evaluation_supersede_the_older_row(store):
    store.commit(row(1, 500), history(1, 500))
    assert store.commit(row(1, 1000), history(1, 1000))
    assert store.commit(row(1, 1000, "ffff0000", elbo=-1.0), history(1, 1000))
    assert pandas.read_parquet(store.paths.cells)["elbo"].tolist() == [-1.0]
    assert len(sweeper.load(store.paths.root, "history")) == 3
    names = sorted(path.name[25:] for path in (store.paths.superseded / "cells").iterdir())
    assert names == ["000000500-abcd1234.parquet", "000001000-abcd1234.parquet"]
    assert sorted(path.name[25:] for path in (store.paths.superseded / "history").iterdir()) == names


def test_a_commit_with_fewer_steps_comes_too_late(store):
    store.commit(row(1, 1000), history(1, 1000))
    assert not store.commit(row(1, 500), history(1, 500))
    assert store.cells()["step"].tolist() == [1000]


def test_a_diverged_cell_needs_no_further_steps_and_no_evaluation(store):
    store.commit(row(1, 300, None), [])
    (committed,) = store.committed()[cell_id(1)]
    assert committed.path.name.endswith("-diverged.parquet")
    assert committed.covers(10**6) and committed.satisfies(10**6, {"ffff0000"})


def test_what_a_done_row_covers(store):
    store.commit(row(1, 500), [])
    (committed,) = store.committed()[cell_id(1)]
    assert committed.covers(500) and not committed.covers(501)
    assert committed.satisfies(400, {"abcd1234", "1234abcd"}) and not committed.satisfies(400, {"ffff0000"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"elbo": None}, "elbo should be given"),
        ({"seed": None}, "seed should not be null"),
        ({"step": 1.5}, "step should be int64"),
        ({"kl_per_layer": "x"}, "kl_per_layer should be list"),
        ({"state": "failed"}, "state should be done or diverged"),
        ({"schema_version": 1}, f"schema_version should be {SCHEMA_VERSION}"),
        ({"diverged_at": 3}, "diverged_at should be null"),
        ({"cell_id": "../../etc"}, "cell id should match"),
        ({"evaluation_id": "a/b"}, "evaluation id should match"),
        ({"elob": 1.0}, "unknown columns \\['elob'\\]"),
    ],
)
def test_a_row_off_the_schema_is_refused_by_name(store, changes, says):
    with pytest.raises(ValueError, match=says):
        store.commit(row(1, **changes), history(1))
    assert store.committed() == {} and list(store.paths.history.iterdir()) == []


def test_a_missing_column_is_refused_by_name(store):
    values = row(1)
    del values["kl_top"]
    with pytest.raises(ValueError, match="missing columns \\['kl_top'\\]"):
        store.commit(values, [])


@pytest.mark.parametrize("wrong", [{"cell_id": cell_id(2)}, {"step": 501}, {"step": 250}])
def test_a_history_that_is_not_the_rows_is_refused(store, wrong):
    rows = history(1)
    rows[2] |= wrong
    with pytest.raises(ValueError, match="history"):
        store.commit(row(1), rows)


@pytest.fixture
def without_parts(monkeypatch):
    """Rows are read one by one, as in a store of an earlier version."""
    monkeypatch.setattr(Parts, "show", lambda *_: [])


def test_the_cache_is_used_kept_up_to_date_and_never_needed(store, monkeypatch, without_parts):
    for number in range(30):
        store.commit(row(number), history(number))
    first = {kind: sweeper.load(store.paths.root, kind) for kind in ("cells", "history")}
    assert store.paths.compacted("cells").exists() and store.paths.compacted("history").exists()
    from sweeper.store import reading

    real, read = reading.read_file, []
    monkeypatch.setattr(reading, "read_file", lambda path, kind: read.append(path.name) or real(path, kind))
    for kind in ("cells", "history"):
        pandas.testing.assert_frame_equal(sweeper.load(store.paths.root, kind), first[kind])
    assert read == []
    store.commit(row(3, 1000), history(3, 1000))
    store.commit(row(99), history(99))
    for kind in ("cells", "history"):
        warm = sweeper.load(store.paths.root, kind)
        store.paths.compacted(kind).unlink()
        pandas.testing.assert_frame_equal(warm, sweeper.load(store.paths.root, kind))
    assert store.repair() == []
    pandas.testing.assert_frame_equal(warm, sweeper.load(store.paths.root, kind))
    pandas.testing.assert_frame_equal(sweeper.load(store.paths.root), pandas.read_parquet(store.paths.cells))


def test_a_damaged_cache_is_ignored(store, without_parts):
    for number in range(30):
        store.commit(row(number), [])
    right = store.cells()
    path = store.paths.compacted("cells")
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), max(1, len(data) // 8)):
        broken = bytearray(data)
        broken[at] ^= 1
        path.write_bytes(broken)
        pandas.testing.assert_frame_equal(store.cells(), right)


def test_an_empty_store_gives_empty_frames_with_all_columns(store):
    assert list(store.cells().columns) == CELL_SCHEMA.names and len(store.cells()) == 0
    assert len(store.history()) == 0


def test_a_store_without_its_empty_folders_reads_well(store):
    """As version control leaves it."""
    store.commit(row(1), history(1))
    for folder in sorted(store.paths.root.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    reopened = Store.open(store.paths.root)
    assert len(reopened.cells()) == 1 and reopened.check() == [] and reopened.progress() == []
    assert reopened.running() == reopened.failures() == reopened.quarantined() == [] and reopened.states() == {}


def test_opening_what_is_no_store(tmp_path, store):
    with pytest.raises(StoreUnwritable, match="no store"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    for create in (False, True):
        with pytest.raises(StudyError, match="no store of sweeper"):
            Store.open(tmp_path / "other", create=create)
    assert os.listdir(tmp_path / "other") == ["thesis.tex"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreUnwritable):
        Store.open(tmp_path / "file", create=True)
    assert Store.open(tmp_path / "new", create=True).committed() == {}
    store.paths.version.write_bytes(b'{"schema_ver')
    with pytest.raises(StoreDamaged, match="torn"):
        Store.open(store.paths.root)


@pytest.mark.parametrize("before", [True, False])
def test_another_process_makes_the_store_while_this_one_looks_at_the_folder(tmp_path, monkeypatch, before):
    root, listed = tmp_path / "new", Path.iterdir
    root.mkdir()

    def meanwhile(folder):
        monkeypatch.undo()
        if before:
            Store.create(root)
        names = list(listed(folder))
        if not before:
            Store.create(root)
        return names

    monkeypatch.setattr(Path, "iterdir", meanwhile)
    assert Store.open(root, create=True).committed() == {}


def test_a_newer_store_is_refused_untouched(store):
    store.commit(row(1), history(1))
    newer = SCHEMA_VERSION + 1
    store.paths.version.write_text(f'{{"format": "sweeper store", "schema_version": {newer}}}')
    before = contents(store)
    for create in (False, True):
        with pytest.raises(StoreNewer, match=f"schema version {newer}"):
            Store.open(store.paths.root, create=create)
    with pytest.raises(StoreNewer):
        sweeper.load(store.paths.root)
    assert contents(store) == before


def test_a_newer_row_is_never_quarantined(store, monkeypatch):
    from sweeper.store import rows

    monkeypatch.setattr(rows, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    store.commit(row(1, schema_version=SCHEMA_VERSION + 1), history(1))
    monkeypatch.undo()
    for reading in (store.repair, store.cells, store.check):
        with pytest.raises(StoreNewer):
            reading()
    assert len(store.committed()) == 1


def test_links_inside_a_store_are_refused(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    store.paths.aside.rmdir()
    store.paths.aside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreDamaged, match="is a link"):
        Store.open(store.paths.root)


def test_load_imports_no_torch_and_the_package_alone_not_even_pandas():
    import subprocess
    import sys

    code = (
        "import sys, sweeper; assert not {'pandas', 'pyarrow', 'torch'} & set(sys.modules); "
        "import sweeper.store; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_warning_without_damage(store):
    store.commit(row(1), history(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweeper.load(store.paths.root)
        assert np.isfinite(sweeper.load(store.paths.root, "history")["elbo"]).all()
