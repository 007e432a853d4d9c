"""What an evaluation measures on request: from the study to rows, history, curves and figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeper.analysis.curves import curves, select
from sweeper.analysis.figures.spectrum import DEGREES, spectrum_data, spectrum_figure
from sweeper.analysis.html.curve_chart import order_chart
from sweeper.parameters.order import parse_order_parameter, second_of
from sweeper.planning import make_plan
from sweeper.store.columns import LATER_HISTORY
from tests.sweeper.synthetic import store as planted

ASKED = {
    "mutual_information": 15, "gradient_variance": 2, "validation_gradient_variance": 3, "hermite_spectrum": 10,
}  # fmt: skip
COLUMNS = ("mutual_information", "gradient_variance", "hermite_mean")


def test_rows_and_history_have_it_where_it_was_asked_for_and_other_columns_keep_their_bits(tiny):
    """Asking later evaluates finished cells again, without training; what is along the way alone asks for nothing."""
    small = tiny()
    small.run()
    before = small.opened().cells().set_index("cell_id")
    assert before[[*COLUMNS, "mi_cap"]].isna().all(axis=None)
    assert small.opened().history()[list(LATER_HISTORY)].isna().all(axis=None)
    along = small.load("evaluation.validation_gradient_variance=3")
    assert not make_plan(along, small.opened()).missing
    small.run(*(f"evaluation.{name}={value}" for name, value in ASKED.items()))
    after = small.opened().cells().set_index("cell_id").loc[before.index]
    for name in ("elbo", "kl_top", "iw_bound", "step"):
        assert before[name].equals(after[name])
    row = after.iloc[0]
    assert row["mi_samples"] == 15 and row["mi_cap"] == math.log(15)
    assert np.size(row["mutual_information"]) == row["depth"] == len(row["hermite_mean"])
    assert row["gradient_variance"] > 0 and row["gradient_draws"] == 2


def test_the_history_has_the_variance_of_the_gradient_at_every_evaluation(tiny):
    small = tiny(evaluation=ASKED)
    small.run()
    history = small.opened().history()
    assert set(history["step"]) == {0, 20, 40, 60}
    assert (history["gradient_variance"] > 0).all() and history["gradient_variance_plain"].notna().all()
    whole = history["gradient_variance_latent"] + history["gradient_variance_smoothing"]
    assert whole.to_numpy() == pytest.approx(history["gradient_variance"].to_numpy(), rel=1e-12)
    cells = select(small.opened().cells())
    (curve, *_) = curves(cells, "mi_top")
    assert curve.values.shape[0] > 0 and np.isfinite(curve.values).any()
    found = spectrum_data(curve, cells)
    assert len(found) == np.isfinite(curve.values).sum() and (found[list(DEGREES)] >= 0).all(axis=None)
    assert spectrum_figure([curve], cells) is not None


def test_mutual_information_is_an_order_parameter_of_any_layer():
    """By its short name too; it needs no second one beside it."""
    short, whole = parse_order_parameter("mi_2"), parse_order_parameter("mutual_information_2")
    assert short == whole and short.name == "mutual_information_2" and short.layer == 2 and not short.in_history
    assert short.label == "mutual information between x and z of layer 2 (nats)"
    assert short.on_request == "mutual_information" and parse_order_parameter("kl_2").on_request is None
    assert second_of("mi_top") is None
    with pytest.raises(ValueError, match="did you mean 'mi_top'"):
        parse_order_parameter("mi_tip")


@pytest.fixture
def informed():
    """Planted rows whose top layer has half its KL as mutual information, and a spectrum that goes with it."""
    cells, _ = planted(latents=("8-4",))
    cells["mutual_information"] = [[kl, 0.5 * kl] for kl in cells["kl_top"]]
    cells["hermite_mean"] = [[[0.0] * 5, [9.0, kl, 0.1 * kl, 0.01 * kl, 1e-3]] for kl in cells["kl_top"]]
    return cells


def test_its_curves_and_critical_values_are_those_of_its_own_values(informed):
    kept = select(informed)
    (kl,), (mi,) = curves(kept, "kl_top"), curves(kept, "mutual_information_top")
    assert mi.values == pytest.approx(0.5 * kl.values)
    assert mi.transition.onset.value == pytest.approx(kl.transition.onset.value)


@pytest.mark.parametrize("order_parameter", ["kl_top", "mutual_information_top"])
def test_the_page_shows_it_where_it_was_measured(informed, order_parameter):
    kept = select(informed)
    page = str(order_chart(curves(kept, order_parameter), kept, order_parameter))
    bare = kept.drop(columns="mutual_information")
    assert "mutual information (nats)" in page and "mutual_information_1" in page
    assert "mutual_information" not in str(order_chart(curves(bare, "kl_top"), bare, "kl_top"))


def test_the_spectrum_stands_beside_the_kl(informed):
    """Points of seeds and means per degree over ρ, and of the KL; no figure without the column."""
    kept = select(informed)
    (curve,) = curves(kept)
    data = spectrum_data(curve, kept)
    assert len(data) == curve.values.size and (data["2"] / data["1"]).to_numpy() == pytest.approx(0.1)
    figure = spectrum_figure([curve], kept)
    left, right = figure.axes
    assert [line.get_label() for line in left.get_lines() if not line.get_label().startswith("_")] == [
        "degree 1", "degree 2", "degree 3", "others",
    ]  # fmt: skip
    means = data.groupby("rho")["kl_top"].mean().to_numpy()
    assert any(np.array_equal(line.get_ydata(), means[:-1]) for line in right.get_lines())
    assert spectrum_figure([curve], kept.drop(columns="hermite_mean")) is None
    assert spectrum_figure([curve], kept.assign(hermite_mean=None)) is None
