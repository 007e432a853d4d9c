"""A run as a whole: signals, cells that fail, cells that diverge, and an unlucky progress display or report."""

import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, UNDRAWN, environment, on_terminal, same, table, until

from models.cell import cell_id
from models.data import load
from models.kernels.compiled import compiler
from models.stack.stack import Stack
from sweeper.cli import progress
from sweeper.cli.progress import Watch
from sweeper.cli.words.status import stack_sentence
from sweeper.driver import SIGNALS
from sweeper.driver.retries import carry_out
from sweeper.driver.retry_policy import DEFAULT
from sweeper.errors import StoreUnwritable, StudyError, SweeperError
from sweeper.machine import Machine
from sweeper.planning import make_plan
from sweeper.run import ECHO_S
from sweeper.status import Meter, Snapshot, share_of_work, status_of
from sweeper.store import Store
from tests.sweeper.faulty_procedure import planted

LONG = {"train": {"steps": 100_000, "checkpoint_s": 3600.0}, "evaluation": {"every": 0}}


def begin_training(study, sweeper_command):
    """A run of the study, once its first stack is training."""
    run = sweeper_command.start(study.argv("run"))
    until(lambda: run.poll() is not None or study.notes())
    assert run.poll() is None, run.err
    return run


# --- signals


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_one_signal_writes_a_checkpoint_and_stops_and_the_same_command_goes_on(tiny, sweeper_command, number):
    """Whoever sends it: a user, a terminal that closes, a batch system, a limit on the time of the processor."""
    study = tiny(**LONG)
    run = begin_training(study, sweeper_command)
    assert study.opened().running() == []
    run.kill(number)
    assert run.wait(timeout=60) == 128 + number
    assert "0 of 6 cells done; run the same command to resume" in run.err
    assert "Traceback" not in run.err and study.opened().holder() is None
    records = study.opened().running()
    assert len(records) == 1 and records[0].step > 0 and len(records[0].cell_ids) in (2, 4)
    steps = records[0].step + 20
    plan = make_plan(study.load(f"train.steps={steps}"), study.opened())
    assert {item.start for item in plan.missing} == {0, records[0].step}
    if number != signal.SIGINT:
        return  # what a store goes on with is a checkpoint, whoever asked for it
    whole = tiny(store="whole", **LONG)
    study.run(f"train.steps={steps}", "cells.rho=0.8")
    whole.run(f"train.steps={steps}", "cells.rho=0.8")
    assert same(study.store, whole.store)


BUSY = """
import sys, time
from sweeper.cli.output import say_at_once
from sweeper.cli.words.run import STOPPING
from sweeper.run import StopRequest, run_study
from sweeper.store import Store
from sweeper.study import load_study

class Busy:
    def execute(self, work):
        print("working", flush=True)
        time.sleep(600)

stop = StopRequest(told=lambda: say_at_once(STOPPING))
run_study(load_study(sys.argv[1]), Store.open(sys.argv[2], create=True), lambda plan: Busy(), stop=stop)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(tiny, number, code):
    """Here in the middle of work that takes no notice of the first."""
    study = tiny()
    command = [sys.executable, "-c", BUSY, str(study.path), str(study.store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout.readline() == "working\n"
        child.send_signal(number)
        assert child.stderr.readline() == "\n" and "press Ctrl-C again to quit now" in child.stderr.readline()
        assert child.poll() is None
        time.sleep(ECHO_S)
        child.send_signal(number)
        assert child.wait(timeout=30) == code
    assert study.opened().holder() is None
    with study.opened().lock():
        pass


def test_what_arrives_twice_by_itself_is_one_request(tiny):
    """A closed terminal's signal comes from the kernel and from the shell, that of `timeout` to process and group."""
    study = tiny()
    command = [sys.executable, "-c", BUSY, str(study.path), str(study.store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout.readline() == "working\n"
        child.send_signal(signal.SIGTERM)
        child.stderr.readline()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU):
            child.send_signal(number)
        time.sleep(ECHO_S)
        child.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 143


def on_a_terminal_that_closes(study, commands, **variables):
    """A run with a terminal of its own, its session's, which is hung up while the first stack trains."""
    main, side = pty.openpty()
    run = commands.start(study.argv("run"), tty=os.ttyname(side), env={"TERM": "xterm"} | variables)
    os.close(side)
    shown = bytearray()
    os.set_blocking(main, False)

    def trains():
        with suppress(OSError):
            shown.extend(os.read(main, 65536))
        return run.poll() is not None or study.notes()

    until(trains)
    assert run.poll() is None, shown.decode()
    os.close(main)
    return run


def test_a_terminal_that_closes_costs_nothing(tiny, sweeper_command):
    """Nor does writing to it, which fails from then on; the report of a later run is an undisturbed one's."""
    study = tiny(**LONG)
    run = on_a_terminal_that_closes(study, sweeper_command)
    assert run.wait(timeout=60) == 128 + signal.SIGHUP
    (record,) = study.opened().running()
    assert record.step > 0 and study.opened().holder() is None


def test_under_nohup_a_terminal_may_close(tiny, sweeper_command):
    """The signal that was ignored from the start stays so: the run goes on to its end, report and all."""
    study = tiny(cells={"rho": 0.8, "seed": 0}, train={"steps": 300})
    run = on_a_terminal_that_closes(study, sweeper_command, IGNORED="SIGHUP")
    assert run.wait() == 0
    assert len(study.opened().committed()) == 1 and study.opened().paths.analysis.joinpath("report.html").exists()


def test_a_signal_reaches_a_long_final_evaluation(tiny, sweeper_command):
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 5},
                 evaluation={"every": 0, "importance_samples": 10_000_000})  # fmt: skip
    run = sweeper_command.start(study.argv("run"))
    until(lambda: any(note["phase"] == "evaluating" for note in study.notes()))
    run.kill(signal.SIGTERM)
    assert run.wait(timeout=60) == 143
    assert study.opened().running()[0].step == 5
    outcome = study.run("evaluation.importance_samples=5")
    assert outcome.before.counts == {"continue": 1} and not outcome.after.missing


# --- cells that fail


@pytest.fixture
def poisoned():
    """Makes training raise at step 10 where a stack has a cell of ρ = 0.95, until that is fixed; counts the raises."""
    raised, fixed = [], []

    def poison(stack):
        if stack.step == 10 and any(cell.rho == 0.95 for cell in stack.cells) and not fixed:
            raised.append([cell.rho for cell in stack.cells])
            raise RuntimeError("poison at 0.95")

    with planted(poison):
        yield {"raised": raised, "fix": lambda: fixed.append(True)}


def test_a_cell_that_raises_is_tried_three_times_and_the_others_finish(tiny, poisoned):
    brief = {"cells": {"seed": 0}, "train": {"steps": 20, "checkpoint_s": 0.001}}
    study, whole = tiny(**brief), tiny(store="whole", **brief)
    outcome = study.run("run.max_stack=2", "cells.rho=[0.8, 0.95]")
    assert poisoned["raised"] == [[0.8, 0.95]] * (DEFAULT.max_attempts - 1) + [[0.95]]
    (failure,) = outcome.failures
    assert [item.cell.rho for item in outcome.after.missing] == [0.95]
    assert failure.cell_id == outcome.after.missing[0].cell_id
    assert failure.traceback.rstrip().endswith("RuntimeError: poison at 0.95")
    log = Path(failure.log).read_text(encoding="utf-8")
    assert log.count("RuntimeError: poison at 0.95") >= DEFAULT.max_attempts and "Traceback" in log
    assert study.opened().progress() == []
    poisoned["fix"]()
    again = study.run("cells.rho=[0.8, 0.95]")
    assert again.failures == () and again.after.missing == () and again.before.counts == {"done": 1, "continue": 1}
    whole.run("cells.rho=[0.8, 0.95]")
    assert same(study.store, whole.store)


def test_the_command_names_failed_cells_and_exits_with_1(tiny, poisoned, blank_figures, monkeypatch, capsys):
    from sweeper import cli

    study = tiny(train={"steps": 20})
    monkeypatch.setattr("sys.argv", ["sweeper", *study.argv("run")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    words = capsys.readouterr()
    failed = [line for line in words.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2 and all("RuntimeError: poison at 0.95 (log: " in line for line in failed)
    assert "2 cells failed; the next run retries them" in words.err and "Traceback" not in words.err
    assert "2 of the study's 6 cells without a result yet" in words.out


# --- cells that diverge


def test_a_diverging_cell_is_committed_as_such_and_the_others_are_unaffected(tiny, sweeper_command):
    """A learning rate of 1,000 makes the loss overflow."""
    rates = {"learning_rate": [1e-3, 1e3], "activation": "relu", "rho": [0.8, 1], "seed": [0, 1]}
    brief = {"train": {"steps": 20}}
    study, calm = tiny(cells=rates, **brief), tiny(store="calm", cells=rates | {"learning_rate": 1e-3}, **brief)
    run = sweeper_command.run(study.argv("run", "--set", "run.max_stack=12"), faults={"unreported": None})
    assert run.code == 0, run.err
    calm.run()
    rows = table(study.store)
    good = [row for row in rows if row["learning_rate"] == (1e-3).hex()]
    assert good == table(calm.store)
    bad = [row for row in rows if row["learning_rate"] == (1e3).hex()]
    assert len(bad) == 4 and {row["state"] for row in bad} == {"diverged"}
    assert all(0 < row["diverged_at"] == row["step"] < 20 and row["elbo"] is None for row in bad)
    status = sweeper_command.run(study.argv("status"))
    assert "8 cells committed, 4 of them diverged" in status.out
    again = study.run("train.steps=30")  # more steps cannot mend it
    assert again.before.counts == {"diverged": 4, "continue": 4}
    alone = tiny(store="alone", cells=rates | {"learning_rate": 1e3}, **brief)
    alone.run("run.max_stack=1")
    assert table(alone.store) == bad


def test_a_stack_in_which_all_cells_diverge_ends(tiny, capsys):
    study = tiny(cells={"learning_rate": 1e3, "activation": "relu", "rho": 0.8}, train={"steps": 10**8})
    outcome = study.run("run.max_stack=2")
    assert outcome.after.counts == {"diverged": 2} and outcome.failures == ()
    assert "failed" not in capsys.readouterr().err  # not even a try


# --- showing must not harm


class Rows:
    """An executor that takes its time and then commits everything."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    def execute(self, work):
        from sweeper.driver.inline import Inline

        self.meanwhile()
        Inline().execute(work)


def watched(study, meanwhile=lambda: None):
    from sweeper.run import run_study

    store = Store.open(study.store, create=True)
    return run_study(study.load(), store, lambda plan: Rows(meanwhile), watching=Watch)


def test_while_the_last_cells_are_evaluated_no_time_is_said_that_training_has_left(tiny):
    study = tiny(cells={"seed": 0, "rho": 0.9})
    watch = Watch(lambda: None, Store.open(study.store, create=True))
    now = Snapshot(committed=40, missing=62, share=0.5, stacks=())
    watch.begun = time.monotonic() - 60
    assert watch._sentence(now) == "40/62 cells, 50 % of the work in 60 s, about 60 s left"
    assert watch._sentence(replace(now, share=0.999)) == "40/62 cells, 100 % of the work in 60 s, evaluating"


def test_a_progress_display_that_fails_does_not_touch_the_run(tiny, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOOK_S", 0.01)
    monkeypatch.setattr(progress, "PLAIN_LINE_S", 0.0)
    looks = []

    def fail(self):
        looks.append(1)
        raise StoreUnwritable("vanished for a moment") if len(looks) % 2 else KeyError("attempt")

    monkeypatch.setattr(Meter, "read", fail)
    outcome = watched(tiny(cells={"seed": 0, "rho": 0.9}), lambda: until(lambda: len(looks) > 5))
    assert outcome.after.missing == () and "Traceback" not in capsys.readouterr().err


def test_a_store_that_vanishes_ends_the_run_with_one_sentence(tiny):
    study = tiny()
    with pytest.raises(StoreUnwritable, match="results of tiny"):
        watched(study, lambda: shutil.rmtree(study.store))
    assert threading.active_count() < 10


def test_the_share_of_work_grows_with_steps_and_commits(tiny):
    study = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 40}, evaluation={"every": 0})
    store = Store.open(study.store, create=True)
    plan = make_plan(study.load(), store)
    meter = Meter(lambda: plan, store)
    assert meter.read().share == 0 and share_of_work(plan, []) == 0
    ids = [item.cell_id for item in plan.missing]
    note = {"phase": "training", "cells": 2, "cell_ids": ids, "step": 10, "steps": 40, "at": 0.0}
    store.write_progress("a", note)
    assert meter.read().share == pytest.approx(0.25) == share_of_work(plan, store.progress())
    store.write_progress("b", note | {"step": 4})  # one that starts over says less
    assert meter.read().share == pytest.approx(0.25)
    study.run()
    now = meter.read()
    assert now.share == 1 and now.committed == 2


def test_a_stack_whose_process_is_gone_is_not_shown_as_running(tiny):
    study = tiny()
    store = Store.open(study.store, create=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    said = {"phase": "training", "cells": 1, "cell_ids": [], "step": 1, "steps": 2, "at": 0.0, "architecture": "",
            "data": "", "stack_step_s": None}  # fmt: skip
    notes = {"a": (gone.pid, socket.gethostname()), "b": (os.getpid(), socket.gethostname()), "c": (1, "elsewhere")}
    for attempt, (pid, host) in notes.items():
        store.write_progress(attempt, said | {"pid": pid, "host": host})
    with store.lock():
        shown = status_of(None, store).running
    assert [note["attempt"] for note in shown] == ["b", "c"]


def test_a_stack_that_failed_on_the_way_leaves_no_note(tiny, poisoned):
    """Also where its cells stood at different steps, and so had folders of their own."""
    study = tiny(cells={"seed": 0}, train={"steps": 20}, evaluation={"every": 0})
    study.run("cells.rho=0.8", "train.steps=15")
    study.run("cells.rho=[0.8, 0.95]", "run.max_stack=2")
    assert poisoned["raised"] and study.opened().progress() == []


def test_bars_are_drawn_on_a_terminal_and_leave_no_colour_with_no_color(tiny, sweeper_command):
    study = tiny(cells={"seed": 0}, train={"steps": 600})  # long enough for a bar to be drawn, on a busy machine too
    code, text = on_terminal(sweeper_command, study.argv("run"), 120, {"NO_COLOR": "1", "TERM": "xterm"})
    assert code == 0 and "all cells" in text and "digits mlp 3-2 (8)" in text
    assert "\x1b[3" not in text.replace("\x1b[?25h", "") and "Traceback" not in text


def test_a_failing_report_hides_neither_results_nor_failures(tiny, monkeypatch, capsys, poisoned):
    from sweeper import cli

    def broken(*_, **__):
        raise ValueError("no figure today")

    monkeypatch.setattr("sweeper.report.write_report", broken)
    study = tiny(cells={"seed": 0}, train={"steps": 20})
    for code, failing in ((1, True), (1, False)):
        monkeypatch.setattr("sys.argv", ["sweeper", *study.argv("run")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        words = capsys.readouterr().err
        assert ended.value.code == code and "report failed: ValueError: no figure today" in words
        assert ("1 cell failed" in words) is failing
        poisoned["fix"]()
    assert len(table(study.store)) == 3


def test_ctrl_c_while_the_report_is_made_says_that_the_results_are_whole(tiny, monkeypatch, capsys):
    from sweeper import cli

    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE_S)

    monkeypatch.setattr("sweeper.analysis.report.analyse", interrupted)
    study = tiny(cells={"seed": 0}, train={"steps": 20})
    monkeypatch.setattr("sys.argv", ["sweeper", *study.argv("run")])
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.value.code == 130 and len(table(study.store)) == 3
    assert "the results are whole, their report was not written\nnext: sweeper report" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"batch_size": 1298}, "batch_size 1298: digits has 1297 training images"),
        ({"likelihood": "gaussian"}, "likelihood gaussian: digits has pixels, for bernoulli"),
    ],
    ids=["batch", "likelihood"],
)
def test_cells_that_ask_too_much_of_a_data_set_end_the_run_before_any_training(tiny, cells, said):
    study = tiny(cells=cells)
    with pytest.raises(StudyError, match=re.escape(said)):
        study.run()
    assert study.opened().committed() == {} and study.opened().running() == []


@pytest.mark.skipif(compiler() is None, reason="no C compiler here")
def test_a_compilation_is_shown_while_it_lasts(tiny, tmp_path):
    """On a machine whose cache has nothing yet, with a compiler that takes its time."""
    slow, cache = tmp_path / "cc", tmp_path / "cache"
    slow.write_text(f'#!/bin/sh\n[ "$1" = --version ] || sleep 3\nexec {compiler()} "$@"\n')
    slow.chmod(0o755)
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 5})
    with subprocess.Popen(
        [sys.executable, "-c", UNDRAWN, *study.argv("run")],
        env=environment(SWEEPER_CC=str(slow), SWEEPER_CACHE=str(cache)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        (note,) = until(lambda: [note for note in study.notes() if note["phase"] == "compiling"])
        assert stack_sentence(note) == "compiling, once on this machine"
        _, err = run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 0, err
    assert len(list((cache / "compiled").iterdir())) == 1


# --- what a run trains


def test_a_run_trains_each_cell_in_its_own_precision(tiny):
    """The kept weights are bitwise those of the cell's stack trained without a run; no two precisions have the same."""
    study = tiny(cells={"rho": 0.8, "seed": 0, "precision": ["float32", "tf32", "bfloat16", "float64"]},
                 train={"steps": 20})  # fmt: skip
    study.run()
    found = set()
    for cell in study.load().cells:
        stack = Stack([cell], load("digits"))
        stack.train(study.load().steps)
        kept, _ = study.opened().load_state(cell_id(cell))
        for name, tensor in stack.params.items():
            assert np.array_equal(kept[f"param/{name}"], tensor.detach()[0].numpy()), cell.precision
        found.add(kept["param/generative.1.0.weight"].astype(np.float64).tobytes())
    assert len(found) == 4


GPU = Machine(cores=2, memory_bytes=8 << 30, gpu_memory_bytes=(80 << 30,))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_pytorch_cannot_use_is_said_before_anything_is_trained(tiny, monkeypatch):
    """The driver's word is what plans go by."""
    monkeypatch.setattr("sweeper.planning.plan.machine", lambda: GPU)
    study = tiny()
    with pytest.raises(StudyError, match=r"a GPU here that PyTorch cannot use .*run\.device=cpu"):
        study.run("run.device=auto")
    assert not study.opened().failures() and not study.opened().committed()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_lost_is_not_its_cells_fault(tiny):
    """Nothing is tried again in that process, no cell has failed, and no smaller stack is asked for."""
    study = tiny()
    store = Store.open(study.store, create=True)
    job = make_plan(study.load("run.device=cuda"), store, GPU).jobs[0]
    with pytest.raises(SweeperError, match="the GPU does not answer"):
        carry_out(job, store, "attempt", lambda: False)
    assert not store.failures() and not store.forget_progress("attempt")
