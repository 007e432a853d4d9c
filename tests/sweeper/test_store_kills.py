"""A store whose processes are killed, crash or compete: nothing committed is lost, nothing is committed twice."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
from crashing import crash_everywhere
from store_process import tensors
from store_rows import cell_id, history, row, temporary_files

from sweeper.errors import StoreInUse, StoreUnwritable
from sweeper.store import Store, atomic

HERE = Path(__file__).parent


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "a store")


def start(mode, root):
    """The helper process in a mode, with pipes."""
    paths = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "store_process.py"), mode, str(root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def without_links(monkeypatch):
    """As on FAT, and on many network shares."""

    def refused(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)


@pytest.mark.parametrize("system", ["has a rename that never replaces", "has none"])
def test_without_hard_links_the_first_commit_stays_all_the_same(store, monkeypatch, tmp_path, system):
    without_links(monkeypatch)
    if system == "has none":
        monkeypatch.setattr(atomic, "_renamed", lambda *_: False)
    assert store.commit(row(1, 500), history(1, 500))
    path = store.committed()[cell_id(1)][0].path
    first = path.read_bytes()
    assert not atomic.write_bytes(path, b"another's", exclusive=True) and path.read_bytes() == first
    assert not store.commit(row(1, 500), history(1, 500)) and store.commit(row(1, 1000), history(1, 1000))
    assert pandas.read_parquet(store.paths.cells)["step"].tolist() == [1000]
    atomic.link(path := store.committed()[cell_id(1)][0].path, tmp_path / "another name")
    assert (tmp_path / "another name").read_bytes() == path.read_bytes()
    assert store.check() == [] and temporary_files(store) == []


def test_thirty_sigkills_lose_nothing_that_was_committed(tmp_path):
    root = tmp_path / "store"
    helper = start("kills", root)
    for _ in range(30):
        helper.stdin.write("again\n")
        helper.stdin.flush()
        assert helper.stdout.readline() == "signal 9\n"
        if not (root / "store.json").exists():
            continue
        store = Store.open(root)
        acknowledged = {}
        if Path(f"{root}.acknowledged").exists():
            for line in Path(f"{root}.acknowledged").read_text().splitlines():
                number, steps = map(int, line.split())
                acknowledged[cell_id(number)] = row(number, steps)
        table, torn = store.read("cells")
        assert torn == []
        rows = {values["cell_id"]: values for values in table.to_pylist()}
        for name, expected in acknowledged.items():
            assert rows[name]["step"] >= expected["step"]
        for values in rows.values():
            assert values == row(int(values["cell_id"], 16), values["step"])
    helper.communicate(timeout=20)
    assert helper.returncode == 0
    store = Store.open(root)
    with store.lock():
        assert store.repair() == store.check() == []
    assert temporary_files(store) == [] and len(acknowledged) > 20
    assert pandas.read_parquet(store.paths.cells)["cell_id"].is_unique
    assert len(store.history()) == 3 * len(store.cells())
    for record in store.running():
        loaded, _ = store.load_running(record.attempt, record.step, record.cell_ids)
        np.testing.assert_array_equal(loaded["weight"], tensors(record.step)["weight"])


def test_twenty_processes_race_and_each_cell_is_committed_once(store):
    out, _ = start("race", store.paths.root).communicate(timeout=60)
    accepted = [int(number) for number in out.split()]
    assert len(accepted) == 20 and sum(accepted) == 4
    assert pandas.read_parquet(store.paths.cells)["cell_id"].tolist() == [cell_id(n) for n in range(4)]
    assert store.check() == [] and temporary_files(store) == []


def test_a_second_run_is_told_who_holds_the_store_and_a_dead_holder_holds_nothing(store):
    holder = start("hold", store.paths.root)
    pid = int(holder.stdout.readline())
    began = time.monotonic()
    with pytest.raises(StoreInUse, match=rf"process {pid} on .+, started \d+ s ago"), store.lock():
        pass
    assert time.monotonic() - began < 3
    assert store.holder()["pid"] == pid
    assert len(store.cells()) == 0  # readers need no lock
    holder.kill()
    holder.communicate()
    assert store.holder() is None
    with store.lock():
        assert store.holder()["pid"] == os.getpid()
        with pytest.raises(StoreInUse), store.lock():
            pass
    assert not store.paths.lock_info.exists()


@pytest.mark.fault
@pytest.mark.parametrize("links", [True, False])
def test_a_crash_at_any_call_of_a_commit_loses_nothing(monkeypatch, tmp_path, times, injected, links):
    if not links:
        without_links(monkeypatch)
        monkeypatch.setattr(atomic, "_renamed", lambda *_: False)

    def prepare(root):
        store = Store.create(root)
        store.commit(row(2), history(2))
        store.commit(row(1, 500), history(1, 500))
        store.record_failure([cell_id(1)], "a", "traceback", "log")
        return store

    def check(root, finished):
        store = Store.open(root)
        assert store.check() == []
        before = {values["cell_id"]: values for values in store.read("cells")[0].to_pylist()}
        assert before[cell_id(2)] == row(2)
        assert before[cell_id(1)] in (row(1, 500), row(1, 1000))
        if finished:
            assert before[cell_id(1)] == row(1, 1000)
        assert len(store.history()) == 6
        with store.lock():
            assert store.repair() == []
            store.commit(row(1, 1000), history(1, 1000))
        assert store.read("cells")[0].to_pylist() == [row(1, 1000), row(2)]
        assert len(pandas.read_parquet(store.paths.cells)) == 2
        assert sorted(os.listdir(store.paths.rows("cells"))) == sorted(os.listdir(store.paths.rows("history")))
        assert temporary_files(store) == []

    act = lambda store: store.commit(row(1, 1000), history(1, 1000))  # noqa: E731
    crashes = crash_everywhere(monkeypatch, tmp_path, prepare, act, check, every=times(2, 1, 1))
    assert crashes >= times(8, 15, 15)
    injected("crashes at a call of the system, in a commit", crashes)


def test_a_crash_at_any_call_of_a_checkpoint_leaves_the_one_before(monkeypatch, tmp_path):
    meta = {"cell_ids": [cell_id(n) for n in range(3)]}

    def prepare(root):
        store = Store.create(root)
        for step in (100, 200):
            store.save_running("a", step, tensors(step), meta)
        return store

    def check(root, finished):
        store = Store.open(root)
        assert store.check() == []
        record = store.best_running()[cell_id(1)]
        assert record.step == 300 if finished else record.step in (200, 300)
        loaded, _ = store.load_running("a", record.step, [cell_id(2), cell_id(0)])
        np.testing.assert_array_equal(loaded["weight"], tensors(record.step)["weight"][[2, 0]])

    act = lambda store: store.save_running("a", 300, tensors(300), meta)  # noqa: E731
    assert crash_everywhere(monkeypatch, tmp_path, prepare, act, check) >= 10


@pytest.mark.fault
def test_a_crash_at_any_call_of_making_a_store_leaves_no_obstacle(monkeypatch, tmp_path, times, injected):
    def check(root, finished):
        store = Store.open(root, create=True)
        assert store.commit(row(1), history(1))
        with store.lock():
            assert store.repair() == []
        assert temporary_files(store) == []

    crashes = crash_everywhere(monkeypatch, tmp_path, lambda root: root, Store.create, check, every=times(2, 1, 1))
    assert crashes >= times(5, 10, 10)
    injected("crashes at a call of the system, in making a store", crashes)


@pytest.mark.fault
def test_repair_survives_a_crash_at_any_call(monkeypatch, tmp_path, times, injected):
    def prepare(root):
        store = Store.create(root)
        for number in range(3):
            store.commit(row(number), history(number))
        path = store.committed()[cell_id(1)][0].path
        path.write_bytes(path.read_bytes()[:-1])
        for each in store.paths.rows("history").iterdir():
            os.utime(each, (time.time() - 3600,) * 2)  # no worker is about to commit it
        return store

    def check(root, finished):
        store = Store.open(root)
        store.repair()
        assert store.check() == [] and sorted(store.committed()) == [cell_id(0), cell_id(2)]
        assert "cells" in {fault.path.parent.name for fault in store.quarantined()}
        assert sorted(os.listdir(store.paths.rows("cells"))) == sorted(os.listdir(store.paths.rows("history")))

    crashes = crash_everywhere(monkeypatch, tmp_path, prepare, lambda store: store.repair(), check, times(2, 1, 1))
    assert crashes >= times(3, 5, 5)
    injected("crashes at a call of the system, in repair", crashes)


@pytest.mark.parametrize("stopped_s", [0, 3600], ids=["goes on", "was stopped for an hour"])
def test_a_worker_that_outlives_its_driver_commits_whole_while_the_next_run_repairs(store, monkeypatch, stopped_s):
    """The next run repairs the store when the orphan has written the history and not yet the row."""
    from sweeper.store import store as module

    real = module.write_bytes

    def write(path, data, **options):
        if path.parent == store.paths.rows("cells"):
            (half,) = store.paths.rows("history").iterdir()
            os.utime(half, (time.time() - stopped_s,) * 2)
            with Store.open(store.paths.root).lock():
                assert Store.open(store.paths.root).repair() == []
            assert half.exists() is (stopped_s == 0)
        return real(path, data, **options)

    monkeypatch.setattr(module, "write_bytes", write)
    assert store.commit(row(1), history(1))
    monkeypatch.undo()
    assert store.check() == [] and store.repair() == []
    assert len(store.cells()) == 1 and len(store.history()) == 3


def test_the_history_of_a_commit_that_was_killed_long_ago_is_removed(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(5, "killed here")))
        with pytest.raises(StoreUnwritable):
            store.commit(row(1), history(1))
    (half,) = store.paths.rows("history").iterdir()
    assert store.repair() == [] and half.exists()
    os.utime(half, (time.time() - 3600,) * 2)
    assert store.repair() == [] and not half.exists()
