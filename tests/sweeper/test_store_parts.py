"""What readers of Parquet see of a store: every committed cell once, at every moment, whatever happens."""

import fcntl
import json
import os
import random
import shutil
import threading

import pandas
import pyarrow.parquet as pq
import pytest
from crashing import crash_everywhere
from store_rows import as_version_1, cell_id, history, row, temporary_files

import sweeper
from sweeper.store import CELL_SCHEMA, Store, atomic, part_files, part_lock, parts
from sweeper.store.part_files import PartFiles
from sweeper.store.parts import Parts


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "a store")


@pytest.fixture
def small(monkeypatch):
    """Parts of three cells."""
    monkeypatch.setattr(parts, "CELLS", 3)


def plain(store, kind="cells"):
    """What pandas reads by itself: steps by cell. Fails where a cell is there twice."""
    frame = pandas.read_parquet(store.paths.shown(kind))
    if kind == "cells":
        assert frame["cell_id"].is_unique
    return dict(zip(frame["cell_id"], frame["step"], strict=True))


def committed(store):
    return {name: rows[0].steps for name, rows in store.committed().items()}


def files(store, kind="cells"):
    return sorted(path.name for path in store.paths.shown(kind).iterdir() if path.name[0] != ".")


def test_rows_are_put_into_few_files_as_they_are_committed(store, small):
    for number in range(7):
        store.commit(row(number), history(number))
        assert plain(store) == committed(store)
        assert len(pandas.read_parquet(store.paths.history)) == 3 * (number + 1)
    assert files(store) == files(store, "history") == [f"part-{n:06d}.parquet" for n in (1, 2, 3)]
    assert [pq.read_metadata(store.paths.part("cells", name)).num_rows for name in files(store)] == [3, 3, 1]
    pandas.testing.assert_frame_equal(pandas.read_parquet(store.paths.cells), sweeper.load(store.paths.root))
    assert store.check() == [] and store.repair() == [] and temporary_files(store) == []


def test_a_history_that_has_grown_long_closes_its_part(store, monkeypatch):
    monkeypatch.setattr(part_files, "HISTORY_ROWS", 5)
    for number in range(5):
        store.commit(row(number), history(number))
    assert len(files(store, "history")) == 3 and len(files(store)) == 1
    assert len(pandas.read_parquet(store.paths.history)) == 15 == len(store.history())


def test_a_row_of_more_steps_takes_the_place_of_the_older_one_at_once(store, small, monkeypatch):
    """Looked at before every call that changes the store."""
    for number in range(5):
        store.commit(row(number, 500), history(number, 500))
    seen = []

    def look(function):
        def called(*arguments, **options):
            seen.append(plain(store))
            return function(*arguments, **options)

        return called

    with monkeypatch.context() as patch:
        for name in ("link", "replace", "unlink", "fsync", "rename"):
            patch.setattr(os, name, look(getattr(os, name)))
        store.commit(row(1, 1000), history(1, 1000))
    steps = [each.pop(cell_id(1)) for each in seen]
    assert len(steps) > 10 and steps == sorted(steps) and set(steps) == {500, 1000}
    assert all(each == {cell_id(n): 500 for n in (0, 2, 3, 4)} for each in seen)
    assert len(files(store)) == 2 and plain(store)[cell_id(1)] == 1000


def test_readers_see_every_cell_once_while_it_is_committed_and_extended(store, small):
    acknowledged, done = {}, threading.Event()

    def work():
        for number in range(12):
            for steps in (500, 1000) if number % 3 == 0 else (500,):
                store.commit(row(number, steps), history(number, steps))
                acknowledged[cell_id(number)] = steps
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    reads = 0
    while not done.is_set() or reads == 0:
        before = dict(acknowledged)
        if before:
            seen = plain(store)
            assert all(seen.get(name, 0) >= steps for name, steps in before.items())
            reads += 1
    worker.join()
    assert plain(store) == acknowledged


def test_a_crash_at_any_call_leaves_readers_every_row_that_was_acknowledged_once(
    monkeypatch, tmp_path, injected, small, times
):
    def prepare(root):
        store = Store.create(root)
        for number in range(4):
            store.commit(row(number), history(number))
        return store

    def check(root, finished):
        store = Store.open(root)
        seen = plain(store)
        assert seen == {cell_id(n): 500 for n in range(4)} | {cell_id(1): seen[cell_id(1)]}
        assert seen[cell_id(1)] in (500, 1000) and (seen[cell_id(1)] == 1000 or not finished)
        assert sweeper.load(root)["step"].isin((500, 1000)).all() and store.check() == []
        assert store.repair() == [] and plain(store) == committed(store) and store.check() == []
        assert set(plain(store, "history")) == set(committed(store)) and temporary_files(store) == []

    act = lambda store: store.commit(row(1, 1000), history(1, 1000))  # noqa: E731
    crashes = crash_everywhere(monkeypatch, tmp_path, prepare, act, check, every=times(2, 1, 1))
    assert crashes >= times(10, 20, 20)
    injected("crashes at a call of the system, in putting rows into parts", crashes)


def test_what_was_killed_before_it_was_shown_counts_and_is_shown_by_the_next_run(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "show", lambda *_: os._exit(9))
        child = os.fork()
        if child == 0:
            store.commit(row(1), history(1))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert committed(store) == {cell_id(1): 500} and len(sweeper.load(store.paths.root)) == 1 and not files(store)
    assert store.repair() == [] and plain(store) == {cell_id(1): 500}


@pytest.mark.parametrize("kind", ["cells", "history"])
def test_a_damaged_part_costs_nothing_and_is_made_again(store, small, kind):
    for number in range(5):
        store.commit(row(number), history(number))
    store.repair()
    right, rng = store.read(kind)[0].to_pylist(), random.Random(4)
    path = store.paths.part(kind, "part-000001.parquet")
    whole = path.read_bytes()
    for _ in range(12):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(rng.choice([bytes(data), whole[: rng.randrange(len(whole))]]))
        assert [fault.path for fault in store.check()] == [path]
        assert store.read(kind)[0].to_pylist() == right
        assert [fault.path for fault in store.repair()] == [path]
        assert path.read_bytes() == whole and store.check() == [] and committed(store) == plain(store)
    assert {fault.path for fault in store.quarantined()} == {path}


def test_a_commit_beside_a_torn_part_leaves_that_as_it_is(store, small):
    """Readers of the folder fail at it, which is better than a part from which rows have gone."""
    for number in range(2):
        store.commit(row(number), history(number))
    path = store.paths.part("cells", "part-000001.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    torn = path.read_bytes()
    store.commit(row(2), history(2))
    assert path.read_bytes() == torn and len(sweeper.load(store.paths.root)) == 3
    assert [fault.path for fault in store.repair()] == [path] and plain(store) == committed(store)


def test_a_damaged_row_leaves_its_part_when_it_is_quarantined(store, small):
    for number in range(3):
        store.commit(row(number), history(number))
    path = store.committed()[cell_id(1)][0].path
    path.write_bytes(path.read_bytes()[:-1])
    assert [fault.path for fault in store.repair()] == [path]
    assert plain(store) == committed(store) == {cell_id(0): 500, cell_id(2): 500}
    assert set(plain(store, "history")) == {cell_id(0), cell_id(2)}


def test_rows_that_are_twice_or_have_gone_are_put_right(store, small):
    """As after two runs at once where locks do not reach from host to host."""
    for number in range(4):
        store.commit(row(number), history(number))
    for kind in ("cells", "history"):
        there = PartFiles(store.paths)
        there.write(kind, "part-000007.parquet", there.tables(kind, [
            rows[0].name for rows in store.committed().values()
        ], {}))  # fmt: skip
        store.paths.part(kind, "part-000002.parquet").unlink()
    assert len(pandas.read_parquet(store.paths.cells)) == 7
    assert store.repair() == [] and plain(store) == committed(store)


@pytest.mark.parametrize("why", ["no locks", "its holder was stopped"])
def test_without_a_turn_a_commit_has_a_part_of_its_own(store, monkeypatch, why):
    monkeypatch.setattr(part_lock, "TURN_S", 0.05)
    store.commit(row(0), history(0))
    with monkeypatch.context() as patch, open(store.paths.part_lock, "rb") as held:
        if why == "no locks":
            patch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "no locks available")))
        else:
            fcntl.flock(held, fcntl.LOCK_EX)
        for number in (1, 2):
            assert store.commit(row(number), history(number))
            assert plain(store) == committed(store)
        assert store.repair() == [] and plain(store) == committed(store)
    assert len(files(store)) == 3 and store.check() == []
    monkeypatch.setattr(parts, "MANY_FILES", 0)
    assert store.repair() == [] and plain(store) == committed(store)
    assert files(store) == files(store, "history") == ["part-000001.parquet"]


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A store of three rows of schema version 1, which is many, and a file of another program."""
    monkeypatch.setattr(parts, "MANY_FILES", 2)
    store = Store.create(tmp_path / "old")
    as_version_1(monkeypatch, store, range(3))
    (store.paths.cells / "notes.txt").write_text("mine")
    return store


@pytest.mark.parametrize("at_once", [True, False])
def test_many_files_of_an_earlier_version_become_parts(old, monkeypatch, at_once):
    if not at_once:
        monkeypatch.setattr(atomic, "_renamed", lambda *_: False)
    before = sweeper.load(old.paths.root)
    assert all(fault.left_alone for fault in old.repair())
    assert files(old) == ["notes.txt", "part-000001.parquet"] and files(old, "history") == ["part-000001.parquet"]
    assert len(list(old.paths.rows("cells").iterdir())) == len(list(old.paths.rows("history").iterdir())) == 3
    (old.paths.cells / "notes.txt").unlink()
    frame = pandas.read_parquet(old.paths.cells)
    assert list(frame.columns) == CELL_SCHEMA.names and plain(old) == committed(old)
    pandas.testing.assert_frame_equal(frame, before)
    pandas.testing.assert_frame_equal(sweeper.load(old.paths.root), before)
    assert old.check() == old.repair() == [] and not list(old.paths.root.glob(".*.new"))
    assert old.commit(row(1, 1000), history(1, 1000)) and plain(old) == committed(old)


@pytest.mark.fault
@pytest.mark.parametrize("at_once", [True, False])
def test_a_crash_at_any_call_of_that_loses_nothing(old, monkeypatch, tmp_path, injected, times, at_once):
    if not at_once:
        monkeypatch.setattr(atomic, "_renamed", lambda *_: False)
    (old.paths.cells / "notes.txt").unlink()
    expected = committed(old)

    def check(root, finished):
        store = Store.open(root)
        assert committed(store) == expected == dict.fromkeys(sweeper.load(root)["cell_id"], 500)
        if at_once:
            assert plain(store) == expected
        assert store.repair() == [] and store.check() == [] and plain(store) == committed(store) == expected
        assert len(files(store)) == 1 and not list(root.glob(".cells.*")) and temporary_files(store) == []

    def prepare(root):
        shutil.copytree(old.paths.root, root)
        return Store.open(root)

    crashes = crash_everywhere(
        monkeypatch, tmp_path, prepare, lambda store: store.repair(), check, every=times(4, 1, 1)
    )
    assert crashes >= times(7, 30, 30)
    injected("crashes at a call of the system, in making parts of an earlier version's rows", crashes)


def test_what_a_worker_of_an_earlier_version_commits_meanwhile_is_kept(old, monkeypatch):
    """It puts its row into the folder that is just being exchanged."""
    real = parts.exchange

    def meanwhile(first, second, aside):
        if first == old.paths.cells:
            as_version_1(monkeypatch, old, [7])
            old.paths.version.write_text(json.dumps({"format": "sweeper store", "schema_version": 5}))
        real(first, second, aside)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "exchange", meanwhile)
        old.repair()
    assert cell_id(7) in committed(old)
    old.repair()
    (old.paths.cells / "notes.txt").unlink()
    assert plain(old) == committed(old) and old.check() == []
