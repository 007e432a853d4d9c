"""Posterior-mean space and information along training: from the study to rows, history, figures and page."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from sweeper.analysis import figures
from sweeper.analysis.curves import curves, select
from sweeper.analysis.figures.information import SHOWN, information_data
from sweeper.analysis.figures.point_panels import MAX_PANELS, shown_of
from sweeper.analysis.figures.posterior_means import space_data, trajectory_data
from sweeper.analysis.html.training_chart import training_chart
from sweeper.parameters.control import axis_of
from sweeper.planning import make_plan
from sweeper.report import write_report
from tests.sweeper.conftest import Tiny

STUDY = {
    "name": "scalar",
    "cells": {
        "data": "digits", "latents": "1", "hidden": "8", "objective": "vae", "kl_weight": [0.5, 1, 2],
        "batch_size": 16, "learning_rate": 0.01, "seed": [0, 1],
    },
    "train": {"steps": 60},
    "evaluation": {
        "every": 20, "importance_samples": 5, "images": 40, "validation_images": 200, "posterior_mean": 25,
        "validation_posterior_mean": 11, "validation_mutual_information": 200, "pictures": 0,
    },
    "analysis": {"control": "kl_weight", "reference": 0.5},
    "run": {"executor": "inline", "device": "cpu"},
}  # fmt: skip


@pytest.fixture(scope="module")
def scalar(tmp_path_factory):
    """A study of one latent variable, run in this process."""
    folder = tmp_path_factory.mktemp("scalar")
    made = Tiny(folder / "scalar.yaml", folder / "store")
    made.path.write_text(json.dumps(STUDY))
    made.run()
    return made


@pytest.fixture(scope="module")
def rows(scalar):
    """Its cells, its history, and its curves."""
    cells, history = select(scalar.opened().cells()), scalar.opened().history()
    return cells, history, curves(cells, "kl_top", 0.5, axis_of("kl_weight"))


def test_rows_and_history_have_what_was_asked_for(rows):
    """One number per image in both lists, and with one layer KL = MI + KL(q(z) ‖ p(z)) at every step."""
    cells, history, _ = rows
    for name, table, images in (("cells", cells, 25), ("history", history, 11)):
        for column in ("posterior_mean_model", "posterior_mean_inference"):
            assert {len(value) for value in table[column]} == {images}, name
        assert (table["posterior_gap"] > 0).all() and np.isfinite(table["nll_exact"]).all()
    assert (cells["posterior_error"] <= 1e-4).all() and (cells["posterior_stride"] <= 0.125).all()
    assert set(history["step"]) == {0, 20, 40, 60}
    parts = [top[-1] for top in history["mutual_information"]] + history["kl_aggregate"]
    assert parts.to_numpy() == pytest.approx(history["kl_top"].to_numpy(), abs=0.15)  # other noise


def test_what_is_asked_for_along_the_way_is_no_part_of_the_evaluation(scalar):
    """Asking for more of it evaluates no cell again; asking for the final one does."""
    store = scalar.opened()
    more = scalar.load("evaluation.validation_posterior_mean=20", "evaluation.validation_mutual_information=20")
    assert not make_plan(more, store).missing
    assert len(make_plan(scalar.load("evaluation.posterior_mean=26"), store).missing) == 6


def test_the_plane_has_every_image_of_every_cell(rows):
    cells, _, found = rows
    data = space_data(found, cells)
    assert list(dict.fromkeys(data["point"])) == ["β = 0.5", "β = 1", "β = 2"]
    assert (data.groupby(["point", "seed"]).size() == 25).all() and len(data) == 150
    row = cells[(cells["kl_weight"] == 1) & (cells["seed"] == 1)].iloc[0]
    here = data[(data["point"] == "β = 1") & (data["seed"] == 1)]
    assert here["model"].tolist() == list(row["posterior_mean_model"])
    assert here["inference"].tolist() == list(row["posterior_mean_inference"])
    figure = figures.space_figure(found, cells)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == 3
    dots = [line for line in visible[0].get_lines() if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [25, 25]
    spread = data[data["point"] == "β = 0.5"].groupby("seed")["model"].std(ddof=0).mean()
    assert f"s.d. p {spread:.2f}" in visible[0].texts[0].get_text()


def test_a_trajectory_is_that_of_one_image_through_all_steps(rows):
    """Five images of the first seed, by the rank of where the model's mean ends."""
    _, history, found = rows
    data = trajectory_data(found, history)
    here = data[data["point"] == "β = 1"]
    assert here["instance"].nunique() == 5 and (here.groupby("instance").size() == 4).all() and set(here["seed"]) == {0}
    cell = next(str(name) for name in found[0].cell_ids[0, found[0].control == 1])
    of_cell = history[history["cell_id"] == cell].sort_values("step")
    last = np.sort(of_cell["posterior_mean_model"].iloc[-1])
    assert here[here["step"] == 60]["model"].tolist() == [last[1], last[3], last[5], last[7], last[9]]
    for instance, way in here.groupby("instance"):
        assert way["inference"].tolist() == [value[instance] for value in of_cell["posterior_mean_inference"]]
    figure = figures.trajectory_figure(found, history)
    lines = [line for line in figure.axes[0].get_lines() if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in lines] == [4] * 5


def test_information_along_training_has_its_figure_and_its_place_in_the_chart(rows):
    _, history, found = rows
    data = information_data(found, history)
    assert len(data) == 24 and data[list(SHOWN)].notna().all(axis=None)
    figure = figures.information_figure(found, history)
    means = data[data["point"] == "β = 2"].groupby("step")["mutual_information_top"].mean().to_numpy()
    assert any(np.array_equal(line.get_ydata(), means) for line in figure.axes[2].get_lines())
    named = {option["value"] for option in training_chart(found, history)["controls"][0]["options"]}
    assert named == {"elbo", "kl_top", "mutual_information_top", "kl_aggregate"}


def test_without_these_columns_there_are_no_such_figures(rows):
    """Whether a store has them not at all, or null."""
    cells, history, found = rows
    for other in (
        lambda frame, names: frame.drop(columns=names),
        lambda frame, names: frame.assign(**dict.fromkeys(names)),
    ):
        names = ["posterior_mean_model", "posterior_mean_inference"]
        assert figures.space_figure(found, other(cells, names)) is None
        assert figures.trajectory_figure(found, other(history, names)) is None
        without = other(history, ["mutual_information", "kl_aggregate"])
        assert figures.information_figure(found, without) is None
        named = {option["value"] for option in training_chart(found, without)["controls"][0]["options"]}
        assert named == {"elbo", "kl_top"}


def test_of_many_points_some_are_drawn_evenly():
    points = [str(number) for number in range(100)]
    shown = [int(point) for point in shown_of(points)]
    assert len(shown) == MAX_PANELS and shown[0] == 0 and shown[-1] == 99 and set(np.diff(shown)) <= {8, 9, 10}
    assert shown_of(points[:3]) == ["0", "1", "2"]


def test_the_report_writes_them_and_the_page_shows_them(scalar):
    found = write_report(scalar.load(), scalar.opened())
    written = {path.name for path in found.figures}
    names = ("posterior_mean_space", "posterior_mean_trajectory", "information_training")
    assert {f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")} <= written
    page = found.page.read_text()
    assert "Posterior means" in page and page.count('class="images wide"') == 2
    table = pd.read_parquet(scalar.store / "cells")
    assert table["nll_exact"].notna().all()
