"""A store under damage, a full or read-only disk, and readers overtaken: nothing silently wrong, one sentence each."""

import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas
import pytest
from store_process import tensors
from store_rows import cell_id, history, row, temporary_files

import sweeper
from sweeper.errors import StoreDamaged, StoreUnwritable
from sweeper.store import Store
from sweeper.store.pictures import to_png

PICTURES = {"images": np.zeros((3, 4, 5), np.uint8)}


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "a store")


def damaged(data, rng):
    """The bytes cut at 40 offsets, then with one of their bits flipped, 200 times."""
    for cut in range(40):
        yield data[: len(data) * cut // 40]
    for _ in range(200):
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        yield data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


@pytest.mark.parametrize("kind", ["cells", "history"])
def test_every_cut_and_flipped_bit_of_a_row_is_noticed(store, kind):
    for number in range(3):
        store.commit(row(number), history(number))
    for part in (store.paths.cells, store.paths.history):
        shutil.rmtree(part)  # readers take rows from there, and what is not there from the commits' own files
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
def test_a_damaged_file_is_quarantined_and_only_its_cell_is_missing(store, kind):
    for number in range(3):
        store.commit(row(number), history(number))
    store.repair()  # remembers what was verified
    path = store.paths.rows(kind) / store.committed()[cell_id(1)][0].path.name
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # a time that hides the change
    assert [fault.path for fault in store.check()] == [path]
    with store.lock():
        assert [fault.path for fault in store.repair()] == [path]
        assert store.repair() == []
    assert sorted(store.committed()) == [cell_id(0), cell_id(2)]
    assert len(pandas.read_parquet(store.paths.cells)) == 2
    reasons = {fault.path.parent.name: fault.reason for fault in store.quarantined()}
    assert "altered" in reasons[kind] and "was damaged" in reasons["history" if kind == "cells" else "cells"]
    assert store.commit(row(1), history(1)) and store.check() == []
    assert len(store.cells()) == 3


def test_a_missing_history_and_foreign_or_renamed_files_are_noticed(store):
    for number in range(3):
        store.commit(row(number), history(number))
    first, second, _ = (several[0].path for several in store.committed().values())
    store.paths.row("history", first.name).unlink()
    second.rename(second.with_name(second.name.replace(cell_id(1), cell_id(9))))
    first.with_name(first.name.replace(cell_id(0), cell_id(8))).symlink_to("/etc/hostname")
    names = {path.name for path in (first, second.with_name(second.name.replace(cell_id(1), cell_id(9))))}
    names.add(first.name.replace(cell_id(0), cell_id(8)))
    assert {fault.path.name for fault in store.check()} == names
    assert {fault.path.name for fault in store.repair()} == names
    assert sorted(store.committed()) == [cell_id(2)]
    assert len(pandas.read_parquet(store.paths.cells)) == 1


COPIES = [
    "{} (conflicted copy 2026-11-28).{}",
    "{} (1).{}",
    "{}.sync-conflict-20261128-101112-ABCDEFG.{}",
    "{}-LAPTOP.{}",
]


@pytest.mark.parametrize("name", [*COPIES, "{}.{}.bak", "~${}.{}", "notes.txt", "Copy of {}.{}"])
def test_files_of_other_programs_are_named_and_left_alone_and_cost_nothing(store, name):
    """Wherever a cloud folder puts the copies that it makes: beside rows, curves, pictures, checkpoints and weights."""
    store.commit(row(1), history(1), to_png(PICTURES))
    store.save_state(cell_id(1), 500, {"w": np.ones(3)}, {})
    for step in (100, 200, 300):
        store.save_running("a", step, {"w": np.ones((1, 3))}, {"cell_ids": [cell_id(2)]})
    mine = []
    for path in [path for path in store.paths.root.rglob("*") if path.suffix in (".parquet", ".png", ".safetensors")]:
        mine.append(path.with_name(name.format(path.stem, path.suffix[1:])))
        mine[-1].write_bytes(path.read_bytes())
    listed = {path for path in mine if path.parent.name in ("cells", "history", "pictures")}
    for found in (store.check(), store.repair()):
        assert all(fault.left_alone and "not a file of this store" in fault.reason for fault in found)
        assert listed - {fault.path for fault in found} <= set(store.paths.pictures.iterdir())
    assert {fault.path for fault in store.check()} == listed
    if name in COPIES[:3]:
        assert "a copy by another program" in found[0].reason
    store.save_running("a", 400, {"w": np.ones((1, 3))}, {"cell_ids": [cell_id(2)]})
    store.save_state(cell_id(1), 600, {"w": np.ones(3)}, {})
    assert all(path.exists() for path in mine) and store.quarantined() == []
    assert len(store.cells()) == 1 and store.running()[0].step == 400 and store.states() == {cell_id(1): 600}


UNPRIVILEGED = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import faulty
from sweeper.store import Store
store = Store.open(sys.argv[3])
faulty.give_up_capabilities()
found = [[f.path.name, f.reason, f.left_alone] for f in (store.repair() if sys.argv[4] == "repair" else store.check())]
print(json.dumps([found, len(store.cells()), len(store.quarantined())]))
"""


@pytest.mark.parametrize("act", ["repair", "check"])
def test_a_file_that_may_not_be_read_is_not_damaged(store, act):
    """Its owner's row is as good as ever: it is named and counts as finished, and nothing is moved or trained again."""
    for number in range(3):
        store.commit(row(number), history(number))
    store.save_state(cell_id(1), 500, {"w": np.ones(3)}, {})
    (kept,) = store.paths.kept(cell_id(1)).glob("*.safetensors")
    rows_of = store.committed()
    paths = [rows_of[cell_id(1)][0].path, store.paths.row("history", rows_of[cell_id(2)][0].name), kept]
    for path in paths:
        path.chmod(0)
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-W", "ignore", "-c", UNPRIVILEGED, str(root), str(root / "tests" / "sweeper")]
    done = subprocess.run([*argv, str(store.paths.root), act], capture_output=True, text=True, check=True)
    found, rows, aside = json.loads(done.stdout)
    named = [path.name for path in paths[:2]] + [kept.with_suffix(".json").name] * (act == "check")
    assert sorted(name for name, *_ in found) == sorted(named)
    assert all("not readable (Permission denied)" in reason and alone for _, reason, alone in found)
    assert rows == 3 and aside == 0 and len(store.committed()) == 3
    for path in paths:
        path.chmod(0o644)
    assert store.check() == [] and len(store.cells()) == 3


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_every_file_follows_the_umask(tmp_path, umask):
    """Those of weights and checkpoints too, or colleagues could not merge a store that they may read."""
    before = os.umask(umask)
    try:
        store = Store.create(tmp_path / "store")
        store.commit(row(1), history(1), to_png(PICTURES))
        store.save_state(cell_id(1), 500, {"w": np.ones(3)}, {})
        store.save_running("a", 100, {"w": np.ones((1, 3))}, {"cell_ids": [cell_id(2)]})
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in store.paths.root.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}


def test_what_a_kill_in_the_middle_of_a_tensors_file_leaves_is_swept(store):
    """safetensors writes under a name of its own first."""
    store.save_state(cell_id(1), 500, {"w": np.ones(3)}, {})
    left = store.paths.kept(cell_id(1)) / ".tmpP9v5MR"
    left.write_bytes(b"half")
    assert store.repair() == [] and not left.exists() and store.states() == {cell_id(1): 500}


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
            seen = 0
            for record in sorted(store.running(), key=lambda record: -record.step):  # as a worker that begins does
                with suppress(StoreDamaged):
                    loaded, meta = store.load_running(record.attempt, record.step, ids)
                    break
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
    real, done = reading.part_names, []

    def overtaken(paths, kind):
        if not done:
            done.append(kind)
            store.commit(row(1, 1000), history(1, 1000))
        return real(paths, kind)

    monkeypatch.setattr(reading, "part_names", overtaken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.cells()["step"].tolist() == [1000]
