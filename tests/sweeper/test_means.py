"""Classification of posterior means and their picture: from the study to rows, warnings, figure and page."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from sweeper.analysis.curves import curves, select
from sweeper.analysis.figures.means import coloured, means_data, means_figure
from sweeper.analysis.html.curve_chart import order_chart
from sweeper.analysis.html.means import means_blocks
from sweeper.analysis.methods import method_table, printed
from sweeper.cli.words.plan import plan_lines
from sweeper.errors import DataMissing
from sweeper.parameters.control import RHO
from sweeper.planning import make_plan
from sweeper.run import fetch_data
from sweeper.store.pictures import to_png
from tests.sweeper.synthetic import store as synthetic

COLUMNS = (
    "classification_accuracy", "classification_se", "classification_images", "classification_chance",
    "means_components", "means_shares", "means_labels",
)  # fmt: skip


def test_asking_later_evaluates_anew_without_training_and_changes_nothing_else(tiny):
    small = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20})
    small.run()
    before = small.opened().cells().set_index("cell_id")
    assert before[list(COLUMNS)].isna().all(axis=None)
    plan = make_plan(small.load("evaluation.classification=60"), small.opened())
    assert {item.action for item in plan.missing} == {"evaluate"}
    small.run("evaluation.classification=60")
    after = small.opened().cells().set_index("cell_id").loc[before.index]
    for name in ("elbo", "kl_top", "iw_bound", "step"):
        assert before[name].equals(after[name])
    for row in after.itertuples():
        assert np.shape(row.classification_accuracy) == np.shape(row.classification_se) == (row.depth,)
        assert row.classification_images == 60 and 0 <= row.classification_chance <= 1
        assert np.shape(list(row.means_components)) == (2, 20) and np.shape(row.means_labels) == (20,)


def test_one_image_is_too_few_to_learn_from(tiny):
    with pytest.raises(Exception, match="at least 2 images"):
        tiny(evaluation={"classification": 1}).load()


def test_data_without_labels_are_named_before_anything_is_trained(tiny):
    """Only where a classification is asked for."""
    small = tiny(cells={"data": ["digits", "mnist_static"]})
    asked = make_plan(small.load("evaluation.classification=60"), None)
    (line,) = [line for line in plan_lines(asked, None) if "labels" in line]
    assert line == "warning: data set mnist_static has no labels: classification_accuracy stays null (6 cells)"
    assert not [line for line in plan_lines(make_plan(small.load(), None), None) if "labels" in line]


def test_a_missing_file_of_labels_ends_the_run_before_any_training(tiny, data_dir, tmp_path, monkeypatch):
    """Which it does not where nobody asks for labels."""
    (tmp_path / "mnist").mkdir()
    for file in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (tmp_path / "mnist" / file).symlink_to(data_dir / "mnist" / file)
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("models.data.download.download", lambda *_: (_ for _ in ()).throw(OSError("no network")))
    small = tiny(cells={"data": "mnist"})
    fetch_data(make_plan(small.load(), None))
    with pytest.raises(DataMissing, match=r"no mnist/train-labels-idx1-ubyte.gz: put it at"):
        fetch_data(make_plan(small.load("evaluation.classification=60"), None))


@pytest.fixture
def planted():
    """Rows of digits whose top layer tells classes apart as far as it is alive."""
    cells, _ = synthetic(latents=("8-4",))
    drawn = np.random.default_rng(0)
    labels = np.arange(40) % 10
    angle = 2 * np.pi * labels / 10
    alive = cells["kl_top"] / cells["kl_top"].max()
    cells["classification_accuracy"] = [[0.95, 0.1 + 0.8 * share] for share in alive]
    cells["classification_se"] = [[0.01, 0.02]] * len(cells)
    cells["classification_chance"] = 0.1
    cells["means_labels"] = [labels] * len(cells)
    cells["means_shares"] = [[0.6, 0.3]] * len(cells)
    cells["means_components"] = [
        [np.cos(angle) * share + 0.1 * drawn.standard_normal(40), np.sin(angle) * share] for share in alive
    ]
    return select(cells)


def test_the_points_shown_are_those_of_the_cells_drawn(planted):
    """At the reference, on either side of the onset and at the collapsed end, of the first seed that has any."""
    (curve,) = curves(planted)
    found = means_data(curve, planted)
    onset = curve.transition.onset.value
    values = [each.value for each in found]
    assert values[0] == 0.8 and values[-1] == 1.0 and values[1] < onset < values[2] and len(values) == 4
    assert {each.seed for each in found} == {0} and all(coloured(each) for each in found)
    first = curve.cell_ids[0]
    assert means_data(curve, planted.assign(means_components=None)) == []
    rest = planted.copy()
    rest.loc[rest["cell_id"].isin(first), "means_components"] = None
    assert {each.seed for each in means_data(curve, rest)} == {1}


def test_the_figure_has_a_point_per_image_in_the_colour_of_its_class(planted):
    (curve,) = curves(planted)
    figure = means_figure([curve], planted)
    (panel, *_) = figure.axes
    assert len(figure.axes) == 4 and len(panel.get_lines()) == 10
    assert sum(len(line.get_xdata()) for line in panel.get_lines()) == 40
    assert [line.get_label() for line in panel.get_lines()] == list("0123456789")
    assert panel.get_xlabel() == "component 1 (60 %)"
    assert len({axes.get_xlim() for axes in figure.axes}) == 1  # so that a collapse is seen
    grey = means_figure([curve], planted.assign(means_labels=None, classification_accuracy=None))
    assert len(grey.axes[0].get_lines()) == 1 and "%" not in grey.axes[0].get_title()
    assert means_figure([curve], planted.assign(means_components=None)) is None
    assert means_figure([curve], planted.drop(columns="means_components")) is None


def test_the_page_shows_the_same_and_the_same_bytes_each_time(planted):
    (curve,) = curves(planted)
    (block,) = means_blocks([curve], planted)
    assert block == means_blocks([curve], planted)[0] and len(block["items"]) == 4
    assert "coloured by class" in block["note"] and "40 evaluated images" in block["note"]
    first = block["items"][0]
    assert "ρ = 0.8" in first["caption"] and "± 2.0 % classified (chance 10.0 %)" in first["caption"]
    png = base64.b64decode(first["src"].removeprefix("data:image/png;base64,"))
    assert png[:8] == to_png({"one": np.zeros((1, 2, 2), np.uint8)})[:8] and len(png) < 60_000
    assert means_blocks([curve], planted.drop(columns="means_components")) == []


def test_accuracy_can_be_seen_over_the_control_parameter_and_stands_in_the_table_of_methods(planted):
    found = curves(planted)
    page = str(order_chart(found, planted, "kl_top"))
    assert "classification accuracy" in page and "classification_accuracy_1" in page
    bare = planted.drop(columns="classification_accuracy")
    assert "classification accuracy" not in str(order_chart(found, bare, "kl_top"))
    heads, rows = printed(method_table(planted, found, RHO))
    place = heads.index("top accuracy")
    assert rows[0][place].value == pytest.approx(0.9, abs=0.02) and " ± " in rows[0][place].text
    assert "top accuracy" not in printed(method_table(bare, found, RHO))[0]
