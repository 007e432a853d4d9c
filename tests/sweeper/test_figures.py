"""Figures show the numbers they should, are written whole, and come out the same each time."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from models.cell import Cell
from sweeper.analysis import figures
from sweeper.analysis.curves import curves
from sweeper.analysis.figures.activity import activity_data, activity_grid_data, draw_activity
from sweeper.analysis.figures.control_axis import ControlAxis
from sweeper.analysis.figures.phase import draw_phase, phase_data
from sweeper.analysis.figures.steps import steps_data
from sweeper.analysis.figures.training import training_data
from sweeper.parameters.control import RHO, axis_of
from tests.sweeper.synthetic import GRID, flat, rows_of, store


@pytest.fixture(scope="module")
def planted():
    cells, history = store(data=("mnist", "omniglot"), latents=("10-10", "20-20-20"))
    return curves(cells), cells, history


def made(planted):
    found, cells, history = planted
    return {
        "phase": figures.phase_figure(found),
        "layers": figures.activity_by_layer_figure(found[-1:], cells),
        "grid": figures.activity_grid_figure(found, cells),
        "training": figures.training_figure(found[-1:], history),
        "steps": figures.steps_figure(found, history),
    }


def test_rho_axis_opens_towards_one_and_sets_it_apart():
    axis = ControlAxis(RHO, [0.5, 0.9, 0.99, 1.0])
    assert axis([0.9, 0.99]) == pytest.approx([1.0, 2.0])
    assert axis(1.0) == axis.ends[1.0] > 2 + axis.gap / 2
    assert axis.last < axis(0.9999999) < axis.ends[1.0]  # an interval's end beyond the grid stops before the break
    axes = Figure().subplots()
    axis.set(axes)
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels[-1] == "1" or "1" in labels
    assert {"0.5", "0.9", "0.99"} <= set(labels)
    with pytest.raises(ValueError, match="needs a value"):
        ControlAxis(RHO, [])


def test_an_axis_of_nothing_but_the_end_is_a_single_place():
    """Plain VAEs alone: ρ = 1, with nothing to be set apart from."""
    axis = ControlAxis(RHO, [1.0, 1.0])
    ((place, label),) = axis.ticks()
    low, high = axis.limits()
    assert label == "1" and low < place == axis(1.0) < high and axis.breaks() == []


def test_phase_data_holds_seeds_and_their_mean(planted):
    data = phase_data(planted[0][0])
    assert data["rho"].tolist() == sorted(GRID)
    assert data["mean"].to_numpy() == pytest.approx(data[["seed_0", "seed_1", "seed_2"]].mean(axis=1).to_numpy())


def test_critical_rho_is_drawn_where_it_was_found(planted):
    curve = planted[0][0]
    axis, axes = ControlAxis(RHO, curve.control), Figure().subplots()
    draw_phase(axes, [curve], axis)
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [float(line.get_xdata()[0]) for line in dashed] == pytest.approx([float(axis(curve.transition.onset.value))])


def test_activity_data_and_its_heatmap(planted):
    """Counts are means over seeds; the top layer is drawn on top, and each field says its count."""
    found, cells, _ = planted
    data = activity_data(found[0], cells)
    assert set(data["layer"]) == {1, 2} and (data["fraction"] == data["active"] / data["units"]).all()
    chosen = cells[
        (cells["data"] == "mnist") & (cells["architecture"] == found[0].architecture) & (cells["rho"] == 0.9)
    ]
    row = data[(data["layer"] == 2) & (data["rho"] == 0.9)]
    assert (row["active"] == chosen["active_units"].map(lambda counts: counts[1]).mean()).all()
    axes = Figure().subplots()
    image = draw_activity(axes, data)
    assert image.origin == "lower" and image.get_array().shape == (2, len(GRID))
    assert axes.get_yticklabels()[1].get_text() == "2 (of 10)"
    assert len(axes.texts) == 2 * len(GRID)


def test_activity_grid_compares_plain_and_smoothed(planted):
    found, cells, _ = planted
    data = activity_grid_data(found, cells)
    assert set(data["value"]) == {0.8, 1.0} and set(data["group"]) == {"mnist", "omniglot"}
    assert len(data) == 2 * 2 * 2 and (data["seeds"] == 3).all()
    assert data[data["value"] == 0.8]["fraction"].min() > data[data["value"] == 1]["fraction"].max()


def test_networks_that_share_sizes_are_groups_of_their_own():
    """Skips are in neither depth nor width nor the variant; what has one size alone has no grid."""
    common = dict(data="digits", network="resnet", maps=4, objective="ou", smoothing_samples=2, rho=0.9, seed=0)
    kinds = [(2, "none"), (3, "none"), (3, "all"), (4, "all")]
    cells = rows_of(
        [Cell(latents="-".join(["4x4x4"] * depth), skip=skip, **common) for depth, skip in kinds], lambda cell: 1.0
    )
    data = activity_grid_data(curves(cells), cells)
    assert data[["group", "depth"]].to_numpy().tolist() == [
        ["digits · skip none", 2], ["digits · skip none", 3], ["digits · skip all", 3], ["digits · skip all", 4],
    ]  # fmt: skip
    assert figures.activity_grid_figure(curves(cells), cells) is not None
    cells = rows_of([Cell(latents="4x4x4-4x4x4", skip=skip, **common) for skip in ("none", "all")], lambda cell: 1.0)
    assert figures.activity_grid_figure(curves(cells), cells) is None


def test_one_architecture_has_no_grid_but_layers():
    cells, _ = store(latents=("10-10-10",))
    assert figures.activity_grid_figure(curves(cells), cells) is None
    assert figures.activity_by_layer_figure(curves(cells), cells) is not None


def test_long_titles_and_labels_stay_within_their_panels():
    """Of panels side by side, with an architecture in many words."""
    cells = rows_of(
        [
            Cell(
                data="digits", network="pixelcnn", latents="8", encoder="mlp", hidden="128-128", maps=16, seed=seed,
                decoder_layers=layers, skip=skip, kl_weight=weight,
            )
            for layers in (2, 4) for seed in range(3) for skip in ("none", "all") for weight in (1.0, 1.5)
        ],
        lambda cell: 2.0 / cell.decoder_layers,
    )  # fmt: skip
    found = curves(cells, reference=2, axis=axis_of("decoder_layers"))
    for figure in (figures.activity_by_layer_figure(found, cells), figures.phase_figure(found)):
        figure.draw_without_rendering()
        panels = [axes for axes in figure.axes if axes.get_title(loc="left") or axes.get_title()]
        assert len(panels) >= 2
        tops = {round(axes.get_position().y1, 3) for axes in panels}
        for top in tops:
            row = [axes for axes in panels if round(axes.get_position().y1, 3) == top]
            titles = [axes._left_title if axes.get_title(loc="left") else axes.title for axes in row]
            for texts in (titles, [axes.xaxis.label for axes in row]):
                boxes = sorted((text.get_window_extent() for text in texts if text.get_text()), key=lambda box: box.x0)
                assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
                assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_training_data_averages_seeds(planted):
    found, _, history = planted
    data = training_data(found[0], history)
    assert (data["seeds"] == 3).all() and data["rho"].nunique() == len(GRID) and data["step"].nunique() == 7
    ids = [name for name in found[0].cell_ids[:, 0]]
    expected = history[history["cell_id"].isin(ids) & (history["step"] == 6000)]["kl_top"].mean()
    assert data[(data["rho"] == GRID.min()) & (data["step"] == 6000)]["kl_top"].item() == pytest.approx(expected)


def test_place_moves_with_steps_as_planted(planted):
    """The planted place grows in u by 6 % between the first and the last step with a number."""
    found, _, history = planted
    data = steps_data(found[0], history)
    assert data["step"].tolist() == [1000, 2000, 3000, 4000, 5000, 6000]  # none at step 0, where nothing is learned
    assert (np.diff(data["critical"]) < 0).all()
    assert ((data["low"] < data["critical"]) & (data["critical"] < data["high"])).all()


def test_files_hold_labels_and_are_not_blank(planted, tmp_path):
    words = {
        "phase": ["KL of the top layer (nats)", "omniglot · mlp 20-20-20 (64-64)", "n = 3 seeds", "onset 0.9"],
        "layers": ["layer (units)", "fraction active", "2 (of 20)"],
        "grid": ["ρ = 1 (no smoothing)", "ρ = 0.8", "units per layer"],
        "training": ["ELBO (nats)", "training steps", "validation"],
        "steps": ["critical ρ, onset", "mnist · mlp 10-10 (64-64)"],
    }
    for name, figure in made(planted).items():
        with figures.styled():
            png, svg, pdf = figures.save(figure, tmp_path, name)
        text = svg.read_text(encoding="utf-8")
        assert all(word in text for word in words[name]), name
        assert pdf.read_bytes().startswith(b"%PDF") and b"/Type3" not in pdf.read_bytes(), name
        pixels = imread(png)[..., :3]
        assert 0.01 < (pixels.min(axis=-1) < 0.9).mean() < 0.95, name


def test_figures_are_the_same_bytes_each_time(planted, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        with figures.styled():
            figures.save(figures.phase_figure(planted[0][:1]), tmp_path / folder, "phase")
    for name in ("phase.png", "phase.svg", "phase.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_number_still_gives_a_picture():
    """The title says why there is no critical ρ; nothing is drawn against steps."""
    cells, history = store(shape=flat)
    figure = figures.phase_figure(curves(cells))
    assert "no critical ρ: flat curve" in figure.axes[0].get_title(loc="left")
    assert figures.steps_figure(curves(cells), history) is None
