"""`sweeper export optuna`: Optuna reads back what the Parquet says."""

import json

import numpy as np
import optuna
import pytest

from sweeper.analysis.curves import at_their_last_step
from sweeper.parameters.order import parse_order_parameter
from sweeper.refine.export import export_optuna, open_storage
from sweeper.refine.sampler import OnsetSampler


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def study(tiny):
    """A curve of four cells, a diverged cell of another, and a plain cell that is on no curve."""
    grid = [
        {"rho": [0.8, 1], "seed": [0, 1], "smoothing_samples": 2},
        {"rho": [0.9], "seed": 0, "smoothing_samples": 3, "learning_rate": 1e3},
        {"latents": "4", "objective": "vae", "rho": None, "smoothing_samples": None, "seed": 7},
    ]
    made = tiny(train={"steps": 20}, evaluation={"every": 10}, cells={"activation": "relu"})
    text = json.loads(made.path.read_text())
    text["cells"] = [{k: v for k, v in (text["cells"] | block).items() if v is not None} for block in grid]
    made.path.write_text(json.dumps(text))
    return made.trained()


@pytest.mark.parametrize("storage", ["sqlite:///{}/optuna.db", "{}/journal"], ids=["sqlite", "journal"])
def test_optuna_reads_back_every_cell(study, sweeper_command, tmp_path, storage):
    place = storage.format(tmp_path)
    for _ in range(2):  # the second replaces what the first wrote
        run = sweeper_command.run([*study.argv("export")[:1], "optuna", str(study.store), "--storage", place])
        assert run.wait() == 0, run.err
    rows = {row["cell_id"]: row for row in study.opened().read("cells")[0].to_pylist()}
    opened = open_storage(place)
    names = optuna.get_all_study_names(opened)
    assert sorted(names) == sorted(run.out.splitlines()[:-1]) and len(names) == 3
    assert all(name.startswith("tiny: digits · mlp ") for name in names)
    seen = []
    for name in names:
        for trial in optuna.load_study(study_name=name, storage=opened).trials:
            row = rows[trial.user_attrs["cell_id"]]
            assert trial.params == {"rho": row["rho"], "seed": row["seed"]}
            assert trial.state.name == ("FAIL" if row["state"] == "diverged" else "COMPLETE")
            assert row["state"] == "diverged" or trial.value == row["kl_top"]
            assert trial.user_attrs.get("active_units") == row["active_units"]
            assert row["state"] == "diverged" or list(trial.intermediate_values) == [0, 10, 20]
            assert trial.duration.total_seconds() == pytest.approx(row["wall_s"] + row["evaluation_s"], abs=1e-3)
            seen.append(row["cell_id"])
    assert set(seen) == set(rows) and len(seen) == len(rows)


@pytest.mark.parametrize("name", ["kl_per_unit_top", "relative_activity_2", "validation_kl_top", "kl_total"])
def test_any_order_parameter_is_the_value_of_a_trial(study, tmp_path, name):
    store = study.opened()
    cells, history = store.cells(), store.history()
    asked = parse_order_parameter(name)
    rows = at_their_last_step(cells, history) if asked.on_validation else cells
    wanted = dict(zip(rows["cell_id"], asked.of(rows), strict=True))
    opened = open_storage(str(tmp_path / "journal"))
    exported = (store.read(kind)[0].to_pylist() for kind in ("cells", "history"))
    for made in export_optuna(*exported, opened, "x", name):
        for trial in optuna.load_study(study_name=made, storage=opened).trials:
            value = wanted[trial.user_attrs["cell_id"]]
            assert trial.value == value if np.isfinite(value) else trial.value is None
            assert bool(trial.intermediate_values) == asked.in_history


def test_the_sampler_goes_on_from_an_exported_study(study, tmp_path):
    """It sees the points of the curve, a diverged cell among them."""
    storage = open_storage(f"sqlite:///{tmp_path}/optuna.db")
    rows = study.opened().read("cells")[0].to_pylist()
    names = export_optuna(rows, [], storage, "again")
    curve = next(name for name in names if "smoothing samples 2" in name)
    loaded = optuna.load_study(study_name=curve, storage=storage)
    points = OnsetSampler([(0.8, 0)], 0.05, 10).points(loaded.trials)
    assert set(points.values) == {(0.8, 0), (0.8, 1), (1.0, 0), (1.0, 1)}


def test_a_study_of_somebody_else_is_left_alone(study, sweeper_command, tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/optuna.db")
    rows = study.opened().read("cells")[0].to_pylist()
    name = export_optuna(rows, [], storage, "tiny")[0]
    optuna.delete_study(study_name=name, storage=storage)
    optuna.create_study(study_name=name, storage=storage)
    run = sweeper_command.run(["export", "optuna", str(study.store), "--storage", f"sqlite:///{tmp_path}/optuna.db"])
    assert run.wait() == 2 and "no export wrote" in run.err and "Traceback" not in run.err
    assert optuna.load_study(study_name=name, storage=storage).trials == []
