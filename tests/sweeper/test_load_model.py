"""`sweeper.load_model`: a cell's network gives the numbers of its row again, on arrays of either kind."""

import json

import numpy as np
import pytest
import torch
from conftest import table

import sweeper
from models.draws.draws import Purpose, generator
from models.evaluation.which import chains_needed
from models.trained import TrainedModel
from sweeper.errors import NoModel, StoreDamaged, StoreNewer, StoreUnwritable
from tests.models.planted import THREE, TWO, stack_of

K = 25  # two blocks of chains and a half
IMAGES = 250  # two blocks of images and a half


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A store of two cells, smoothed and not, evaluated with K chains on all images."""
    return _run(tmp_path_factory.mktemp("kept"), K)


def _run(folder, chains, **sections):
    made = {
        "name": "kept",
        "cells": {"data": "digits", "latents": "4-3-2", "hidden": 8, "objective": "ou", "rho": [0.9, 1], "seed": 1},
        "train": {"steps": 40},
        "evaluation": {
            "every": 0, "importance_samples": chains, "importance_images": 0, "images": IMAGES, "seed": 3,
        },
        "run": {"executor": "inline", "device": "cpu"},
    }  # fmt: skip
    for name, part in sections.items():
        made[name] |= part
    sweeper.train(made, folder / "store", progress=False, raise_failures=False)
    return folder / "store"


def test_the_evaluations_draws_give_the_row_again(study):
    """ELBO, its parts, the importance-weighted bound, KL by unit: of cells that were smoothed in training too."""
    rows = sweeper.load(study)
    assert sorted(rows["rho"]) == [0.9, 1]
    for row in rows.itertuples():
        model = sweeper.load_model(study, row.cell_id)
        x = model.data("test", IMAGES, seed=3)
        terms = model.terms(x, samples=K, seed=3)
        assert terms.log_px.shape == (K, IMAGES) and len(terms.kl) == 3
        assert terms.elbo.mean(dtype=np.float64) == pytest.approx(row.elbo, abs=1e-5)
        assert terms.log_px.mean(dtype=np.float64) == pytest.approx(row.reconstruction, abs=1e-5)
        assert [k.mean(dtype=np.float64) for k in terms.kl] == pytest.approx(list(row.kl_per_layer), abs=1e-5)
        assert terms.kl_top_per_unit.mean((0, 1)) == pytest.approx(list(row.kl_top_per_unit), abs=1e-5)
        bound = np.logaddexp.reduce(terms.log_weight.astype(np.float64), axis=0) - np.log(K)
        assert bound.mean() == pytest.approx(row.iw_bound, abs=1e-4)
        assert abs(model.terms(x, samples=K, seed=4).elbo.mean() - row.elbo) > 1e-3  # other noise, other numbers


def test_means_over_chains_are_the_activities_of_the_row(study):
    """What `encode` gives, averaged over the chains of the evaluation, has the variance over images of the row."""
    row = next(sweeper.load(study).itertuples())
    model = sweeper.load_model(study, row.cell_id)
    chains = max(K, chains_needed(IMAGES))
    assert row.activity_passes == chains
    first, rest = model.encode(model.data("test", IMAGES, 3), samples=K, seed=3), chains - K
    assert rest > 0  # drawn in blocks of their own, which begin anew at chain K
    averages = [mean.mean(0, dtype=np.float64) for mean in first.mean]
    assert averages[0].var(0, ddof=1) == pytest.approx(list(row.activity_variance[0]), abs=1e-6)  # no noise below it
    for layer in (1, 2):
        within = first.mean[layer].astype(np.float64).var(0, ddof=1).mean(0)
        assert averages[layer].var(0, ddof=1) - within / K == pytest.approx(
            list(row.activity_variance[layer]), abs=0.02
        )


def test_encode_is_what_the_noise_makes_of_mean_and_deviation(study):
    model = sweeper.load_model(study, sweeper.load(study)["cell_id"][0])
    encoded = model.encode(model.data("validation", 120), samples=12, seed=5)
    shapes = [(12, 120, units) for units in (4, 3, 2)]
    for part in (encoded.mean, encoded.deviation, encoded.z):
        assert [each.shape for each in part] == shapes
    assert (encoded.mean[0] == encoded.mean[0][:1]).all() and (encoded.mean[1] != encoded.mean[1][:1]).any()
    noise = generator(5, Purpose.EVALUATE_LATENT, 100, 2, 1).standard_normal((2, 20, 3), np.float32)
    made = encoded.mean[1][10:, 100:] + encoded.deviation[1][10:, 100:] * noise
    assert encoded.z[1][10:, 100:] == pytest.approx(made, abs=1e-6)


def test_arrays_and_tensors_go_in_and_come_out(study):
    model = sweeper.load_model(study, sweeper.load(study)["cell_id"][0])
    x = model.data("test", 7)
    as_images = x.reshape(7, *model.image_shape)
    plain, tensors = model.terms(x), model.terms(torch.from_numpy(as_images).double())
    assert isinstance(tensors.elbo, torch.Tensor) and isinstance(plain.elbo, np.ndarray)
    assert plain.elbo.dtype == np.float32 and (tensors.elbo.numpy() == plain.elbo).all()
    assert (model.terms(x.astype(bool)).elbo == plain.elbo).all()
    z = torch.zeros(5, 7, 2)
    assert isinstance(model.decode(z, layer=3), torch.Tensor) and model.decode(z, layer=3).shape == (5, 7, 64)
    assert model.decode(np.zeros(4)).shape == (64,)


def test_arrays_need_not_lie_in_one_piece(study):
    """A view backwards is the same images in another order."""
    model = sweeper.load_model(study, sweeper.load(study)["cell_id"][0])
    x = model.data(images=4)
    assert np.array_equal(model.encode(x[::-1]).mean[0], model.encode(x[::-1].copy()).mean[0])


def test_decode_and_sample(study):
    """Layer 1 decodes without noise; from above and from the prior the seed decides; pixels have these means."""
    model = sweeper.load_model(study, sweeper.load(study)["cell_id"][0])
    encoded = model.encode(model.data("test", 5))
    image = model.decode(encoded.z[0])
    assert image.shape == (1, 5, 64) and ((image > 0) & (image < 1)).all()
    assert (image == model.decode(encoded.z[0], seed=9)).all()
    top = model.decode(encoded.z[2], layer=3)
    assert (top == model.decode(encoded.z[2], layer=3)).all() and (top != model.decode(encoded.z[2], 3, seed=9)).any()
    means, pixels = model.sample(4000), model.sample(4000, pixels=True)
    assert set(np.unique(pixels)) == {0, 1} and pixels.shape == means.shape == (4000, 64)
    assert pixels.mean(0) == pytest.approx(means.mean(0), abs=5 * 0.5 / np.sqrt(4000))
    assert (model.sample(3, seed=1) != means[:3]).any() and model.sample(3) == pytest.approx(means[:3], abs=1e-6)


@pytest.mark.parametrize("planted", [TWO.exact(), THREE.exact()], ids=["two", "three"])
def test_every_weight_is_log_p_under_the_exact_posterior(planted):
    """A linear Gaussian model with its posterior as q: log p(x, z) − log q(z|x) is log p(x) at every sample."""
    stack = stack_of(planted)
    tensors = {name: t[0].detach().numpy() for name, t in stack.params.items()}
    model = TrainedModel(stack.cells[0], tensors, 0, features=1)
    x = np.array([[0.3], [1.3]])
    weights = model.terms(x, samples=11, seed=2).log_weight
    for column, value in zip(weights.T, (0.3, 1.3), strict=True):
        assert column == pytest.approx(np.full(11, planted.log_p(value)), abs=1e-5)
    drawn = model.sample(20_000, pixels=True)
    expected = [planted.log_p(v) for v in (0.0, 1.0)]  # Gaussian, so two points give its variance
    variance = 0.5 / (expected[0] - expected[1])
    assert drawn.var() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (
            lambda m: m.encode(np.zeros((3, 63))),
            r"images should have shape \(n, 64\) or \(n, height, width\), got \(3, 63\)",
        ),
        (lambda m: m.terms(np.zeros(64)), r"got \(64,\)"),
        (lambda m: m.terms(np.zeros((0, 64))), r"got \(0, 64\)"),
        (lambda m: m.terms(np.full((1, 64), 16)), r"pixels should be in \[0, 1\], got 16 … 16: `data` has images as"),
        (lambda m: m.terms(np.full((1, 64), np.nan)), r"pixels should be in \[0, 1\], got nan"),
        (lambda m: m.terms(np.zeros((1, 64)), samples=0), "samples should be at least 1, got 0"),
        (lambda m: m.decode(np.zeros((2, 3))), r"z of layer 1 should have shape \(…, 4\), got \(2, 3\)"),
        (lambda m: m.decode(np.zeros((2, 3)), layer=4), "layer should be in 1 … 3, got 4"),
        (lambda m: m.decode(np.zeros((0, 4))), r"got \(0, 4\)"),
        (lambda m: m.sample(0), "images should be at least 1, got 0"),
        (lambda m: m.sample(1, seed=-1), r"seed should be in \[0, 2\^63 - 1\], got -1"),
        (lambda m: m.encode(np.zeros((1, 64)), seed=2**64), r"seed should be in \[0, 2\^63 - 1\]"),
        (lambda m: m.data(images=-1), "images should be at least 0, got -1"),
        (lambda m: m.data(image_choice="last"), "image_choice should be first or spread, got 'last'"),
        (lambda m: m.data("tests"), "split should be one of train, validation, test, got 'tests'"),
    ],
)
def test_what_does_not_fit_is_refused(study, call, fault):
    with pytest.raises(ValueError, match=fault):
        call(sweeper.load_model(study, sweeper.load(study)["cell_id"][0]))


def test_a_cell_without_a_model_says_why(study, tmp_path):
    with pytest.raises(NoModel, match="has no cell 'abc'; sweeper") as error:
        sweeper.load_model(study, "abc")
    assert isinstance(error.value, LookupError)
    none = _run(tmp_path, 2, train={"steps": 2, "keep": "none"})
    with pytest.raises(NoModel, match=r"keeps no weights of cell .* trained with train\.keep: full \(the default\)"):
        sweeper.load_model(none, sweeper.load(none)["cell_id"][0])
    lost = _run(tmp_path / "lost", 2, cells={"learning_rate": 1000.0, "activation": "relu", "rho": 0.9})
    row = sweeper.load(lost).iloc[0]
    assert row["state"] == "diverged"
    with pytest.raises(NoModel, match=f"diverged at step {row['diverged_at']:.0f}: nothing is kept"):
        sweeper.load_model(lost, row["cell_id"])
    with pytest.raises(StoreUnwritable, match="no store at"):
        sweeper.load_model(tmp_path / "nowhere", "abc")


def test_there_are_cells_and_history_to_load(study):
    with pytest.raises(ValueError, match="what should be cells or history, got 'celss'"):
        sweeper.load(study, "celss")


def test_altered_weights_are_refused(tmp_path):
    place = _run(tmp_path, 2, train={"steps": 2, "keep": "weights"})
    name = sweeper.load(place)["cell_id"][0]
    assert sweeper.load_model(place, name).step == 2
    (file,) = (place / "checkpoints" / name).glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreDamaged, match="SHA-256 does not match"):
        sweeper.load_model(place, name)
    (place / "store.json").write_text(json.dumps({"format": "sweeper store", "schema_version": 99}))
    with pytest.raises(StoreNewer):
        sweeper.load_model(place, name)


def test_a_model_needs_no_lock_and_changes_nothing(study):
    from sweeper.store import Store

    before = table(study)
    files = sorted(str(path) for path in study.rglob("*"))
    with Store.open(study).lock():
        sweeper.load_model(study, sweeper.load(study)["cell_id"][0]).sample(2)
    assert sorted(str(path) for path in study.rglob("*")) == files and table(study) == before
