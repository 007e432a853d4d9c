"""Comparisons, trends and scaling of a store: in words, tables, JSON and figures."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from sweeper.analysis import figures
from sweeper.analysis.curves import curves
from sweeper.analysis.figures.comparisons import MOST, comparisons_data, draw_comparisons
from sweeper.analysis.figures.scaling import scaling_data
from sweeper.analysis.figures.trends import trend_data
from sweeper.analysis.files import write_files
from sweeper.analysis.relations import Relations, relate
from sweeper.analysis.report import analyse
from sweeper.analysis.trends import families
from tests.sweeper.planted_curves import planted_curve
from tests.sweeper.synthetic import flat, store

WIDTHS = ("10-10", "20-20", "40-40", "80-80")


@pytest.fixture(scope="module")
def rows():
    return store(data=("mnist", "omniglot"), latents=WIDTHS)


@pytest.fixture(scope="module")
def found(rows):
    return curves(rows[0])


@pytest.fixture(scope="module")
def related(found) -> Relations:
    return relate(found)


def test_lines_say_what_was_compared(related):
    lines = related.lines()
    assert sum("mnist and omniglot · mlp" in line for line in lines) == 4
    assert sum("12 pairs of architectures" in line for line in lines) == 1
    assert sum("critical ρ against width (10, 20, 40, 80): falling (1 − ρ × 1." in line for line in lines) == 2
    assert sum("scaling with width: quality S = " in line for line in lines) == 2


def test_tables_and_json_hold_the_same(related):
    tables = related.tables()
    assert {name: len(table) for name, table in tables.items()} == {"comparisons": 32, "trends": 2, "scaling": 2}
    told = json.loads(json.dumps(related.to_dict(), allow_nan=False))
    assert told["comparisons"][0]["verdict"] == tables["comparisons"]["verdict"][0]
    assert told["trends"][1]["ratio"] == tables["trends"]["ratio"][1]
    assert told["scaling"][0]["quality"] == tables["scaling"]["quality"][0]


def test_one_curve_relates_to_nothing(found):
    alone = relate(found[:1])
    assert alone.lines() == [] and alone.tables() == {} and alone.to_dict()["scaling"] == []


def test_a_report_writes_and_says_them(rows, blank_figures, tmp_path):
    """Tables as Parquet and CSV, figures, lines after the curves' own, JSON; the margin is the study's."""
    cells = rows[0][rows[0]["data"] == "mnist"]
    told = analyse(cells, pd.DataFrame(), study_name="planted", same_within=1.5)
    told = write_files(told, cells, pd.DataFrame(), tmp_path)
    for name in ("comparisons", "trends", "scaling"):
        table = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(table) > 0
        assert tmp_path / f"{name}.png" in told.figures
    assert "the same critical ρ within a ratio of 1.5 in 1 − ρ: yes" in " ".join(told.headline())
    assert json.loads(told.to_json())["comparisons"][0]["margin"] == 1.5


# --- figures


def test_comparisons_are_drawn_with_both_intervals_data_sets_first(related):
    data = comparisons_data(related.comparisons)
    assert len(data) == 16 and data["label"][:4].str.startswith("mnist and omniglot").all()
    axes = Figure().subplots()
    draw_comparisons(axes, data, 1.25)
    whole = [line for line in axes.lines if line.get_linewidth() == 0.9]
    assert [line.get_xdata()[0] for line in whole] == data["low"].tolist()
    assert [text.get_text() for text in axes.texts] == data["verdict"].tolist()
    assert axes.get_yticklabels()[0].get_text() == data["label"][0]


def test_trends_are_drawn_where_they_were_found(found):
    (mnist, _) = families(found)
    data = trend_data(mnist)
    assert data["size"].tolist() == [10, 20, 40, 80] and (data["seeds"] == 3).all()
    assert data["critical"].tolist() == [curve.transition.onset.value for curve in mnist.curves]


def test_scaled_points_are_those_of_the_formula(related):
    (_, scaling) = related.scalings[0]
    data = scaling_data(scaling)
    share = data["size"] / np.exp(np.log([10, 20, 40, 80]).mean())
    assert data["x_scaled"].to_numpy() == pytest.approx(((data["x"] - scaling.x_c) * share**scaling.stretch).to_numpy())
    assert data["mean_scaled"].to_numpy() == pytest.approx((data["mean"] * share**scaling.lift).to_numpy())


def test_files_hold_labels_and_are_not_blank(found, related, tmp_path):
    made = {
        "comparisons": figures.comparisons_figure(related.comparisons),
        "trends": figures.trend_figure(found),
        "scaling": figures.scaling_figure(related.scalings),
    }
    written = {
        "comparisons": ["ratio of 1 − ρ", "cannot tell", "n = 3"],
        "trends": ["units per layer", "critical ρ, onset", "omniglot · mlp (64-64) · 2 layers"],
        "scaling": ["quality S = ", "m: KL of the top layer (nats)", "width"],
    }
    for name, figure in made.items():
        png, svg = tmp_path / f"{name}.png", tmp_path / f"{name}.svg"
        with figures.styled():
            figure.savefig(png)
            figure.savefig(svg)
        text = svg.read_text(encoding="utf-8")
        assert all(word in text for word in written[name]), name
        pixels = imread(png)[..., :3]
        assert 0.01 < (pixels.min(axis=-1) < 0.9).mean() < 0.95, name


def test_nothing_to_draw_is_no_figure():
    refused = [planted_curve([0.05] * 3, flat, latents=f"{n}-{n}") for n in (10, 20, 40)]
    assert figures.comparisons_figure(relate(refused).comparisons) is None
    assert figures.trend_figure(refused) is None and figures.scaling_figure(()) is None


def test_a_figure_of_many_pairs_shows_the_first(related):
    many = [*related.comparisons, *related.comparisons, *related.comparisons]
    figure = figures.comparisons_figure(many)
    assert len(figure.axes[0].get_yticks()) == MOST and "The first 40 of 48 pairs." in figure.get_supxlabel()
