"""Resume: whatever ends a run, the same command goes on, and its results are an undisturbed run's, bit for bit."""

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
from conftest import same, table

from models.cell import cell_id
from models.kernels.compiled import compiler
from sweeper.driver import clock, worker
from sweeper.store.paths import parse_row
from tests.sweeper.faulty_procedure import planted

BRIEF = {"steps": 20}


def files(store):
    """Every row and history file, with what changes when it is written anew."""
    paths = [*store.paths.rows("cells").iterdir(), *store.paths.rows("history").iterdir()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@pytest.fixture
def trained():
    """The (cells, step) of every training step done in this process."""
    steps = []
    with planted(lambda stack: steps.append((len(stack.cells), stack.step))):
        yield steps


class Killed(BaseException):
    """Nothing in a run catches it, as nothing catches a kill."""


def killed_at(step):
    """What plants a kill before this step."""

    def kill(stack):
        if stack.step == step:
            raise Killed

    return planted(kill)


# --- kills


def test_a_kill_costs_at_most_the_steps_since_the_last_checkpoint(tiny, trained, monkeypatch):
    """With a clock that advances by one second per step, and a checkpoint every 7 s."""
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 60, "checkpoint_s": 7}, evaluation={"every": 0})
    monkeypatch.setattr(clock.time, "monotonic", lambda: float(len(trained)))

    for last in (3, 11, 30, 58):
        with killed_at(last), pytest.raises(Killed):
            study.run()
    before = len(trained)
    study.run()
    assert [row["step"] for row in table(study.store)] == [60]
    redone = len(trained) - 60
    assert redone <= 4 * 8 and before > 0
    starts = [now for (_, then), (_, now) in pairwise(trained) if now != then + 1]
    assert starts == [0, 7, 28, 56]


def test_a_kill_between_training_and_commit_keeps_the_state(tiny, trained, monkeypatch):
    """It resumes at the last step: nothing is trained, yet the final state is kept for later extensions."""
    study, straight = tiny(train={"steps": 20}), tiny("straight", train={"steps": 40})

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(worker.Worker, "_commit", killed)
        with pytest.raises(Killed):
            study.run("evaluation.every=0")
    for path in (study.store / "checkpoints").rglob("*.json"):
        path.unlink()  # as if the kill had come before them
    trained.clear()
    study.run("evaluation.every=0")
    assert len(study.opened().states()) == 6
    assert {step for _, step in trained} <= set(range(20))
    trained.clear()
    study.run("evaluation.every=0", "train.steps=40")
    assert min(step for _, step in trained) == 20
    straight.run("evaluation.every=0")
    assert [row | {"study": ""} for row in table(study.store)] == [row | {"study": ""} for row in table(straight.store)]


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
def test_a_row_says_what_did_the_passes_beside_matrix_products_also_where_they_changed(tiny, sweeper_command):
    """Torch for the first half, on a machine without a compiler, and C for the second; without float32 always torch."""
    study = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 40})
    without, unreported = {"SWEEPER_CC": ""}, {"unreported": None}
    for steps, env in ((20, without), (40, {})):
        done = sweeper_command.run(study.argv("run", "--set", f"train.steps={steps}"), env=env, faults=unreported)
        assert done.code == 0, done.err
        rows = study.opened().cells()
        assert set(rows["kernels"]) == {"torch" if env else "compiled, torch"}
        assert set(rows["evaluation_kernels"]) == {"torch" if env else "compiled"}
    double = tiny("double", cells={"rho": 1, "seed": 0, "precision": "float64"}, train={"steps": 2})
    double.run()
    assert double.opened().cells()["kernels"].tolist() == ["torch"]


def test_after_a_stop_in_the_midst_a_checkpoint_says_what_did_the_passes(tiny, monkeypatch):
    """So do states that are only evaluated again: what evaluates them is not what trained them."""
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 60, "checkpoint_s": 0.0001})
    kinds = {"first": "torch", "then": "compiled"}
    monkeypatch.setattr(clock, "LOOK_S", 0.0)
    monkeypatch.setattr(worker.elementwise, "kernels", lambda *_: kinds["first"])

    with killed_at(30), pytest.raises(Killed):
        study.run()
    monkeypatch.setattr(worker.elementwise, "kernels", lambda *_: kinds["then"])
    study.run()
    (row,) = study.opened().cells().to_dict("records")
    assert (row["kernels"], row["evaluation_kernels"]) == ("compiled, torch", "compiled")
    monkeypatch.setattr(worker.elementwise, "kernels", lambda *_: kinds["first"])
    study.run("evaluation.seed=1")
    (row,) = study.opened().cells().to_dict("records")
    assert (row["kernels"], row["evaluation_kernels"]) == ("compiled, torch", "torch")


# --- more of the same


@pytest.mark.parametrize(("first", "then"), [(20, 40), (10, 40)], ids=["at a history row", "between two"])
def test_extending_equals_training_straight(tiny, trained, first, then):
    straight, extended = tiny(), tiny(store="extended")
    straight.run(f"train.steps={then}")
    extended.run(f"train.steps={first}")
    trained.clear()
    extended.run(f"train.steps={then}")
    assert {step for _, step in trained} == set(range(first, then))
    assert same(straight.store, extended.store)
    assert len(list(extended.opened().paths.superseded.joinpath("cells").iterdir())) == 6


@pytest.mark.parametrize(
    "more",
    [
        {"rho": [0.8, 0.95, 1, 0.5]},
        {"seed": [0, 1, 2]},
        {"latents": ["3-2", "4-2"]},
        {"learning_rate": [0.001, 0.002]},
    ],
    ids=["rho", "seed", "width", "learning rate"],
)
def test_a_grown_grid_trains_only_what_is_new(tiny, trained, more):
    study = tiny(train=BRIEF).trained()
    before = files(study.opened())
    old = {cell_id(cell) for cell in study.load().cells}
    grown, fresh = tiny(cells=more, train=BRIEF), tiny(store="fresh", cells=more, train=BRIEF)
    trained.clear()
    outcome = grown.run()
    assert outcome.before.counts["done"] == 6 and not outcome.after.missing
    assert {i.cell_id for i in outcome.before.missing} == {cell_id(c) for c in grown.load().cells} - old
    assert sum(cells for cells, _ in trained) == 20 * len(outcome.before.missing)
    after = files(grown.opened())
    assert before.items() <= after.items()
    fresh.run()
    assert same(grown.store, fresh.store)


def test_a_shrunk_grid_has_nothing_to_do_and_the_report_says_what_it_leaves_out(tiny, trained, sweeper_command):
    tiny(train=BRIEF).trained()
    trained.clear()
    less = tiny(cells={"rho": [0.8, 1]}, train=BRIEF)
    outcome = less.run()
    assert trained == [] and outcome.before.missing == ()
    report = sweeper_command.run(less.argv("report"))
    assert report.code == 0 and "2 cells of the store not in the study, left out" in report.out


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_elsewhere_and_with_other_comments_a_store_is_the_same(tiny, trained, tmp_path, move):
    """Half done, it goes on wherever it lies, under another name of its study's file, with another text around it."""
    study, straight = tiny(train={"steps": 30}), tiny(store="straight", train={"steps": 30})
    study.run("train.steps=10")
    (tmp_path / "elsewhere").mkdir()
    path, store = tmp_path / "elsewhere" / "with comments.yaml", tmp_path / "elsewhere" / "store"
    path.write_text(f"# another text\n{study.path.read_text()}\n# at its end\n")
    move(study.store, store)
    there = replace(study, path=path, store=store)
    trained.clear()
    assert there.run("train.steps=10").before.missing == () and trained == []
    there.run()
    assert {step for _, step in trained} == set(range(10, 30))
    straight.trained()
    assert same(there.store, straight.store)


# --- other evaluations


def test_another_evaluation_uses_the_kept_states_and_equals_a_fresh_run(tiny, trained):
    study, fresh = tiny(train=BRIEF).trained(), tiny(store="fresh", train=BRIEF)
    trained.clear()
    outcome = study.run("evaluation.images=30")
    assert trained == [] and not outcome.after.missing
    assert {(item.action, item.why) for item in outcome.before.missing} == {
        ("evaluate", "evaluated with other settings")
    }
    fresh.run("evaluation.images=30")
    assert same(study.store, fresh.store)
    trained.clear()
    study.run("evaluation.images=20")  # and back
    assert trained == [] and {row["images"] for row in table(study.store)} == {20}


@pytest.mark.parametrize("keep", ["none", "weights"])
def test_what_was_not_kept_is_trained_again_and_the_plan_says_why(tiny, trained, keep):
    study, fresh = tiny(train=BRIEF | {"keep": keep}), tiny(store="fresh", train=BRIEF)
    study.run()
    trained.clear()
    outcome = study.run("evaluation.images=30")
    whys = {item.why for item in outcome.before.missing}
    if keep == "none":
        assert len(trained) == 2 * 20 or len(trained) == 3 * 20
        assert whys == {"evaluated with other settings, and its state was not kept"}
    else:
        assert trained == [] and whys == {"evaluated with other settings"}
    fresh.run("evaluation.images=30")
    assert same(study.store, fresh.store)
    trained.clear()
    outcome = study.run("evaluation.images=30", "train.steps=40")
    assert {item.why for item in outcome.before.missing} == {
        "40 steps asked, 20 done, and no state to train on was kept"
    }
    assert min(step for _, step in trained) == 0 and not outcome.after.missing


def test_fewer_steps_with_another_evaluation_are_committed(tiny, trained):
    """A row with fewer steps never replaces one with more, so the cell is trained to those again."""
    study = tiny(train={"steps": 40, "keep": "none"})
    study.run()
    outcome = study.run("train.steps=20", "evaluation.images=30")
    assert outcome.after.missing == () and outcome.failures == ()
    assert {(row["step"], row["images"]) for row in table(study.store)} == {(40, 30)}


# --- damage between runs


def test_a_torn_row_is_quarantined_named_and_only_its_cell_is_done_again(tiny, trained, sweeper_command):
    study, whole = tiny(train=BRIEF | {"keep": "none"}), tiny(store="whole", train=BRIEF).trained()
    study.run()
    torn = sorted(study.opened().paths.rows("cells").iterdir())[2]
    torn.write_bytes(torn.read_bytes()[:-100])
    trained.clear()
    outcome = study.run()
    assert [fault.path.name for fault in outcome.quarantined] == [torn.name]
    assert [item.cell_id for item in outcome.before.missing] == [parse_row(torn.parent, torn.name).cell_id]
    assert trained == [(1, step) for step in range(20)]
    assert same(study.store, whole.store)
    status = sweeper_command.run(study.argv("status"))
    assert status.code == 0 and torn.name in status.out


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_torn_checkpoint_falls_back_to_the_one_before_for_every_cell_of_its_stack(tiny, trained, capsys, damage):
    """The three go on together, as one stack. What only its checksum tells is read, and named, once for all of them."""
    three = {"rho": 0.9, "seed": [0, 1, 2]}
    study = tiny(cells=three, train=BRIEF | {"checkpoint_s": 0.001})
    whole = tiny(store="whole", cells=three, train=BRIEF)
    with killed_at(15), pytest.raises(Killed):
        study.run()
    newest, before = study.opened().running()
    assert len(newest.cell_ids) == 3 and newest.attempt == before.attempt
    data = bytearray(newest.tensors.read_bytes())
    if damage == "cut":
        del data[-50:]
    else:
        data[len(data) // 2] ^= 1
    newest.tensors.write_bytes(bytes(data))
    trained.clear()
    study.run()
    assert trained == [(3, step) for step in range(before.step, 20)]
    assert capsys.readouterr().err.count("not used: ") == (damage == "flip")
    whole.trained()
    assert same(study.store, whole.store)


def test_cells_that_stand_at_different_steps_share_no_folder_of_checkpoints(tiny, monkeypatch):
    """A cell whose state is damaged starts over beside others that go on: neither prunes the other's checkpoints."""
    study = tiny(cells={"rho": 0.9, "seed": [0, 1, 2]}, train={"steps": 10}, evaluation={"every": 0})
    study.run()
    kept = sorted(study.opened().paths.checkpoints.rglob("*.safetensors"))
    kept[0].write_bytes(b"x" * kept[0].stat().st_size)
    names = set()
    real = worker.Worker._checkpoint

    def checkpoint(self):
        real(self)
        assert self.store.running()[0].attempt and {r.step for r in self.store.running() if r.attempt == self.attempt}
        newest = max(r.step for r in self.store.running() if r.attempt == self.attempt)
        assert newest == self.stack.step
        names.add(self.attempt)

    monkeypatch.setattr(worker.Worker, "_checkpoint", checkpoint)
    study.run("train.steps=20", "train.checkpoint_s=0.001")
    assert len(names) == 2
    whole = tiny(store="whole", cells={"rho": 0.9, "seed": [0, 1, 2]}, train=BRIEF, evaluation={"every": 0})
    whole.run()
    assert same(study.store, whole.store)
