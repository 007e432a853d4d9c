"""Memory runs out, or a worker is ended for it: the stack goes on in halves, and the size is kept."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest
from conftest import environment, same, until
from test_ray import RAY, SLOW_START_S, through_ray  # noqa: F401  (a fixture)

from sweeper.driver.losses import Losses
from sweeper.driver.retries import carry_out, out_of_memory
from sweeper.driver.retry_policy import DEFAULT
from sweeper.planning import make_plan
from sweeper.planning.jobs import fitting_key
from sweeper.store import Store
from tests.sweeper.faulty_procedure import NO_MEMORY, planted


@pytest.fixture
def little_memory():
    """Memory for stacks of two cells at step 10; collects the sizes that were tried there."""
    tried = []

    def lacking(stack):
        if stack.step == 10:
            tried.append(len(stack.cells))
            if len(stack.cells) > 2:
                raise RuntimeError(NO_MEMORY)

    with planted(lacking):
        yield tried


def test_a_stack_too_large_is_halved_until_it_fits_and_the_size_is_remembered(tiny, little_memory, capsys):
    """From its checkpoint on, with the bits of an undisturbed run; the next plan makes no larger stacks."""
    brief = {"train": {"steps": 20}, "run": {"max_stack": 6}}
    study, whole = tiny(**brief), tiny(store="whole", **brief)
    outcome = study.run("train.checkpoint_s=0.001")
    assert outcome.failures == () and outcome.after.missing == ()
    assert little_memory == [4, 2, 2, 2]  # ρ = 1 is a stack of its own
    assert "no memory for a stack of 4 cells" in capsys.readouterr().err
    key = fitting_key(study.load().cells[0], "cpu")
    assert study.opened().fitting(key) == 2
    assert {len(o.cells) for o in make_plan(study.load("train.steps=90"), study.opened()).jobs} == {2}
    whole.run("run.max_stack=2")
    assert same(study.store, whole.store)


def test_where_one_cell_does_not_fit_it_fails_and_says_why(tiny):
    """A single cell cannot be halved."""

    def lacking(stack):
        if stack.step == 10 and stack.cells[0].rho == 0.8:
            raise MemoryError("no room")

    with planted(lacking):
        study = tiny(cells={"rho": [0.8, 0.95], "seed": 0}, train={"steps": 20})
        outcome = study.run("run.max_stack=1")
    (failure,) = outcome.failures
    assert failure.traceback.rstrip().endswith("MemoryError: no room") and len(outcome.after.missing) == 1


def test_a_process_that_dies_leaves_half_the_stack_to_the_next(tiny):
    """Its last word says how many cells it was at: the same attempt goes on with half as many, and forgets it."""
    study = tiny(cells={"rho": 0.9, "seed": list(range(5))}, train={"steps": 20}, run={"max_stack": 5})
    store = Store.open(study.store, create=True)
    (job,) = make_plan(study.load(), store).jobs
    store.write_progress("run-00000", {"phase": "training", "cells": 5, "pid": 1})
    carry_out(job, store, "run-00000", lambda: False)
    assert sorted(store.cells()["stack_cells"]) == [2, 2, 3, 3, 3]
    assert store.progress() == [] and store.running() == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError(NO_MEMORY), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_running_out(fault, expected):
    assert out_of_memory(fault) is expected


LIMITED = """
import resource, sys, psutil, torch
from sweeper.driver.inline import Inline
from sweeper.run import run_study
from sweeper.store import Store
from tests.sweeper.faulty_procedure import NO_MEMORY, planted
from sweeper.study import load_study
import sweeper.driver.retries
from models import data
from models.kernels import compiled

torch.set_num_threads(1)
data.load("digits"), compiled.library()
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]), resource.RLIM_INFINITY))
outcome = run_study(load_study(sys.argv[1]), Store.open(sys.argv[2], create=True), lambda plan: Inline())
assert not outcome.after.missing, outcome.failures
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS holds on Linux")
def test_a_real_limit_on_memory_is_lived_with(tiny):
    """The address space of a process ends before a stack of 32 cells does; all of them finish all the same."""
    study = tiny(cells={"hidden": "2000", "latents": "2-2", "rho": 0.9, "seed": list(range(32))},
                 train={"steps": 1, "keep": "none"}, evaluation={"every": 0, "images": 5, "validation_images": 5},
                 run={"max_stack": 32})  # fmt: skip
    one = make_plan(study.load(), None).memory_bytes / 32
    command = [sys.executable, "-c", LIMITED, str(study.path), str(study.store), str(int(26 * one))]
    child = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert child.returncode == 0, child.stderr[-3000:]
    assert "no memory for a stack of 32 cells" in child.stderr
    assert max(study.opened().cells()["stack_cells"]) <= 16


# --- workers that Ray or the system ends for memory that others have taken

RAY_SAYS = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: df93) was "
    "2.50GB used / 23.54GB limit (0.106042)\nOOM kill reason: Memory usage exceeded threshold\nIdle workers: 1"
)


@pytest.fixture
def account():
    """Losses of two workers, the lines that are said, a clock, and how many processes the system has ended."""

    class Account:
        def __init__(self):
            self.said, self.now, self.ended = [], 0.0, 0
            self.losses = Losses(2, DEFAULT, self.said.append, lambda: self.now, lambda: self.ended)

        def lost(self, reason, number=0, cells=4, stack=4, beside=0):
            return self.losses.lost(number, cells, stack, beside, reason)

    return Account()


def test_a_worker_ended_for_memory_is_said_with_the_figures_and_its_order_waits_for_the_others(account):
    assert account.losses.room(1)
    assert account.lost(RAY_SAYS, stack=3, beside=1) is None
    (line,) = account.said
    assert line.startswith("memory ran out on 192.0.2.2 (2.50 of 23.54 GB in use): a stack of 3 cells lost its worker")
    assert "at most 2 cells at a time" in line
    assert not account.losses.room(1) and account.losses.room(0)
    account.now += 2 * DEFAULT.first_calm_s
    # One more is tried after a while, after longer where that was too early.
    assert account.losses.room(1) and not account.losses.room(2)
    account.lost(RAY_SAYS, number=1, beside=1)
    account.now += 2 * DEFAULT.first_calm_s
    assert not account.losses.room(1)
    account.now += 2 * DEFAULT.first_calm_s
    assert account.losses.room(1)


def test_workers_that_come_up_into_a_known_shortage_do_not_make_it_a_longer_one():
    """Fifty are asked for at once, of which eight find memory: one more is tried after the first calm, doubled once."""
    said, now = [], [0.0]
    losses = Losses(50, DEFAULT, said.append, lambda: now[0], lambda: 0)
    for number in range(50):
        assert losses.room(number)
        losses.handed_out(number)
    for number in range(8, 50):
        now[0] += 1
        assert losses.lost(number, 12, 0, 8, RAY_SAYS) is None
    assert not losses.room(8) and losses.room(7)
    now[0] += 2 * DEFAULT.first_calm_s
    assert losses.room(8) and not losses.room(9)
    losses.handed_out(8)
    assert losses.lost(8, 12, 0, 8, RAY_SAYS) is None  # handed out after the others: the shortage lasts
    now[0] += 2 * DEFAULT.first_calm_s
    assert not losses.room(8)
    now[0] += 2 * DEFAULT.first_calm_s
    assert losses.room(8)


def test_alone_it_is_tried_again_after_longer_and_longer_and_given_up_in_the_end(account):
    waited = []
    while (why := account.lost(RAY_SAYS, cells=1, stack=1)) is None:
        assert not account.losses.room(0)
        begun = account.now
        while not account.losses.room(0):
            account.now += 1
        waited.append(account.now - begun)
    assert waited == [5, 10, 20, 40, 60, 60]
    assert why.startswith(RAY_SAYS) and "free some there" in why.splitlines()[-1]
    assert "memory ran out on 192.0.2.2 (2.50 of 23.54 GB in use), 7 times" in why
    assert account.lost(RAY_SAYS, number=1)  # no job waits as long again …
    account.losses.finished()
    assert account.lost(RAY_SAYS, number=2) is None  # … until there was memory for one


def test_a_worker_that_the_system_ended_for_memory_is_told_from_one_that_died(account):
    """By the count that the kernel keeps: Ray only sees that the process is gone."""
    account.ended = 1
    assert account.lost("the worker died") is None
    assert "memory ran out (the system ended a process for it)" in account.said[0]
    account.said.clear()
    for _ in range(DEFAULT.max_restarts + 2):  # two halvings of four cells
        assert account.lost("the worker died") is None
    assert account.lost("the worker died") == "the worker died" and account.said == []


IMPATIENT = """
import sys
from functools import partial
from sweeper.driver import tune
from sweeper.driver.retry_policy import RetryPolicy
tune.RayTune = partial(tune.RayTune, policy=RetryPolicy(first_wait_s=0.1, max_memory_restarts=1))
from sweeper.cli import main
sys.argv[0] = "sweeper"
main()
"""


@pytest.mark.slow
def test_where_ray_ends_every_worker_for_memory_the_run_says_so_and_reports(tiny):
    """Its monitor's limit is below what the machine uses; with the usual one the same command finishes."""
    study = tiny(cells={"rho": [0.8, 0.95], "seed": 0}, train={"steps": 20}, run=RAY | {"workers": 1})
    argv = [sys.executable, "-c", IMPATIENT, *study.argv("run", "--json")]
    low = environment(RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="50")
    done = subprocess.run(argv, env=low, capture_output=True, text=True, timeout=3 * SLOW_START_S)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("failed: ") == 2 and done.stderr.count("memory ran out on ") >= 3, done.stderr
    printed = json.loads(done.stdout)
    assert printed["missing"] == 2 and printed["report"]["curves"] == []
    argv = [sys.executable, "-m", "sweeper", *study.argv("run")]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=SLOW_START_S)
    assert done.returncode == 0, done.stderr


HOG = "import sys; taken = b'x' * int(sys.argv[1]); sys.stdin.read()"


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.skipif(psutil.virtual_memory().available < 9 << 30, reason="takes 4 GB, of 9 that are free")
def test_workers_that_ray_ends_for_memory_taken_by_others_go_on_when_it_is_free_again(tiny, through_ray, injected):  # noqa: F811
    """While they train another process takes it, until one of them is gone."""
    train = {"steps": 4000, "checkpoint_s": 0.3}
    study, undisturbed = tiny(train=train, run=RAY), tiny(store="undisturbed", train=train)
    undisturbed.run()
    memory = psutil.virtual_memory()
    limit = (memory.total - memory.available + (4 << 30)) / memory.total
    run = through_ray(study, RAY_memory_usage_threshold=f"{limit:.4f}", RAY_memory_monitor_refresh_ms="100")
    pids = {note["pid"] for note in until(run.notes, SLOW_START_S)}
    with subprocess.Popen([sys.executable, "-c", HOG, str(4 << 30)], stdin=subprocess.PIPE) as hog:
        until(lambda: pids - set(run.processes()), SLOW_START_S, 0.2)
        hog.kill()
    code, _, err = run.end(3 * SLOW_START_S)
    assert code == 0 and "memory ran out on " in err and "Traceback" not in err, err
    assert same(study.store, undisturbed.store)
    injected("memory taken by another process until Ray ends a worker", 1)
