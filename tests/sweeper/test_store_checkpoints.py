"""Checkpoints, kept states, progress, stop requests and failures."""

import math

import numpy as np
import pytest
from store_process import tensors
from store_rows import cell_id, history, row

from sweeper.errors import StoreDamaged
from sweeper.store import Store

IDS = [cell_id(n) for n in range(4)]


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store")


def save(store, attempt, step, ids=tuple(IDS[:3])):
    store.save_running(attempt, step, tensors(step, len(ids)), {"cell_ids": list(ids), "note": [float("nan"), 0.1]})


def test_cells_are_sliced_out_of_a_stack_in_the_order_asked_for(store):
    save(store, "a", 100)
    loaded, meta = store.load_running("a", 100, [IDS[2], IDS[0]])
    np.testing.assert_array_equal(loaded["weight"], tensors(100)["weight"][[2, 0]])
    assert loaded["weight"].dtype == np.float32 and loaded["step"].tolist() == [100, 100]
    assert meta["cell_ids"] == IDS[:3] and meta["note"][1] == 0.1
    with pytest.raises(StoreDamaged, match=IDS[3]):
        store.load_running("a", 100, [IDS[3]])
    with pytest.raises(StoreDamaged, match="no checkpoint of step 101"):
        store.load_running("a", 101, [IDS[0]])


def test_two_generations_stay_and_the_best_of_each_cell_is_found(store):
    for step in (100, 200, 300):
        save(store, "a", step)
    save(store, "b", 250, IDS[1:])
    assert [(record.attempt, record.step) for record in store.running()] == [("a", 300), ("b", 250), ("a", 200)]
    best = store.best_running()
    assert {name: record.attempt for name, record in best.items()} == dict(zip(IDS, "aaab", strict=True))


def test_attempts_are_swept_once_their_cells_are_finished_or_further_elsewhere(store):
    """A study that asks for fewer cells or steps takes nothing from those that another run will continue."""
    save(store, "a", 300)
    save(store, "b", 250, IDS[1:])
    save(store, "c", 100, IDS[:1])
    store.write_progress("d", {"step": 1})
    assert store.sweep_running({}, live=["d"]) == ["c"]
    assert store.sweep_running({IDS[3]: 250}) == ["b", "d"]
    assert store.sweep_running({IDS[0]: 300, IDS[1]: 300, IDS[2]: 299}) == []
    assert store.sweep_running({IDS[0]: 300, IDS[1]: 300, IDS[2]: math.inf}) == ["a"]
    assert store.running() == [] and list(store.paths.running.iterdir()) == []


@pytest.mark.parametrize("attempt", ["../x", "a/b", "", ".", "..", ".hidden", "a\n", "x" * 200])
def test_a_name_cannot_leave_the_store(store, attempt):
    with pytest.raises(ValueError, match="attempt should match"):
        save(store, attempt, 1)
    with pytest.raises(ValueError, match="attempt should match"):
        store.remove_running(attempt)
    with pytest.raises(ValueError, match="cell id should match"):
        store.save_state(attempt, 1, {}, {})


def test_a_linked_attempt_is_neither_read_nor_swept(store, tmp_path):
    save(store, "a", 100)
    (tmp_path / "elsewhere").mkdir()
    (store.paths.running / "a").rename(tmp_path / "elsewhere" / "a")
    (store.paths.running / "b").symlink_to(tmp_path / "elsewhere" / "a")
    assert store.running() == [] and store.sweep_running({}) == []
    store.remove_running("b")
    assert len(list((tmp_path / "elsewhere" / "a").iterdir())) == 2


def test_a_stack_without_an_axis_of_cells_is_refused(store):
    with pytest.raises(ValueError, match="leading axis of 3, got \\(2, 5\\)"):
        store.save_running("a", 1, {"w": np.zeros((2, 5))}, {"cell_ids": IDS[:3]})


def test_a_kept_state_is_replaced_by_a_newer_one(store):
    for steps in (500, 1000):
        store.save_state(IDS[0], steps, {"weight": np.full((2, 3), steps / 7)}, {"steps": steps})
    assert store.states() == {IDS[0]: 1000}
    kept, meta = store.load_state(IDS[0])
    np.testing.assert_array_equal(kept["weight"], np.full((2, 3), 1000 / 7))
    assert meta == {"steps": 1000}
    assert len(list(store.paths.kept(IDS[0]).iterdir())) == 2
    with pytest.raises(StoreDamaged, match="no kept state"):
        store.load_state(IDS[1])
    store.remove_state(IDS[0])
    assert store.states() == {}


def test_another_cells_state_is_not_taken_for_ones_own(store):
    store.save_state(IDS[0], 500, {"weight": np.ones(2)}, {})
    store.paths.kept(IDS[0]).rename(store.paths.kept(IDS[1]))
    with pytest.raises(StoreDamaged, match=f"state of {IDS[0]}"):
        store.load_state(IDS[1])


def test_progress_is_what_was_said_last_until_cleared_or_repaired(store):
    for step in (1, 2):
        store.write_progress("b", {"step": step})
    store.write_progress("a", {"step": 3})
    assert store.progress() == [{"step": 3, "attempt": "a"}, {"step": 2, "attempt": "b"}]
    store.clear_progress("a")
    store.clear_progress("a")
    assert [note["attempt"] for note in store.progress()] == ["b"]
    with store.lock():
        store.repair()
    assert store.progress() == []


def test_a_stop_request_is_for_one_run(store):
    assert not store.stop_requested("run-1")
    store.request_stop("run-1")
    assert store.stop_requested("run-1") and not store.stop_requested("run-2")
    store.clear_stop()
    assert not store.stop_requested("run-1")


def test_a_failure_is_named_until_its_cell_commits_or_a_new_run_begins(store):
    store.record_failure(IDS[:3], "a", "Traceback …", store.paths.log / "a.log")
    assert [failure.cell_id for failure in store.failures()] == IDS[:3]
    assert store.failures()[0].traceback == "Traceback …" and store.failures()[0].log.endswith("a.log")
    store.commit(row(1), history(1))
    assert [failure.cell_id for failure in store.failures()] == [IDS[0], IDS[2]]
    store.clear_failures()
    assert store.failures() == []
