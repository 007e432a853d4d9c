"""Predictions of the critical ρ: on planted objectives, and on a store of really trained cells."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sweeper import prediction
from sweeper.analysis.curves import curves
from sweeper.analysis.prediction import (
    MC_ERROR,
    MIN_BATCHES,
    crossing,
    error,
    places,
    predict,
    prediction_table,
    settled,
)
from sweeper.prediction import predictions
from tests.sweeper.synthetic import store

U = np.geomspace(0.005, 0.2, 30)


def test_the_crossing_is_where_the_lead_ends():
    """Exactly where the lead is a straight line in log(1 − ρ); the one nearest to 1 counts."""
    lead = np.log(0.03) - np.log(U)
    assert crossing(1 - U, lead) == pytest.approx(0.97, abs=1e-9)
    assert crossing(1 - U, np.where(U > 0.1, 1.0, lead)) == pytest.approx(0.97, abs=1e-9)


@pytest.mark.parametrize(
    ("lead", "said"), [(1.0, "leads all the way down to ρ = 0.8"), (-1.0, "does not lead even at ρ = 0.995")]
)
def test_without_a_crossing_there_is_a_reason(lead, said):
    with pytest.raises(ValueError, match=said):
        crossing(1 - U, np.full(30, lead))


@pytest.fixture(scope="module")
def curve():
    """Of cells at ρ from 0.8 to 1."""
    (found,) = curves(store()[0])
    return found


def test_a_prediction_is_the_mean_of_its_seeds_in_log_u(curve):
    rho = places(curve, 0.8)
    assert rho[0] == pytest.approx(0.999) and rho[-1] == pytest.approx(0.8)
    wanted = {0: 0.02, 1: 0.04, 2: 0.08}
    found = predict(curve, 0.8, {s: np.tile(np.log(u) - np.log(1 - rho), (2, 1)) for s, u in wanted.items()})
    assert found.rho == pytest.approx(1 - 0.04) and found.seeds == (0, 1, 2)
    assert found.per_seed == pytest.approx([1 - u for u in wanted.values()], abs=1e-4)
    half = 4.302653 * np.log(2) / np.sqrt(3)  # t(0.975, 2) × standard error
    assert found.low == pytest.approx(1 - 0.04 * np.exp(half)) and found.high == pytest.approx(1 - 0.04 * np.exp(-half))
    assert found.monte_carlo == pytest.approx(0, abs=1e-12) and found.batches == 2
    lost = predict(curve, 0.8, {0: np.ones((2, len(rho)))})
    assert lost.rho is None and lost.reason.startswith("seed 0: the cell trained at ρ = 1 leads all the way")
    table = prediction_table([found, lost])
    assert table["rho"].isna().tolist() == [False, True] and table["seeds"].tolist() == [3, 0]


def drawn(rng, rho, place, count):
    """Batches of a lead that ends at 1 − ρ = `place`, slope 0.7 nats, with the noise that digits have."""
    lead = 0.7 * (np.log(place) - np.log(1 - rho))
    return lead + 0.1 * rng.normal(size=(count, 1)) + 0.05 * rng.normal(size=(count, 1)) * np.log(1 - rho) / 5


def until_settled(rng, rho, place):
    """As many batches as are asked for."""
    found = drawn(rng, rho, place, 1)
    while not settled(rho, found):
        found = np.concatenate([found, drawn(rng, rho, place, 1)])
    return found


def test_batches_are_added_until_the_crossing_is_known_and_no_longer():
    rng = np.random.default_rng(3)
    rho = 1 - np.geomspace(0.001, 0.2, 33)
    places = []
    for _ in range(25):
        leads = until_settled(rng, rho, 0.05)
        assert error(rho, leads) <= MC_ERROR and MIN_BATCHES < len(leads) < 150
        places.append(crossing(rho, leads.mean(0)))
    spread = np.log(1 - np.array(places)).std(ddof=1)
    assert spread == pytest.approx(MC_ERROR, rel=0.4)  # what the draws leave open is what they are said to
    never, unsure = np.full((MIN_BATCHES, 33), 0.5), rng.normal(size=(MIN_BATCHES, 1)) * 5 + np.ones(33)
    assert settled(rho, never + 0.1 * rng.normal(size=(MIN_BATCHES, 1))) and not settled(
        rho, unsure - unsure.mean() + 0.1
    )


@pytest.mark.parametrize(
    ("seeds", "scatter"),
    [
        (2, 0.0),
        (5, 0.05),
        (3, 0.2),
        pytest.param(3, 0.0, marks=pytest.mark.slow),  # between the others
        pytest.param(3, 0.05, marks=pytest.mark.slow),
    ],
)
def test_the_interval_holds_the_planted_place_whatever_the_draws(curve, seeds, scatter):
    """250 times: seeds scatter about 0.05 in 1 − ρ, or not at all, and each is known from 30 batches of its own."""
    rng, rho = np.random.default_rng(seeds), places(curve, 0.8)
    held = again = 0
    for _ in range(250):
        at = 0.05 * np.exp(scatter * rng.normal(size=seeds))
        one, other = (
            predict(curve, 0.8, {s: drawn(rng, rho, place, 30) for s, place in enumerate(at)}) for _ in range(2)
        )
        held += one.low <= 0.95 <= one.high
        again += one.low <= other.rho <= one.high  # the same cells with another evaluation seed
    assert held / 250 > 0.92 and again / 250 > 0.92


@pytest.mark.slow
def test_other_draws_predict_the_same_within_the_interval(tiny):
    """Cells that were really trained, predicted from with four evaluation seeds: each holds what the others say."""
    study = tiny(
        cells={"latents": "5-5", "hidden": "32", "rho": [0.8, 1], "seed": [0, 1, 2], "batch_size": 64,
               "learning_rate": 0.003, "smoothing_samples": 5},
        train={"steps": 2000}, evaluation={"every": 0, "validation_images": 200},
    )  # fmt: skip
    study.run()
    found = [
        predictions(study.load(f"evaluation.seed={seed}"), study.opened(), methods=["objectives"])[0]
        for seed in range(4)
    ]
    assert all(each.reason is None for each in found), [each.reason for each in found]
    places = np.log(1 - np.array([each.rho for each in found]))
    assert len(set(places)) == 4 and np.ptp(places) < 6 * max(each.monte_carlo for each in found)
    assert all(each.low < other.rho < each.high for each in found for other in found)
    assert all(each.monte_carlo <= MC_ERROR for each in found)


FEW = {"MIN_BATCHES": 2, "MAX_BATCHES": 2}  # of draws: how many settle it has tests of its own


def test_the_command_predicts_from_kept_states_or_says_why_not(tiny, sweeper_command):
    done = tiny(cells={"rho": [0.8, 0.95, 1], "seed": 0}, train={"steps": 20})
    done.run()
    store, few = str(done.store), {"constants": {"sweeper.prediction": FEW}}
    shown = sweeper_command.run(["predict", store, "--json"], faults=few)
    rows = json.loads(shown.out)
    assert shown.code == 0 and [row["method"] for row in rows] == ["objectives", "noise", "stability"], shown.err
    assert all(row["reason"] or 0.8 < row["rho"] < 1 for row in rows)
    one = sweeper_command.run(["predict", store, "--json", "--method", "noise"], faults=few)
    assert json.loads(one.out) == [rows[1]], one.err
    wrong = sweeper_command.run(["predict", store, "--method", "guess"])
    assert wrong.code == 2 and "'guess' is none of objectives, noise, stability" in wrong.err
    other = sweeper_command.run(["predict", store, "--below", "0.7"])
    assert other.code == 0 and "no prediction: no cells at ρ = 0.7 and at ρ = 1 both" in other.out
    kept = sorted((done.store / "checkpoints").rglob("*.safetensors"))
    for path in kept:
        path.write_bytes(path.read_bytes()[:-1])
    torn = sweeper_command.run(["predict", store])
    assert torn.code == 65 and ".json: its tensors are not the" in torn.err and len(torn.err.splitlines()) == 1
    for path in kept:
        path.with_suffix(".json").unlink()
    without = sweeper_command.run(["predict", store])
    assert without.code == 0 and "no seed has both cells with a kept state" in without.out


def test_what_a_method_is_not_worked_out_for_has_a_reason_and_no_number(tiny, monkeypatch):
    """Noise and stability know the smoothing of moments alone; the objectives of `ratio` are compared as before."""
    study = tiny(cells={"rho": [0.8, 1], "seed": 0, "smoothing": "ratio"}, train={"steps": 5})
    study.run()
    for name, value in FEW.items():
        monkeypatch.setattr(prediction, name, value)
    found = {each.method: each.reason or "" for each in predictions(study.load(), study.opened())}
    assert set(found) == {"objectives", "noise", "stability"}
    assert all("known of smoothing moments alone" in found[method] for method in ("noise", "stability"))
    assert "known of" not in found["objectives"]
