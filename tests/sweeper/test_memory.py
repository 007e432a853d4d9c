"""Memory runs out, or the system ends a worker for its memory: the stack goes on in halves, and the size is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import environment, same

from models.procedures.joint import Joint
from sweeper.driver.tries import carry_out, out_of_memory
from sweeper.plan import fitting_key, make_plan
from sweeper.store import Store

NO_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"
)


@pytest.fixture
def little_memory(monkeypatch):
    """Memory for stacks of two cells from step 30 on; collects the sizes that were tried there."""
    real, tried = Joint.step, []

    def step(self, stack):
        if stack.step == 30:
            tried.append(len(stack.cells))
            if len(stack.cells) > 2:
                raise RuntimeError(NO_MEMORY)
        real(self, stack)

    monkeypatch.setattr(Joint, "step", step)
    return tried


def test_a_stack_too_large_is_halved_until_it_fits_and_the_size_is_remembered(tiny, little_memory, monkeypatch, capsys):
    """From its checkpoint on, with the bits of an undisturbed run; the next plan makes no larger stacks."""
    study, whole = tiny(run={"max_stack": 6}), tiny(store="whole", run={"max_stack": 6})
    outcome = study.run("train.checkpoint_s=0.001")
    assert outcome.failures == () and outcome.after.missing == ()
    assert little_memory == [4, 2, 2, 2]  # ρ = 1 is a stack of its own
    assert "no memory for a stack of 4 cells" in capsys.readouterr().err
    key = fitting_key(study.load().cells[0], "cpu")
    assert study.opened().fitting(key) == 2
    assert {len(o.cells) for o in make_plan(study.load("train.steps=90"), study.opened()).orders} == {2}
    monkeypatch.undo()
    whole.run()
    assert same(study.store, whole.store)


def test_where_one_cell_does_not_fit_it_fails_and_says_why(tiny, little_memory, monkeypatch):
    """A single cell cannot be halved."""
    real = Joint.step

    def step(self, stack):
        if stack.step == 30 and stack.cells[0].rho == 0.8:
            raise MemoryError("no room")
        real(self, stack)

    monkeypatch.setattr(Joint, "step", step)
    outcome = tiny(cells={"rho": [0.8, 0.95], "seed": 0}).run("run.max_stack=1")
    (failure,) = outcome.failures
    assert failure.traceback.rstrip().endswith("MemoryError: no room") and len(outcome.after.missing) == 1


def test_a_process_that_dies_leaves_half_the_stack_to_the_next(tiny):
    """Its last word says how many cells it was at: the same attempt goes on with half as many, and forgets it."""
    study = tiny(cells={"rho": 0.9, "seed": list(range(5))}, run={"max_stack": 5})
    store = Store.open(study.store, create=True)
    (order,) = make_plan(study.load(), store).orders
    store.write_progress("run-00000", {"phase": "training", "cells": 5, "pid": 1})
    carry_out(order, store, "run-00000", lambda: False)
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
from sweeper.study import load_study
import sweeper.driver.tries
from models import compiled, data

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
                 train={"steps": 3, "keep": "none"}, evaluation={"every": 0},
                 run={"max_stack": 32})  # fmt: skip
    one = make_plan(study.load(), None).memory_bytes / 32
    command = [sys.executable, "-c", LIMITED, str(study.path), str(study.store), str(int(26 * one))]
    child = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert child.returncode == 0, child.stderr[-3000:]
    assert "no memory for a stack of 32 cells" in child.stderr
    assert max(study.opened().cells()["stack_cells"]) <= 16
