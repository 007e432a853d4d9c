"""Stores of several machines merged: each cell once, killed anywhere and run again, and the sources only read."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas
import pytest
from conftest import same, table
from crashing import crash_everywhere
from store_rows import cell_id, history, row, temporary_files

from sweeper.errors import StoreInUse, StoreNewer, StoreUnwritable, StudyError
from sweeper.merge import merge
from sweeper.store import SCHEMA_VERSION, Store
from sweeper.store.pictures import to_png

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def state(number, steps):
    """A kept state that tells its cell and steps."""
    return {"param/w": np.full((40, 50), number + steps, np.float32), "step": np.asarray(steps)}


def made(root, cells, keep=True):
    """A store of `cells`, numbers with steps."""
    store = Store.create(root)
    for number, steps in cells:
        store.commit(row(number, steps), history(number, steps))
        if keep:
            store.save_state(cell_id(number), steps, state(number, steps), {"trainable": True})
    return store


def content(root, *folders):
    """Bytes of every file in these folders of a store, or in all of it."""
    places = [root / folder for folder in folders] or [root]
    return {p.relative_to(root): p.read_bytes() for place in places for p in place.rglob("*") if p.is_file()}


RESULTS = ("cells", "history", "checkpoints")


@pytest.fixture
def two(tmp_path):
    """Stores that overlap in cell 2; cell 3 has more steps in the second."""
    first = made(tmp_path / "first", [(1, 500), (2, 500), (3, 500)])
    second = made(tmp_path / "second", [(2, 500), (3, 1000), (4, 500)])
    return first.paths.root, second.paths.root


def test_each_cell_comes_once_with_its_history_and_state_and_the_sources_stay(two, tmp_path):
    before = [content(root) for root in two]
    merged = merge(tmp_path / "all", two)
    assert [(s.added, s.replaced, s.present, s.states) for s in merged.sources] == [(3, 0, 0, 3), (1, 1, 1, 2)]
    assert merged.damaged == [] and [s.differing for s in merged.sources] == [[], []]
    store = Store.open(tmp_path / "all")
    assert store.check() == [] and temporary_files(store) == []
    steps = {1: 500, 2: 500, 3: 1000, 4: 500}
    assert store.read("cells")[0].to_pylist() == [row(number, each) for number, each in steps.items()]
    assert store.read("history")[0].num_rows == 12
    assert store.states() == {cell_id(number): each for number, each in steps.items()}
    for number, each in steps.items():
        tensors, meta = store.load_state(cell_id(number))
        np.testing.assert_array_equal(tensors["param/w"], state(number, each)["param/w"])
        assert meta == {"trainable": True}
    assert len(pandas.read_parquet(store.paths.cells)) == 4
    assert [content(root) for root in two] == before


def test_merging_twice_or_in_another_order_gives_the_same_bytes(two, tmp_path):
    merge(tmp_path / "all", two)
    once = content(tmp_path / "all", *RESULTS)
    again = merge(tmp_path / "all", two)
    assert {(s.added, s.replaced, s.states) for s in again.sources} == {(0, 0, 0)}
    assert content(tmp_path / "all", *RESULTS) == once
    merge(tmp_path / "turned", two[::-1])
    assert content(tmp_path / "turned", *RESULTS) == once
    shutil.copytree(two[0], tmp_path / "a copy")
    merge(tmp_path / "all", [tmp_path / "a copy"])
    assert content(tmp_path / "all", *RESULTS) == once


def test_of_two_evaluations_the_later_counts_whatever_the_order(tmp_path):
    stores = []
    for name, hours in (("a", 0), ("b", 1)):
        store = Store.create(tmp_path / name)
        store.commit(row(1, 500, f"{name * 8}", finished_at=NOON + timedelta(hours=hours)), history(1))
        stores.append(store.paths.root)
    for number, order in enumerate((stores, stores[::-1], [*stores, stores[0]])):
        merge(tmp_path / f"all {number}", order)
        assert Store.open(tmp_path / f"all {number}").cells()["evaluation_id"].tolist() == ["b" * 8]


def test_a_row_with_fewer_steps_or_a_state_with_fewer_is_not_taken(tmp_path):
    more = made(tmp_path / "more", [(1, 1000)], keep=False)
    less = made(tmp_path / "less", [(1, 500)])
    merged = merge(more.paths.root, [less.paths.root])
    assert (merged.sources[0].present, merged.sources[0].states) == (1, 1)  # its state is better than none
    assert more.cells()["step"].tolist() == [1000] and more.states() == {cell_id(1): 500}
    most = made(tmp_path / "most", [(1, 2000)])
    assert merge(most.paths.root, [less.paths.root]).sources[0].states == 0
    assert most.states() == {cell_id(1): 2000}


def test_cells_with_other_numbers_are_named_and_those_here_stay(two, tmp_path):
    other = Store.create(tmp_path / "other")
    other.commit(row(1, elbo=-1.0, host="gpu"), history(1))
    other.commit(row(2, host="gpu", study="theirs", wall_s=9.0), history(2))
    merged = merge(two[0], [other.paths.root])
    assert merged.sources[0].differing == [cell_id(1)] and merged.sources[0].present == 2
    assert Store.open(two[0]).cells()["elbo"].tolist() == [1.25, 2.25, 3.25]


@pytest.mark.fault
def test_a_crash_at_any_call_is_made_good_by_merging_again(monkeypatch, tmp_path, times, injected):
    """The target has a cell with fewer steps, one that only it has, and the source one with its kept state."""
    source = made(tmp_path / "source", [(1, 1000), (2, 500)]).paths.root
    before = content(source)
    target = made(tmp_path / "target", [(1, 500), (3, 500)]).paths.root
    whole = shutil.copytree(target, tmp_path / "whole")
    merge(whole, [source])
    expected = content(whole, *RESULTS, "superseded")

    def check(root, finished):
        store = Store.open(root)
        assert store.check() == [] and content(source) == before
        rows = {each["cell_id"]: each["step"] for each in store.read("cells")[0].to_pylist()}
        assert rows[cell_id(1)] in (500, 1000) and rows[cell_id(3)] == 500
        if finished:
            assert len(rows) == 3
        merge(root, [source])
        assert content(root, *RESULTS, "superseded") == expected
        assert temporary_files(store) == []

    crashes = crash_everywhere(
        monkeypatch, tmp_path, lambda root: Store.open(shutil.copytree(target, root)),
        lambda store: merge(store.paths.root, [source]), check, every=times(4, 1, 1),
    )  # fmt: skip
    assert crashes >= times(10, 40, 40)
    injected("crashes at a call of the system, in a merge", crashes)


def test_damaged_files_of_a_source_are_left_out_and_named_and_all_else_is_taken(two, tmp_path):
    first = Store.open(two[0])
    torn = first.committed()[cell_id(1)][0].path
    torn.write_bytes(torn.read_bytes()[:-10])
    flipped = first.paths.row("history", first.committed()[cell_id(2)][0].name)
    data = bytearray(flipped.read_bytes())
    data[100] ^= 1
    flipped.write_bytes(data)
    (weights,) = first.paths.kept(cell_id(3)).glob("*.safetensors")
    weights.write_bytes(b"x" * weights.stat().st_size)
    before = content(two[0])
    merged = merge(tmp_path / "all", [two[0]])
    assert {fault.path for fault in merged.damaged} == {torn, flipped, weights}
    store = Store.open(tmp_path / "all")
    assert sorted(store.committed()) == [cell_id(3)] and sorted(store.states()) == [cell_id(1), cell_id(2)]
    assert store.check() == [] and content(two[0]) == before
    assert sorted(merge(tmp_path / "all", two).target.committed()) == [cell_id(n) for n in (2, 3, 4)]


def test_what_is_damaged_here_is_mended_from_there(two):
    """A row by its checksum; a state by what its description says of itself."""
    store = Store.open(two[0])
    path = store.committed()[cell_id(2)][0].path
    path.write_bytes(path.read_bytes()[:-1])
    (note,) = store.paths.kept(cell_id(2)).glob("*.json")
    note.write_bytes(note.read_bytes()[:-1])
    merged = merge(two[0], [two[1]])
    assert [fault.path for fault in merged.quarantined] == [path]
    assert store.read_row(path) == row(2) and store.check() == []


def test_a_source_of_a_newer_version_ends_it_with_nothing_changed(two, tmp_path, monkeypatch):
    from sweeper.store import rows

    newer = Store.create(tmp_path / "newer")
    with monkeypatch.context() as patch:
        patch.setattr(rows, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        newer.commit(row(9, schema_version=SCHEMA_VERSION + 1), history(9))
    before = content(two[0])
    with pytest.raises(StoreNewer, match="newer"):
        merge(two[0], [two[1], newer.paths.root])
    with pytest.raises(StoreNewer):
        merge(tmp_path / "new", [newer.paths.root])
    newer.paths.version.write_text(f'{{"format": "sweeper store", "schema_version": {SCHEMA_VERSION + 1}}}')
    with pytest.raises(StoreNewer):
        merge(two[0], [newer.paths.root])
    assert content(two[0]) == before and not (tmp_path / "new").exists()


def test_what_cannot_be_merged(two, tmp_path):
    (tmp_path / "link").symlink_to(two[0])
    for source in (two[0], tmp_path / "link"):
        with pytest.raises(StudyError, match="is the store to merge into"):
            merge(two[0], [two[1], source])
    with pytest.raises(StoreUnwritable, match="no store at"):
        merge(tmp_path / "all", [tmp_path / "nowhere"])
    with Store.open(two[0]).lock(), pytest.raises(StoreInUse):
        merge(two[0], [two[1]])
    assert not (tmp_path / "all").exists()


def test_rows_superseded_by_a_run_on_the_source_meanwhile_are_still_taken(two, tmp_path, monkeypatch):
    from sweeper import merge as module

    real = module.survey

    def surveyed(source):
        found = real(source)
        source.commit(row(4, 1000), history(4, 1000))
        return found

    monkeypatch.setattr(module, "survey", surveyed)
    merge(tmp_path / "all", [two[1]])
    store = Store.open(tmp_path / "all")
    assert store.read_row(store.committed()[cell_id(4)][0].path) == row(4) and store.check() == []


def test_two_machines_half_a_grid_each_are_one_run(tiny, sweeper_command):
    """Trained apart, merged by the command, and gone on with: the same bits as one machine's run."""
    brief = {"train": {"steps": 20}}
    whole, left = tiny(store="whole", **brief), tiny(store="left", cells={"seed": 0}, **brief)
    right = tiny(store="right", cells={"seed": 1, "rho": [0.8, 0.95]}, **brief)
    for study in (whole, left, right):
        study.run()
    both = whole.store.with_name("both")
    done = sweeper_command.run(["merge", str(both), str(left.store), str(right.store)])
    assert done.code == 0, done.err
    assert "3 cells taken" in done.out and "2 cells taken" in done.out and "5 cells committed" in done.out
    assert "its study asks otherwise: cells.seed: 0 → 1" in done.out
    assert load(both) == load(left.store)  # the target was new: the first source's study
    found = json.loads(sweeper_command.run(["merge", str(both), str(left.store), str(right.store), "--json"]).out)
    assert [source["present"] for source in found["sources"]] == [3, 2] and found["committed"] == 5
    assert not any(source["differing"] or source["added"] for source in found["sources"])
    merged = tiny(store="both", **brief)
    outcome = merged.run()
    assert outcome.before.counts == {"done": 5, "train": 1} and not outcome.after.missing
    assert same(whole.store, both)
    again = merged.run("train.steps=30")  # from the states that came along
    assert again.before.counts == {"continue": 6} and {item.start for item in again.before.missing} == {20}
    whole.run("train.steps=30")
    assert table(whole.store) == table(both)


def load(store):
    """The text of a store's study."""
    return (store / "study.yaml").read_text()


def test_the_command_exits_with_65_where_a_source_was_damaged(two, tmp_path, sweeper_command):
    path = Store.open(two[0]).committed()[cell_id(1)][0].path
    os.truncate(path, 100)
    shown = sweeper_command.run(["merge", str(tmp_path / "all"), *map(str, two)])
    assert shown.code == 65 and f"damaged, not taken: {path}: " in shown.out and "Traceback" not in shown.err
    assert "next:" not in shown.out  # no study was run on any of them
    found = json.loads(sweeper_command.run(["merge", str(tmp_path / "all"), *map(str, two), "--json"]).out)
    assert [each["path"] for each in found["sources"][0]["damaged"]] == [str(path)]
    in_use = sweeper_command.run(["merge", str(two[0]), str(two[0])])
    assert in_use.code == 2 and len(in_use.err.splitlines()) == 1


def test_pictures_come_along_unless_they_are_damaged(two, tmp_path):
    source = Store.open(two[0])
    pictures = to_png({"images": np.zeros((2, 3, 3), np.uint8)})
    for number in (7, 8):
        source.commit(row(number, 500), history(number, 500), pictures)
    torn = source.paths.picture(source.committed()[cell_id(8)][0].path.name)
    torn.write_bytes(pictures[:-1])
    merged = merge(tmp_path / "all", [two[0]])
    assert [fault.path for fault in merged.damaged] == [torn]
    found = merged.target.pictures(cell_id(7))
    assert found is not None and found[0] == pictures
    assert merged.target.pictures(cell_id(8)) is None and cell_id(8) in merged.target.committed()
