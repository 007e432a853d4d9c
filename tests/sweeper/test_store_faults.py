"""A store under kill, crash, damage, contention and a full disk: nothing lost, nothing silently wrong."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
from store_process import tensors
from store_rows import cell_id, history, row

import sweeper
from sweeper.errors import StoreDamaged, StoreInUse, StoreUnwritable
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


def temporary_files(store):
    return [path for path in store.paths.root.rglob("*") if atomic.TEMPORARY.fullmatch(path.name)]


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
        assert store.heal() == store.check() == []
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


class Crash(BaseException):
    """The process is dead: nothing that it would still do happens."""


class Crashing:
    """Lets `left` calls of the operating system through, then dies in the next one and in all that follow."""

    def __init__(self, left):
        self.left, self.calls = left, 0

    def tick(self):
        self.calls += 1
        if self.calls > self.left:
            raise Crash

    def wrap(self, function):
        def called(*arguments, **options):
            self.tick()
            return function(*arguments, **options)

        return called

    def open(self, path, mode):
        self.tick()
        return HalfWritten(open(path, mode), self)


class HalfWritten:
    """A file of which a crash leaves the first half."""

    def __init__(self, file, crashing):
        self.file, self.crashing = file, crashing

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        try:
            self.crashing.tick()
        except Crash:
            self.file.write(data[: len(data) // 2])
            raise
        self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def crash_everywhere(monkeypatch, tmp_path, prepare, act, check):
    """`act` on a store made by `prepare`, crashing at each call in turn; `check` what is left. Returns the crashes."""
    for k in range(200):
        root = tmp_path / f"store {k}"
        store = prepare(root)
        crashing = Crashing(k)
        with monkeypatch.context() as patch:
            for name in ("link", "replace", "fsync", "unlink", "rename", "mkdir"):
                patch.setattr(os, name, crashing.wrap(getattr(os, name)))
            patch.setattr(atomic, "open", crashing.open, raising=False)
            try:
                act(store)
                finished = True
            except Crash:
                finished = False
        check(root, finished)
        if finished:
            return k
    raise AssertionError("never finished")


def test_a_crash_at_any_call_of_a_commit_loses_nothing(monkeypatch, tmp_path):
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
            assert store.heal() == []
            store.commit(row(1, 1000), history(1, 1000))
        assert store.read("cells")[0].to_pylist() == [row(1, 1000), row(2)]
        assert len(pandas.read_parquet(store.paths.cells)) == 2
        assert sorted(os.listdir(store.paths.cells)) == sorted(os.listdir(store.paths.history))
        assert temporary_files(store) == []

    act = lambda store: store.commit(row(1, 1000), history(1, 1000))  # noqa: E731
    assert crash_everywhere(monkeypatch, tmp_path, prepare, act, check) >= 15


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


def test_a_crash_at_any_call_of_making_a_store_leaves_no_obstacle(monkeypatch, tmp_path):
    def check(root, finished):
        store = Store.open(root, create=True)
        assert store.commit(row(1), history(1))
        with store.lock():
            assert store.heal() == []
        assert temporary_files(store) == []

    assert crash_everywhere(monkeypatch, tmp_path, lambda root: root, Store.create, check) >= 10


def test_healing_survives_a_crash_at_any_call(monkeypatch, tmp_path):
    def prepare(root):
        store = Store.create(root)
        for number in range(3):
            store.commit(row(number), history(number))
        path = store.committed()[cell_id(1)][0].path
        path.write_bytes(path.read_bytes()[:-1])
        return store

    def check(root, finished):
        store = Store.open(root)
        store.heal()
        assert store.check() == [] and sorted(store.committed()) == [cell_id(0), cell_id(2)]
        assert "cells" in {fault.path.parent.name for fault in store.aside()}
        assert sorted(os.listdir(store.paths.cells)) == sorted(os.listdir(store.paths.history))

    assert crash_everywhere(monkeypatch, tmp_path, prepare, lambda store: store.heal(), check) >= 5


def damaged(data, rng):
    """The bytes cut at 40 offsets, then with one of their bits flipped, 100 times."""
    for cut in range(40):
        yield data[: len(data) * cut // 40]
    for _ in range(100):
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        yield data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


@pytest.mark.parametrize("kind", ["cells", "history"])
def test_every_cut_and_flipped_bit_of_a_row_is_noticed(store, kind):
    for number in range(3):
        store.commit(row(number), history(number))
    path = store.paths.rows(kind) / store.committed()[cell_id(1)][0].path.name
    whole = path.read_bytes()
    others = [entry for entry in store.read(kind)[0].to_pylist() if entry["cell_id"] != cell_id(1)]
    for data in damaged(whole, random.Random(3)):
        path.write_bytes(data)
        table, faults = store.read(kind)
        assert [fault.path for fault in faults] == [path]
        assert table.to_pylist() == others
    with pytest.warns(UserWarning, match=path.name):
        sweeper.load(store.paths.root, kind)
    if kind == "cells":
        with pytest.raises(StoreDamaged, match=path.name):
            store.read_row(path)


@pytest.mark.parametrize("kind", ["cells", "history"])
def test_a_damaged_file_is_set_aside_and_only_its_cell_is_missing(store, kind):
    for number in range(3):
        store.commit(row(number), history(number))
    store.heal()  # remembers what was verified
    path = store.paths.rows(kind) / store.committed()[cell_id(1)][0].path.name
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # a time that hides the change
    assert [fault.path for fault in store.check()] == [path]
    with store.lock():
        assert [fault.path for fault in store.heal()] == [path]
        assert store.heal() == []
    assert sorted(store.committed()) == [cell_id(0), cell_id(2)]
    assert len(pandas.read_parquet(store.paths.cells)) == 2
    reasons = {fault.path.parent.name: fault.reason for fault in store.aside()}
    assert "altered" in reasons[kind] and "was damaged" in reasons["history" if kind == "cells" else "cells"]
    assert store.commit(row(1), history(1)) and store.check() == []
    assert len(store.cells()) == 3


def test_a_missing_history_and_foreign_or_renamed_files_are_noticed(store):
    for number in range(3):
        store.commit(row(number), history(number))
    first, second, _ = (several[0].path for several in store.committed().values())
    (store.paths.history / first.name).unlink()
    second.rename(second.with_name(second.name.replace(cell_id(1), cell_id(9))))
    (store.paths.cells / "notes.parquet").write_text("mine")
    (store.paths.cells / "x.parquet").symlink_to("/etc/hostname")
    names = {path.name for path in (first, second.with_name(second.name.replace(cell_id(1), cell_id(9))))}
    assert {fault.path.name for fault in store.check()} == names | {"notes.parquet", "x.parquet"}
    assert {fault.path.name for fault in store.heal()} == names | {"notes.parquet", "x.parquet"}
    assert sorted(store.committed()) == [cell_id(2)]
    assert len(pandas.read_parquet(store.paths.cells)) == 1
    assert (store.paths.aside / "cells-notes.parquet").read_text() == "mine"


def test_every_cut_and_flipped_bit_of_a_checkpoint_is_noticed_and_the_one_before_serves(store):
    ids = [cell_id(n) for n in range(3)]
    for step in (100, 200):
        meta = {"cell_ids": ids, "history": [{"step": step, "elbo": 0.1 * step}]}
        store.save_running("a", step, tensors(step), meta)
    newest = store.running()[0]
    for path in (newest.tensors, newest.path):
        whole = path.read_bytes()
        for data in damaged(whole, random.Random(7)):
            path.write_bytes(data)
            seen, bad = 0, []
            while True:
                record = store.best_running(but=bad)[ids[0]]
                try:
                    loaded, meta = store.load_running(record.attempt, record.step, ids)
                    break
                except StoreDamaged:
                    bad.append(record)
            np.testing.assert_array_equal(loaded["weight"], tensors(record.step)["weight"])
            assert meta["history"] == [{"step": record.step, "elbo": 0.1 * record.step}]
            seen += record.step == 100
            assert seen or path == newest.path  # JSON alone may change in ways that mean nothing
            assert seen == len(store.check())
        path.write_bytes(whole)


def test_a_pickle_in_place_of_a_checkpoint_is_never_run(store, tmp_path):
    canary = tmp_path / "canary"
    store.save_state(cell_id(1), 100, {"w": np.ones(3)}, {})
    (tensors_file,) = store.paths.kept(cell_id(1)).glob("*.safetensors")
    code = f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode()
    tensors_file.write_bytes(code.ljust(tensors_file.stat().st_size))
    with pytest.raises(StoreDamaged):
        store.load_state(cell_id(1))
    assert not canary.exists()


def test_a_file_that_may_not_grow_gives_one_sentence_and_nothing_torn(store):
    store.commit(row(1), history(1))
    store.save_running("a", 100, tensors(100), {"cell_ids": [cell_id(n) for n in range(3)]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, limits[1]))
    try:
        for attempt in (
            lambda: store.commit(row(2), history(2)),
            lambda: store.save_running("a", 200, tensors(200), {"cell_ids": [cell_id(n) for n in range(3)]}),
        ):
            with pytest.raises(StoreUnwritable, match=r"cannot read or write .+ \([\d,]+ bytes free\)") as error:
                attempt()
            assert "\n" not in str(error.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.check() == [] and temporary_files(store) == []
    assert store.best_running()[cell_id(0)].step == 100
    assert store.commit(row(2), history(2)) and len(store.cells()) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_every_failure_of_the_disk_is_reported_as_one(store, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreUnwritable, match=os.strerror(number)):
            store.commit(row(1), history(1))
    assert store.committed() == {} and temporary_files(store) == []


@pytest.fixture
def read_only():
    """A store of one cell in which nothing may be written, as seen by a user without privileges."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    made = Store.create(parent / "store")
    made.commit(row(1), history(1))
    for path in [*made.paths.root.rglob("*"), made.paths.root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(65534)
    try:
        yield made
    finally:
        if privileged:
            os.seteuid(0)
        for path in [made.paths.root, *made.paths.root.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(parent)


def test_a_read_only_store_can_be_read_but_not_run_on(read_only):
    opened = Store.open(read_only.paths.root)
    assert len(opened.cells()) == 1 and opened.check() == [] and opened.holder() is None
    with pytest.raises(StoreUnwritable, match="ermission denied"), opened.lock():
        pass
    with pytest.raises(StoreUnwritable, match="ermission denied"):
        opened.commit(row(2), history(2))


def test_a_vanished_store_is_reported_at_once(store):
    shutil.rmtree(store.paths.root)
    for action in (
        store.committed, store.running, store.progress, store.cells, store.check,
        lambda: store.commit(row(1), []), lambda: store.lock().__enter__(),
    ):  # fmt: skip
        with pytest.raises(StoreUnwritable, match="a store"):
            action()


def test_loading_while_rows_are_superseded_never_misses_a_cell(store, monkeypatch):
    from sweeper.store import reading

    store.commit(row(1, 500), history(1, 500))
    real, done = reading.stamp, []

    def overtaken(path):
        if not done:
            done.append(path)
            store.commit(row(1, 1000), history(1, 1000))
        return real(path)

    monkeypatch.setattr(reading, "stamp", overtaken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.cells()["step"].tolist() == [1000]
