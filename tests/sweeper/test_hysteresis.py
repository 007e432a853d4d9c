"""`procedure: continue`: branches up and down ρ, each cell from the weights of the one before."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

import models.data
import sweeper
from models.cell import cell_id
from models.cell.continuation import origin
from models.stack.stack import Stack
from sweeper.analysis.branches import at_equal_totals
from sweeper.analysis.curves import curves
from sweeper.errors import StudyError
from sweeper.planning import make_plan
from sweeper.planning.estimate import _cold, _timed_as, estimate

BOTH = {"procedure": ["joint", "continue"], "rho": [0.8, 0.95, 1]}


def test_every_cell_goes_on_from_the_one_before(tiny):
    """Its kept weights are bitwise those of a stack begun with its origin's; run again, nothing is missing."""
    study = tiny(cells=BOTH, train={"steps": 20})
    outcome = study.run()
    assert outcome.before.counts == {"train": 6, "wait": 8} and not outcome.after.missing and not outcome.failures
    store = study.opened()
    for cell in study.load().cells:
        before = origin(cell)
        if before is None:
            continue
        stack = Stack([cell], models.data.load("digits"))
        given, _ = store.load_state(cell_id(before))
        for name, tensor in stack.tensors().items():
            if name.startswith("param/"):
                tensor[0].copy_(torch.from_numpy(given[name]))
        stack.train(20)
        kept, _ = store.load_state(cell_id(cell))
        for name, parameter in stack.params.items():
            assert np.array_equal(kept[f"param/{name}"], parameter[0].detach().numpy())
    assert study.run().before.missing == ()


def test_a_branch_stands_beside_cold_starts_of_as_many_steps_in_all(tiny):
    """At the k-th ρ that is k × 10 steps: what a cold start trained so long, and no longer, has in its history."""
    study = tiny(cells=BOTH | {"seed": 0}, train={"steps": 10}, evaluation={"every": 10})
    cold = tiny("cold", cells={"rho": BOTH["rho"], "seed": 0}, train={"steps": 30}, evaluation={"every": 10})
    for each in (study, cold):
        each.run()
    cells, history = (
        pandas.concat([sweeper.load(each.store, what) for each in (study, cold)]) for what in ("cells", "history")
    )
    found = at_equal_totals(cells, history)
    assert found[["branch", "rho", "total_steps"]].values.tolist() == [
        ["continue down", 0.8, 30], ["continue down", 0.95, 20], ["continue up", 0.95, 20], ["continue up", 1.0, 30],
    ]  # fmt: skip
    alone = tiny("alone", cells={"rho": BOTH["rho"], "seed": 0}, train={"steps": 20}, evaluation={"every": 10})
    alone.run()
    for steps, trained in ((20, alone), (30, cold)):
        ended = trained.opened().history().query(f"step == {steps}").merge(trained.opened().cells()[["cell_id", "rho"]])
        expected = dict(zip(ended["rho"], ended["kl_top"], strict=True))
        rows = found[found["total_steps"] == steps]
        assert rows["cold"].tolist() == [expected[rho] for rho in rows["rho"]]
    values = dict(zip(history["cell_id"] + history["step"].astype(str), history["kl_top"], strict=True))
    branch = cells[cells["procedure"] != "joint"].set_index(["procedure", "rho"])
    assert sorted(found["value"]) == sorted(values[f"{name}10"] for name in branch["cell_id"])
    assert at_equal_totals(study.opened().cells(), study.opened().history())["cold"].isna().all()
    with pytest.raises(ValueError, match="is not measured during training"):
        at_equal_totals(cells, history, "active_units_top")


def test_the_cost_of_a_branch_is_its_cells_one_after_the_other(tiny):
    """Timed as cold starts of their shape; more workers than branches would not make it shorter."""
    plan = make_plan(tiny(cells=BOTH, run={"executor": "ray", "workers": 8}).load("train.steps=100"), None)
    smoothed = next(job.cells[0].shape() for job in plan.jobs if job.cells[0].objective == "ou")
    times = {job.cells[0].shape(): 0.1 if job.cells[0].objective == "ou" else 0.01 for job in plan.jobs}
    assert len(times) == 2 and not any("continue" in shape for shape in times)
    cost = estimate(plan, times, "")
    waiting = [item.cell for item in plan.items if item.action == "wait"]
    assert len(waiting) == 8 and all(cell.objective == "ou" for cell in waiting)
    assert cost is not None and cost.device_s == pytest.approx((4 + 8) * 10 + 2 * 1)
    most = max(len(job.cells) for job in plan.jobs)
    first = max(10 * len(job.cells) for job in plan.jobs if job.cells[0].objective == "ou")
    # Upward: the cold start at ρ = 0.8, then 0.95 and 1 of both seeds, as many at once as a stack holds.
    assert cost.wall_s == pytest.approx(first + 2 * min(most, 2) * 10)
    assert estimate(plan, {smoothed: 0.1}, "") is None
    assert _timed_as(_cold(waiting[-1])) == _timed_as(waiting[-1]) == smoothed


def test_both_branches_and_the_cold_starts_are_curves(tiny):
    """Three of them, each with all its ρ: a branch begins with its cold start."""
    study = tiny(cells=BOTH, train={"steps": 5}, evaluation={"every": 0})
    study.run()
    found = curves(sweeper.load(study.store))
    assert [curve.variant for curve in found] == [
        "procedure continue down", "procedure continue up", "procedure joint"
    ]  # fmt: skip
    assert all(curve.control.tolist() == [0.8, 0.95, 1.0] and np.isfinite(curve.values).all() for curve in found)
    down, up, cold = found
    assert down.values[:, 2].tolist() == cold.values[:, 2].tolist() != up.values[:, 2].tolist()
    assert up.values[:, 0].tolist() == cold.values[:, 0].tolist() != down.values[:, 0].tolist()


def test_stopped_in_a_branch_it_goes_on_with_the_next(tiny):
    """The store alone says what can be trained: after a run of cold starts, the branches wait for nothing else."""
    brief = {"train": {"steps": 5}, "evaluation": {"every": 0}}
    study = tiny(cells=BOTH, **brief)
    tiny(cells={"procedure": "joint", "rho": [0.8, 0.95, 1]}, store="results of tiny", **brief).run()
    outcome = study.run()
    assert outcome.before.counts == {"done": 6, "train": 4, "wait": 4} and not outcome.after.missing


def test_what_diverged_ends_its_branch(tiny):
    """A learning rate that blows up: nothing continues from what is not there, and nothing waits for ever."""
    outcome = tiny(cells={"procedure": "continue", "rho": [0.8, 1], "learning_rate": 1e3, "seed": 0}).run()
    assert not outcome.after.missing and set(outcome.after.counts) <= {"diverged", "done"}
    assert outcome.after.counts["diverged"] >= 2


@pytest.mark.parametrize(("sections", "why"), [
    ({"cells": {"procedure": "continue", "rho": [0.9]}}, "two values of rho"),
    ({"cells": {"procedure": "continue"}, "train": {"keep": "none"}}, "train.keep"),
    ({"cells": {"procedure": "continue"}, "refine": {"half_width": 0.1, "cells": 9}}, "refined"),
])  # fmt: skip
def test_what_cannot_continue_is_a_fault_of_the_study(tiny, sections, why):
    with pytest.raises(StudyError, match=why):
        tiny(**sections).load()
