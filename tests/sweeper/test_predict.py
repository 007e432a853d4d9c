"""Predictions of the critical ρ: on planted objectives, and on a store of really trained cells."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sweeper.analysis.curves import curves
from sweeper.analysis.prediction import crossing, places, predict, prediction_table

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


@pytest.fixture
def done(tiny):
    """A small study with all its cells finished and their states kept."""
    study = tiny(cells={"rho": [0.8, 0.9, 0.95, 1], "seed": [0, 1, 2]}, train={"steps": 20})
    study.run()
    return study


def test_a_prediction_is_the_mean_of_its_seeds_in_log_u(done):
    (curve,) = curves(done.opened().cells())
    rho = places(curve, 0.8)
    assert rho[0] == pytest.approx(1 - 0.05 / 4) and rho[-1] == pytest.approx(0.8)
    wanted = {0: 0.02, 1: 0.04, 2: 0.08}
    found = predict(curve, 0.8, {s: (np.log(1 - rho), np.full_like(rho, np.log(u))) for s, u in wanted.items()})
    assert found.rho == pytest.approx(1 - 0.04) and found.seeds == (0, 1, 2)
    assert found.per_seed == pytest.approx([1 - u for u in wanted.values()], abs=1e-4)
    half = 4.302653 * np.log(2) / np.sqrt(3)  # t(0.975, 2) × standard error
    assert found.low == pytest.approx(1 - 0.04 * np.exp(half)) and found.high == pytest.approx(1 - 0.04 * np.exp(-half))
    lost = predict(curve, 0.8, {0: (np.zeros_like(rho), np.ones_like(rho))})
    assert lost.rho is None and lost.reason.startswith("seed 0: the cell trained at ρ = 1 leads all the way")
    table = prediction_table([found, lost])
    assert table["rho"].isna().tolist() == [False, True] and table["seeds"].tolist() == [3, 0]


def test_the_command_predicts_from_kept_states_or_says_why_not(done, sweeper_command):
    store = str(done.store)
    shown = sweeper_command.run(["predict", store, "--json"])
    (row,) = json.loads(shown.out)
    assert shown.code == 0 and (row["reason"] or 0.8 < row["rho"] < 1), shown.err
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
