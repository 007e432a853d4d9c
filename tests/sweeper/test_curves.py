"""Rows of a store become the right curves, with nothing dropped unseen."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from models.cell import Cell
from models.cell.words import architecture_without
from sweeper.analysis.curves import curves, select
from sweeper.analysis.figures.methods import nll_activity_data
from sweeper.analysis.files import write_files
from sweeper.analysis.report import analyse
from sweeper.analysis.tables import critical_table, points_table
from sweeper.parameters.control import axis_of
from sweeper.parameters.order import parse_order_parameter
from tests.sweeper.synthetic import GRID, flat, rows_of, store


@pytest.fixture(scope="module")
def rows():
    return store(data=("mnist", "omniglot"), latents=("40-40", "40-40-40"))


def test_plain_cells_are_the_end_of_every_smoothed_curve_of_their_kind():
    """Two values of S share one set of plain cells; the variant says which is which."""
    cells, _ = store(smoothing_samples=(2, 5))
    found = curves(cells)
    assert [curve.variant for curve in found] == ["smoothing samples 2", "smoothing samples 5"]
    for curve in found:
        assert curve.control.tolist() == sorted(GRID) and curve.values.shape == (3, len(GRID))
        assert np.isfinite(curve.values).all() and curve.objective == "ou" and curve.steps == (6000, 6000)
    assert np.array_equal(found[0].values[:, -1], found[1].values[:, -1])


def test_one_curve_a_data_set_and_architecture(rows):
    found = curves(rows[0])
    assert [curve.label for curve in found] == [
        f"{data} · mlp {latents} (64-64)" for data in ("mnist", "omniglot") for latents in ("40-40", "40-40-40")
    ]


def test_the_words_of_a_curve_leave_the_control_parameter_open():
    """Along the decoder's layers a curve is one, named as one, and its cells are one mark in a legend."""
    cells = rows_of(
        [
            Cell(data="digits", network="pixelcnn", latents="8", seed=seed, decoder_layers=layers, skip=skip)
            for layers in (1, 2, 3, 4, 6) for seed in range(3) for skip in ("none", "all")
        ],
        lambda cell: 2.0 / cell.decoder_layers,
    )  # fmt: skip
    found = curves(cells, reference=1, axis=axis_of("decoder_layers"))
    words = "pixelcnn 8 (… layers of 16 maps, 3×3; resnet 200-200)"
    assert [curve.architecture for curve in found] == [words, f"{words} skips"]
    named = nll_activity_data(cells, found, found[0].axis)["label"]
    assert sorted(set(named)) == [f"{words} skips · vae", f"{words} · vae"]
    sizes = Cell(data="cifar10", network="resnet", latents="8x4x4", likelihood="logistic", maps=16, blocks=2, seed=0)
    assert architecture_without(sizes, "maps") == "resnet 8x4x4 (… maps, 2 blocks)"
    assert architecture_without(sizes, "blocks") == "resnet 8x4x4 (16 maps, … blocks)"
    assert architecture_without(sizes, "rho") == sizes.architecture
    assert sizes.architecture == "resnet 8x4x4 (16 maps, 2 blocks)"  # the cell itself is as it was


def test_plain_cells_alone_are_a_curve_without_a_number(rows):
    cells = rows[0][rows[0]["objective"] == "vae"]
    found = curves(cells)
    assert len(found) == 4 and found[0].transition.onset.reason.startswith("reference outside the grid")


def test_only_asked_cells_and_the_row_with_most_steps_count(rows):
    cells = rows[0]
    longer = cells.iloc[[0]].assign(step=9000, kl_top=77.0)
    kept = select(pd.concat([longer, cells]), asked=set(cells["cell_id"][:5]))
    assert len(kept) == 5
    assert kept.set_index("cell_id").loc[cells["cell_id"][0], "kl_top"] == 77.0


def test_a_quantity_of_any_layer_can_be_the_order_parameter(rows):
    """Networks without the layer are left out."""
    cells = rows[0]
    top, per_unit, active = (curves(cells, name)[0] for name in ("kl_top", "kl_per_unit_top", "active_units_2"))
    assert per_unit.values == pytest.approx(top.values / 40)
    assert active.values.max() == 40 and (active.values == active.values.round()).all()
    assert (curves(cells, "relative_activity_2")[0].values == active.values / 40).all()
    third = curves(cells, "relative_activity_3")
    assert [curve.architecture for curve in third] == ["mlp 40-40-40 (64-64)"] * 2
    with pytest.raises(ValueError, match="got 'kl_tip', did you mean 'kl_top'"):
        curves(cells, "kl_tip")


def test_order_parameter_of_a_layer_is_that_layers_entry():
    frame = pd.DataFrame(
        {"latents": [[8, 4, 2], [6, 3]], "kl_per_layer": [[3.0, -1.0, 0.5], None], "kl_top": [0.5, np.nan]}
    )
    assert parse_order_parameter("kl_2").of(frame) == pytest.approx([-1.0, np.nan], nan_ok=True)
    assert parse_order_parameter("kl_per_unit_1").of(frame) == pytest.approx([3 / 8, np.nan], nan_ok=True)
    assert parse_order_parameter("kl_per_unit_top").of(frame) == pytest.approx([0.25, np.nan], nan_ok=True)
    assert parse_order_parameter("kl_top").label == "KL of the top layer (nats)"
    assert parse_order_parameter("relative_activity_2").label == "relative activity of layer 2 (share of units)"


def test_the_order_parameter_may_be_that_on_validation_images(rows):
    """The history's at the last step: a cell whose history ends before has none, and what it has not is refused."""
    cells, history = rows
    asked = cells.assign(step=6000)
    ending = history.sort_values("step").drop_duplicates("cell_id", keep="last").assign(step=6000)
    ending["kl_top"] = np.arange(len(ending), dtype=float)
    history = pd.concat([history[history["step"] < 6000], ending])
    wanted = ending.set_index("cell_id")["kl_top"]
    for curve in curves(asked, "validation_kl_top", history=history):
        assert (curve.values == [[wanted[name] for name in names] for names in curve.cell_ids]).all()
    lost = ending["cell_id"].iloc[0]
    found = curves(asked, "validation_kl_top", history=history[(history["cell_id"] != lost) | (history["step"] < 6000)])
    assert sum(int(np.isnan(curve.values).sum()) for curve in found) == 1
    assert parse_order_parameter("validation_kl_top").label == "KL of the top layer on validation images (nats)"
    assert parse_order_parameter("validation_kl_total").words == "total KL on validation images"
    with pytest.raises(ValueError, match="is in the history"):
        curves(asked, "validation_kl_top")
    with pytest.raises(ValueError, match="active_units is not measured on validation images"):
        parse_order_parameter("validation_active_units_top")


def test_a_report_on_validation_images_says_so_and_takes_them(tiny, sweeper_command):
    """From the study to table, page and export; `predict` follows the same curves, here to no number."""
    study = tiny(
        cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20}, evaluation={"every": 10},
        analysis={"order_parameter": "validation_kl_top"},
    )  # fmt: skip
    study.run()
    place = str(study.store)
    for command in (
        ["report", place, "--json"],
        ["predict", place, "--below", "0.7"],
        ["export", "optuna", place, "--storage", f"{place}/journal"],
    ):
        done = sweeper_command.run(command)
        assert done.code == 0, done.err
    store = study.opened()
    last = store.history().query("step == 20").set_index("cell_id")["kl_top"]
    (curve,) = curves(store.cells(), "validation_kl_top", history=store.history())
    assert curve.values[0].tolist() == [last[name] for name in curve.cell_ids[0]]
    assert curve.values[0].tolist() != curves(store.cells())[0].values[0].tolist()
    page = (store.paths.analysis / "report.html").read_text()
    assert "KL of the top layer on validation images" in page
    assert set(pd.read_parquet(store.paths.analysis / "critical.parquet")["order_parameter"]) == {"validation_kl_top"}


def test_diverged_cells_are_points_without_a_value(rows):
    cells = rows[0].copy()
    place = cells.index[(cells["rho"] == 0.87) & (cells["seed"] == 1)][0]
    cells.loc[place, ["state", "kl_top", "step"]] = ["diverged", np.nan, 17]
    curve = next(c for c in curves(cells) if c.diverged.any())
    assert curve.diverged[1, curve.control.tolist().index(0.87)] and curve.steps == (6000, 6000)
    onset = curve.transition.onset
    assert (onset.n_diverged, onset.n_missing) == (1, 0) and onset.value is not None
    points = points_table([curve]).set_index("rho").loc[0.87]
    assert (points["seeds"], points["n_diverged"]) == (2, 1)


def test_critical_table_has_number_or_reason(rows):
    """One row per curve and kind; columns keep their types where no curve has a number."""
    table = critical_table(curves(rows[0]))
    assert len(table) == 8 and set(table["kind"]) == {"onset", "midpoint"}
    assert (table["critical"].notna() ^ table["reason"].notna()).all()
    assert (table["low_wide"] <= table["low"]).all() and (table["high"] <= table["high_wide"]).all()
    assert table.filter(like="weight_").sum(axis=1).to_numpy() == pytest.approx(1)
    none = critical_table(curves(store(shape=flat)[0]))
    assert none["reason"].str.startswith("flat curve").all() and none.dtypes["critical"] == table.dtypes["critical"]


def test_report_of_a_study(rows, blank_figures, tmp_path):
    """Headline, notes, JSON and files; cells that the study does not ask for are counted and left out."""
    cells, history = rows
    asked = set(cells["cell_id"][cells["data"] == "mnist"]) | {"not yet there"}
    found = analyse(cells, history, study_name="planted", asked=asked)
    found = write_files(found, select(cells, asked), history, tmp_path / "analysis")
    lines = found.headline()
    assert len(lines) == 6 and "mlp 40-40 (64-64) and mlp 40-40-40 (64-64): the same critical ρ" in lines[4]
    assert all(": by active units of the top layer: " in line for line in lines[2:4])
    assert lines[5].startswith(
        "all conditional on: onset at 10 % of the way to ρ = 0.8, smoothing samples 5, batch size"
    )
    assert lines[0].startswith("mnist · mlp 40-40 (64-64): critical ρ (onset) 0.94")
    assert "95 % interval over 3 seeds" in lines[0] and "; midpoint 0.9" in lines[0]
    assert found.notes[:2] == [
        "1 of the study's 79 cells without a result yet",
        "78 cells of the store not in the study, left out",
    ]
    for curve, note in zip(found.curves, found.notes[2:], strict=True):
        assert note.startswith(f"{curve.label}: checks: variance peak ρ = 0.") and note.endswith(": converged")
    assert all(path.stat().st_size > 500 for path in found.tables)
    assert {path.stem for path in found.figures} == {
        "phase", "activity_by_layer", "activity_grid", "training", "critical_by_step", "comparisons",
    }  # fmt: skip
    told = json.loads(found.to_json())
    assert told["curves"][0]["onset"]["seeds"] == [0, 1, 2]
    back = pd.read_parquet(tmp_path / "analysis" / "critical.parquet")
    text = pd.read_csv(tmp_path / "analysis" / "critical.csv")
    assert back["critical"].to_numpy() == pytest.approx(text["critical"].to_numpy(), abs=1e-8)


def test_report_says_which_networks_lack_the_layer(rows):
    cells = rows[0][rows[0]["data"] == "mnist"]
    found = analyse(cells, pd.DataFrame(), study_name="third", order_parameter="relative_activity_3")
    assert [curve.architecture for curve in found.curves] == ["mlp 40-40-40 (64-64)"]
    assert found.notes[0] == "39 cells of networks without a layer 3, left out"
    assert found.to_dict()["unit"] == "share of units"


def test_report_of_nothing(tmp_path):
    found = analyse(pd.DataFrame(), pd.DataFrame(), study_name="none", asked={"a"})
    found = write_files(found, pd.DataFrame(), pd.DataFrame(), tmp_path / "analysis")
    assert found.headline() == [] and found.notes == ["1 of the study's 1 cell without a result yet"]
    assert not (tmp_path / "analysis").exists()


def test_report_without_a_number_says_why():
    cells, history = store(shape=flat)
    found = analyse(cells, history, study_name="flat")
    assert found.headline()[0].startswith("digits · mlp 10-10-10 (64-64): no critical ρ: flat curve")


def test_analysis_needs_no_torch_and_no_pyplot():
    code = (
        "import sys, sweeper.analysis.report; sys.exit(sum(m in sys.modules for m in ('torch', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
