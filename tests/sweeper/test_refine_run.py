"""Refinement as part of a run: planned, carried out while results come in, killed, resumed, and reported."""

import json
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from conftest import ROOT, environment, table, until

from sweeper.analysis.curves import curves
from sweeper.cli.words.plan import plan_lines
from sweeper.driver import Jobs, worker
from sweeper.planning import asked_cells, make_plan
from sweeper.store import Store
from sweeper.study import load_study
from tests.sweeper.planted_kl import plant
from tests.sweeper.synthetic import broken, planted

CURVE = {"rho": [0.8, 0.95, 1], "seed": 0, "smoothing_samples": 2}
REFINE = {"half_width": 0.1, "cells": 60}
BRIEF = {"steps": 1, "checkpoint_s": 3600.0}
QUICK = {"every": 0, "importance_samples": 1, "images": 5, "pictures": 0}  # what comes out is planted


@pytest.fixture
def trained(monkeypatch):
    """Gives cells that train in this process a planted top KL; lists the stacks in the order of their training."""
    return plant(lambda name, function: monkeypatch.setattr(worker, name, function))


def points(store):
    """(ρ, seed) of what is committed."""
    return {(row.rho, row.seed) for row in store.cells().itertuples()}


def test_it_goes_on_until_the_target_is_met_and_the_report_counts_what_it_asked_for(tiny, trained, blank_figures):
    from sweeper.report import write_report

    study = tiny(cells=CURVE, train=BRIEF, evaluation=QUICK, refine=REFINE)
    outcome = study.run()
    (proposal,) = outcome.after.refinement
    assert proposal.advice.state == "met" and not outcome.after.missing and not outcome.failures
    found = write_report(study.load(), study.opened())
    (curve,) = found.curves
    onset, cells = curve.transition.onset, len(points(study.opened()))
    assert np.log((1 - onset.low) / (1 - onset.high)) / 2 <= REFINE["half_width"]
    assert onset.low < planted(broken, 0.05, 0.1) < onset.high
    assert 12 <= cells == len(asked_cells(study.load(), study.opened())) < 60
    (note,) = found.notes  # no cell is outside the study, or missing
    assert ": checks: " in note
    trained.clear()
    assert study.run().before.counts == {"done": cells} and trained == []


def test_what_is_planned_next_is_what_the_run_does_next(tiny, trained):
    """From any store that a run leaves on its way: the plan says the stacks, and a run of it trains these first."""
    study = tiny(cells=CURVE, train=BRIEF, evaluation=QUICK, refine=REFINE)
    while True:
        plan = make_plan(study.load(), study.opened() if study.store.exists() else None)
        if not plan.missing:
            break
        trained.clear()
        with pytest.raises(KeyboardInterrupt):
            study.run(executor=Once(len(plan.jobs)))
        assert sorted(trained) == sorted([(cell.rho, cell.seed) for cell in job.cells] for job in plan.jobs)
    assert [proposal.advice.state for proposal in plan.refinement] == ["met"]


class Once:
    """An executor that is gone after so many jobs."""

    def __init__(self, jobs):
        self.jobs = jobs

    def execute(self, work):
        from sweeper.driver.inline import Inline

        taken = [work.jobs.take() for _ in range(self.jobs)]
        kept = Jobs([job for _, job in taken])
        Inline().execute(type(work)(kept, work.root, work.run_id, 1, work.stopping))
        raise KeyboardInterrupt


def test_the_budget_holds_whatever_else_is_in_the_store(tiny, trained):
    """Cells of an earlier, larger grid count for what they tell, and against the budget."""
    study = tiny(cells=CURVE, train=BRIEF, evaluation=QUICK, refine=REFINE | {"cells": 17, "half_width": 1e-3})
    study.run("cells.rho=[0.8, 0.87, 0.92, 0.95, 1]", "refine.cells=1")
    assert len(points(study.opened())) == 5
    outcome = study.run()
    assert [proposal.advice.state for proposal in outcome.after.refinement] == ["spent"]
    assert 15 <= len(points(study.opened())) <= 17 and (0.92, 0) in points(study.opened())
    assert len(outcome.after.items) == len(points(study.opened()))


def test_more_steps_take_the_refined_cells_along(tiny, trained):
    study = tiny(cells=CURVE, train=BRIEF, evaluation=QUICK, refine=REFINE)
    cells = len(study.run().after.items)
    plan = make_plan(study.load("train.steps=2"), study.opened())
    assert plan.counts == {"continue": cells} and plan.refinement[0].advice.state == "wait"
    assert not study.run("train.steps=2").after.missing
    assert {row["step"] for row in table(study.store)} == {2}


def test_each_curve_goes_its_own_way_and_two_share_their_plain_cells(tiny, trained):
    """S = 2 and 3 have the same cells at ρ = 1; the curve of other latents has none of theirs."""
    grid = CURVE | {"latents": ["3-2", "3-3"], "smoothing_samples": [2, 3]}
    study = tiny(cells=grid, train=BRIEF, evaluation=QUICK, refine=REFINE)
    outcome = study.run()
    found = [proposal.to_dict() for proposal in outcome.after.refinement]
    assert [curve["state"] for curve in found] == ["met"] * 4
    assert sorted(curve["curve"] for curve in found) == [
        f"digits · mlp {latents} (8) · smoothing samples {samples}" for latents in ("3-2", "3-3") for samples in (2, 3)
    ]
    rows = study.opened().cells()
    plain = rows[rows.rho == 1].groupby("architecture").seed.agg(list)
    assert all(len(set(seeds)) == len(seeds) >= 3 for seeds in plain)
    assert sum(curve["cells"] for curve in found) == len(rows) + (rows.rho == 1).sum()


def test_a_cell_that_fails_is_not_asked_for_again_in_the_same_run(tiny, trained, monkeypatch):
    study = tiny(cells=CURVE, train=BRIEF, evaluation=QUICK, refine=REFINE)
    real = worker.Worker.run

    def run(self):
        if any(cell.seed == 1 and cell.rho == 1 for cell in self.job.cells):
            raise RuntimeError("poison")
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(worker.Worker, "run", run)
        outcome = study.run()
    assert len(outcome.failures) == 1 and (1.0, 1) not in points(study.opened())
    assert outcome.after.refinement[0].advice.state == "met"
    assert len({seed for _, seed in points(study.opened())}) >= 4
    again = study.run()
    assert again.failures == () and not again.after.missing


def test_orders_are_handed_out_without_waiting_for_a_round_to_end():
    """A worker that finds nothing asks again only once another has ended."""
    asked, answers = [], [["c"], [], ["d"], [], []]

    def more(free):
        asked.append(free)
        return answers.pop(0)

    jobs = Jobs(["a", "b"], more, workers=2)
    assert [jobs.take(), jobs.take()] == [(0, "a"), (1, "b")] and asked == []
    jobs.ended(0)
    assert jobs.take() == (2, "c") and jobs.running == 2
    jobs.ended(1)
    assert jobs.take() is None and jobs.take() is None and asked == [1, 1]
    jobs.ended(2)
    assert jobs.take() == (3, "d") and asked == [1, 1, 2]
    jobs.ended(3)
    assert jobs.take() is None and jobs.running == 0 and jobs.handed == ["a", "b", "c", "d"]


def test_plan_and_status_say_where_it_stands(tiny, trained, sweeper_command):
    study = tiny(cells=CURVE, train=BRIEF, evaluation=QUICK, refine=REFINE)
    lines = plan_lines(make_plan(study.load(), None), None)
    title = "refining digits · mlp 3-2 (8): no interval yet (±0.1 in log(1 − ρ) wanted), 3 of at most 60 cells; "
    assert title + "waiting: nothing to go by yet" in lines
    with pytest.raises(KeyboardInterrupt):
        study.run(executor=Once(2))
    expected = title + "next ρ = 0.9 (seed 0), because the onset lies between ρ = 0.8 and ρ = 0.95"
    for command in ("plan", "status"):
        assert expected in sweeper_command.run(study.argv(command)).out
    for command in ("plan", "status"):
        (curve,) = json.loads(sweeper_command.run(study.argv(command, "--json")).out)["refinement"]
        assert curve["next"] == [{"rho": 0.9, "seed": 0}] and curve["state"] == "place"
    study.run()
    assert "; done\n" in sweeper_command.run(study.argv("status")).out


def test_a_study_without_a_curve_cannot_refine(tiny, sweeper_command):
    study = tiny(cells={"objective": "vae", "rho": None, "smoothing_samples": None}, refine=REFINE)
    run = sweeper_command.run(study.argv("run"))
    assert run.wait() == 2 and "there is no curve to refine" in run.err


# --- real kills, real training, real workers


def further(store, process, committed):
    """Whether the process has ended, written a checkpoint of its own, or committed something."""
    if process.poll() is not None or not (store / "store.json").exists():
        return process.poll() is not None
    opened = Store.open(store)
    own = any(note["pid"] == process.pid for note in opened.progress())
    return (own and opened.running()) or len(opened.committed()) > committed


def test_killed_at_any_moment_it_goes_on_where_it_was(tiny, sweeper_command):
    """After each SIGKILL the store alone says what follows; nothing committed is lost or trained again; it ends with
    the target met. Cells are bit for bit those of a calm run, but for which of them a kill made it ask for."""
    faults = {"unreported": None}
    sections = {"cells": CURVE, "train": {"steps": 30, "checkpoint_s": 0.01}, "refine": REFINE}
    study, calm = tiny(**sections, evaluation=QUICK), tiny(store="calm", **sections, evaluation=QUICK)
    kills, files = 0, {}
    while True:
        run = sweeper_command.start(study.argv("run"), env={"PLANTED_KL": "1"}, faults=faults)
        if kills < 3:
            until(partial(further, study.store, run, len(files)))
            run.kill()
        if run.wait() == 0:
            break
        assert run.code == -signal.SIGKILL, run.err
        kills += 1
        found = {
            path: path.stat().st_mtime_ns
            for path in (study.store / "rows" / "cells").iterdir()
            if path.suffix == ".parquet"
        }
        assert files.items() <= found.items()
        files = found
        copy = study.store.with_name(f"copy {kills}")
        shutil.copytree(study.store, copy)
        first, again = (make_plan(study.load(), Store.open(each)) for each in (study.store, copy))
        assert first.items == again.items and first.refinement == again.refinement
    assert kills == 3
    (proposal,) = make_plan(study.load(), study.opened()).refinement
    assert proposal.advice.state == "met" and study.opened().check() == []
    assert sweeper_command.run(calm.argv("run"), env={"PLANTED_KL": "1"}, faults=faults).code == 0
    both = set(study.opened().committed()) & set(calm.opened().committed())
    assert len(both) >= 10
    mine, theirs = ([row for row in table(each.store) if row["cell_id"] in both] for each in (study, calm))
    assert mine == theirs


@pytest.mark.slow
def test_the_digits_are_refined_by_two_real_workers(tmp_path):
    """`studies/refine_digits.yaml`, with fewer steps, through Ray: jobs follow from results until the end, and the
    place is the one known from a full grid (1 - ρ = 0.022 at 4,000 steps, 0.023 at 2,000; then the top layer may still
    have more than 5 % of its KL at ρ = 1, and the refinement be stuck)."""
    path = ROOT / "studies" / "refine_digits.yaml"
    argv = ["run", str(path), "--store", str(tmp_path / "digits"), "--set", "train.steps=3000", "--workers", "2"]
    run = subprocess.run([sys.executable, "-m", "sweeper", *argv], cwd=tmp_path, env=environment(), capture_output=True)
    assert run.returncode == 0, run.stderr
    store = Store.open(tmp_path / "digits")
    (proposal,) = make_plan(load_study(path, ["train.steps=3000"]), store).refinement
    (curve,) = curves(store.cells())
    assert proposal.advice.state in ("met", "spent") and len(store.committed()) <= 30
    assert curve.transition.onset.value == pytest.approx(1 - 0.023, abs=0.006)
    assert store.cells().attempt.nunique() > 4
