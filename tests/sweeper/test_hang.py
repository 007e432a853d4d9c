"""A worker that makes no progress: it says where it stands, ends, and its stack goes on in a fresh process."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import PATIENCE_S, environment, same, until
from test_ray import RAY, SLOW_START_S, through_ray  # noqa: F401  (a fixture)

HANGS = {"hang_s": 2.0}

LIVES = """
import json, os, sys
sys.path.insert(0, "tests/sweeper")
import models.data
from faulty import hang
from sweeper.driver.watchdog import carry_out_watched
from sweeper.planning import make_plan
from sweeper.store import Store
from sweeper.study import load_study
hang(json.loads(sys.argv[3]))
models.data.load("digits")
store = Store.open(sys.argv[2], create=True)
(job,) = make_plan(load_study(sys.argv[1]), store).jobs
codes = []
while 0 not in codes and len(codes) < 6:
    pid = os.fork()
    if pid == 0:
        carry_out_watched(job, store, "attempt", lambda: False)
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(codes)
"""


def lives(study, where):
    """Exit codes of the processes that Tune would start for the study's one stack, one after another."""
    argv = [sys.executable, "-c", LIVES, str(study.path), str(study.store), json.dumps(where)]
    return json.loads(subprocess.run(argv, env=environment(), stdout=subprocess.PIPE, timeout=PATIENCE_S).stdout)


STOPPED = """
import sys
from sweeper.driver.watchdog import Watchdog
with Watchdog(1.0, lambda stacks: sys.stdout.write("hung")):
    print("up", flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_was_stopped_for_longer_has_not_hung():
    """It is the watchdog's own turns that count, and a stopped process takes none."""
    argv = [sys.executable, "-c", STOPPED]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        assert process.communicate("\n") == ("", None)
    assert process.returncode == 0


def test_a_hang_ends_an_inline_run_with_where_it_stood_and_the_same_command_goes_on(tiny, sweeper_command):
    brief = {"train": {"steps": 20, "checkpoint_s": 1e-6}}  # after every step: the hang comes at the tenth
    study, undisturbed = tiny(run=HANGS, **brief), tiny(store="undisturbed", **brief)
    undisturbed.run()
    run = sweeper_command.start(study.argv("run"), faults={"hang": {"rho": 0.95, "step": 10}, "unreported": None})
    assert run.wait() == 1
    assert "no step finished within 2 s (run.hang_s)" in run.err and "Traceback" not in run.err
    (log,) = study.opened().paths.log.glob("*.log")
    assert "in hangs" in log.read_text()
    again = sweeper_command.run(study.argv("run", "--set", "run.hang_s=600"), faults={"unreported": None})
    assert again.code == 0 and "to continue" in again.err
    assert same(study.store, undisturbed.store)


def test_a_cell_that_hangs_is_tried_three_times_and_the_others_of_its_stack_finish(tiny):
    brief = {"cells": {"rho": [0.8, 0.95], "seed": 0}, "train": {"steps": 20}}
    study, undisturbed = tiny(run=HANGS, **brief), tiny(store="undisturbed", **brief)
    undisturbed.run()
    assert lives(study, {"rho": 0.95, "step": 10}) == [1, 1, 1, 0]
    store = study.opened()
    (failure,) = store.failures()
    assert failure.traceback.splitlines()[-1] == "no step finished within 2 s (run.hang_s)"
    assert "in hangs" in failure.traceback and store.progress() == []
    (name,) = store.committed()
    assert name != failure.cell_id
    assert not study.run("run.hang_s=600").after.missing  # the next run tries it afresh, here without a fault
    assert same(study.store, undisturbed.store)


@pytest.mark.slow
@pytest.mark.fault
def test_workers_that_hang_are_restarted_by_ray_and_all_cells_finish(tiny, through_ray, injected):  # noqa: F811
    """A file system that does not answer: what the workers look at twice a second becomes a pipe without a writer."""
    train = {"steps": 3000, "checkpoint_s": 0.3}
    study = tiny(train=train, run=RAY | {"hang_s": 20.0})
    undisturbed = tiny(store="undisturbed", train=train, run={"max_stack": 2})
    undisturbed.run()
    run = through_ray(study)
    hung = {note["pid"] for note in until(run.notes, SLOW_START_S)}
    paths = study.opened().paths
    os.mkfifo(paths.stop)
    until(lambda: list(paths.running.glob("*/hung.json")), SLOW_START_S)
    until(lambda: not hung & set(run.processes()), SLOW_START_S)
    paths.stop.unlink()
    code, _, err = run.end()
    assert code == 0, err
    assert same(study.store, undisturbed.store)
    assert any("no step finished within 20 s" in log.read_text() for log in paths.log.glob("*.log"))
    injected("workers that hang", len(hung))
