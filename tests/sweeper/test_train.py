"""`sweeper.train`: what the command does, from a script or a notebook, which goes on afterwards as it was."""

import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, ROOT, environment, same, until

import sweeper
from sweeper.errors import CellsFailed, StudyError, SweeperError
from sweeper.planning import make_plan
from sweeper.store import Store
from sweeper.study import load_study

INLINE = ["run.executor=inline"]


def told(study, *sets):
    """The study file of a tiny study, as a mapping."""
    return json.loads(study.path.read_text())


@pytest.fixture
def handlers():
    """How this process handles signals, which is so afterwards."""
    before = {number: signal.getsignal(number) for number in range(1, 32)}
    yield before
    assert {number: signal.getsignal(number) for number in range(1, 32)} == before


def test_a_file_a_text_a_mapping_and_a_study_train_alike(tiny, tmp_path, handlers, monkeypatch, capsys):
    """And as the command does; the second call finds nothing to do. Progress is on stderr, nothing on stdout."""
    study = tiny(cells={"rho": [0.9, 1], "seed": 0}, train={"steps": 5}, evaluation={"every": 0})
    study.run()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    mapping = told(study)
    text = study.path.read_text()
    assert text.startswith("{")
    for number, given in enumerate((study.path, str(study.path), text, mapping, load_study(study.path))):
        result = sweeper.train(given, tmp_path / f"store {number}")
        assert same(study.store, tmp_path / f"store {number}") and torch.get_num_threads() == 2
        assert (result.asked, result.done, result.trained, result.missing, result.diverged) == (2, 2, 2, 0, 0)
    torch.set_num_threads(threads)
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("2 cells asked for (5 steps each), 0 already done, 2 to train") == 5
    monkeypatch.chdir(tmp_path)
    grown = mapping | {"cells": mapping["cells"] | {"rho": np.array([0.9, 0.95, 1]), "seed": range(1)}}
    result = sweeper.train(grown, "store 0", progress=False)
    assert (result.asked, result.done, result.trained) == (3, 3, 1) and capsys.readouterr().err == ""
    assert result.store == str(tmp_path / "store 0")
    assert repr(result) == f"<tiny: 3 of 3 cells done, 1 of them by this run; results in {result.store}>"
    assert sweeper.train(mapping, overrides=["train.steps=6"], progress=False).store == str(tmp_path / "results/tiny")


def test_the_result_reads_the_cells_that_the_study_asks_for(tiny):
    study = tiny(cells={"rho": [0.8, 0.9, 0.95, 0.98, 1], "seed": [0, 1, 2]}, train={"steps": 5})
    sweeper.train(study.path, study.store, progress=False)
    result = sweeper.train(study.path, study.store, overrides=["cells.seed=[0, 1]"], progress=False)
    assert result.trained == 0 and sorted(set(result.cells["seed"])) == [0, 1] and len(result.cells) == 10
    assert set(result.history["cell_id"]) == set(result.cells["cell_id"])
    critical = result.critical
    assert critical.equals(sweeper.critical(result.cells, history=result.history)) and critical is result.critical
    assert list(critical["kind"]) == ["onset", "midpoint"] and "fewer than 3 usable seeds" in critical["reason"][0]


def test_the_result_has_the_report_that_the_command_prints(tiny, sweeper_command, blank_figures, capsys):
    """Of the cells that its study asks for, with tables, figures and the page in the store; nothing is printed."""
    study = tiny(cells={"rho": [0.8, 0.9, 1], "seed": [0, 1, 2]}, train={"steps": 5})
    result = sweeper.train(study.path, study.store, progress=False)
    found = result.report()
    assert capsys.readouterr() == ("", "") and found.unwritten is None
    assert found.page == study.store / "analysis" / "report.html" and found.page.exists()
    assert all(path.exists() for path in [*found.tables, *found.figures]) and len(found.tables) >= 4
    printed = sweeper_command.run(["report", str(study.store), "--json"])
    assert printed.code == 0 and json.loads(printed.out) == json.loads(found.to_json())


def test_failed_cells_raise_after_the_others_are_done_or_are_reported(tiny, monkeypatch):
    from sweeper.driver import retries

    real = retries.Worker.run

    def run(self):
        if any(cell.seed == 1 for cell in self.job.cells):
            raise ZeroDivisionError("no seed 1")
        real(self)

    monkeypatch.setattr(retries.Worker, "run", run)
    study = tiny(cells={"rho": 0.9}, train={"steps": 5})
    with pytest.raises(
        CellsFailed, match=r"ZeroDivisionError: no seed 1 \(log: .*\n1 cell failed; the next run"
    ) as error:
        sweeper.train(study.path, study.store, progress=False)
    result = error.value.result
    assert (result.done, result.missing, len(result.failures)) == (1, 1, 1) and error.value.exit_code == 1
    assert "1 missing" in repr(result)
    again = sweeper.train(study.path, study.store, progress=False, raise_failures=False)
    assert (again.done, again.trained, again.missing) == (1, 0, 1)
    assert "ZeroDivisionError" in again.failures[0].traceback


def test_what_is_wrong_is_said_before_anything_is_made(tmp_path):
    for given, fault in (
        ({"name": "x"}, "the study given: cells: missing"),
        (tmp_path / "x.yaml", "no such file"),
        ("name: x\ncells: 3\n", "the study given:2:8: cells"),
    ):
        with pytest.raises(StudyError, match=fault):
            sweeper.train(given, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_ray_that_is_in_use_already_is_said_so(tiny, monkeypatch):
    """A run has a Ray of its own, and a process has one at a time."""

    class Used:
        @staticmethod
        def is_initialized():
            return True

    monkeypatch.setitem(sys.modules, "ray", Used)
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 5}, run={"executor": "ray"})
    with pytest.raises(SweeperError, match=r"this process uses Ray already.*ray\.shutdown\(\) first"):
        sweeper.train(study.path, study.store)
    assert sweeper.train(study.path, study.store, overrides=INLINE, progress=False).done == 1


def test_training_in_another_thread(tiny, handlers):
    """The main thread goes on; nothing is caught there."""
    study = tiny(cells={"rho": 0.9}, train={"steps": 20})
    found = []
    thread = threading.Thread(target=lambda: found.append(sweeper.train(study.path, study.store)))
    thread.start()
    thread.join(PATIENCE_S)
    assert found[0].done == 2


SCRIPT = """
import json, os, signal, sys, threading
before = [signal.getsignal(n) for n in range(1, 32)]
environment = dict(os.environ)
import sweeper
assert not {"torch", "ray", "pandas", "numpy", "pydantic"} & set(sys.modules)
study = json.loads(sys.argv[1])
found = "returned"
try:
    found = repr(sweeper.train(study, sys.argv[2]))
except BaseException as error:
    found = type(error).__name__ + ": " + str(error)
changed = sorted(k for k in {**environment, **os.environ} if environment.get(k) != os.environ.get(k))
changed = [k for k in changed if k != "MKL_CBWR"]  # for this process, on processors that are not Intel's
assert before == [signal.getsignal(n) for n in range(1, 32)]
print("the script goes on:", found, changed, flush=True)
"""


def script(study, store, **more):
    """A Python script that trains, as a process."""
    argv = [sys.executable, "-c", SCRIPT, json.dumps(study), str(store)]
    env = environment(**more)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=store.parent)


@pytest.mark.parametrize(
    ("number", "ends"),
    [
        (signal.SIGINT, "KeyboardInterrupt: stopped on request: 0 of 6 cells done"),
        (signal.SIGTERM, "Interrupted: stopped on request: 0 of 6 cells done"),
    ],
)
def test_an_interrupted_script_has_its_checkpoint_and_goes_on(tiny, number, ends):
    study = tiny(train={"steps": 100_000, "checkpoint_s": 3600.0}, evaluation={"every": 0})
    with script(told(study), study.store) as process:
        until(lambda: process.poll() is not None or any(note["phase"] == "training" for note in study.notes()))
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert f"the script goes on: {ends}" in out and out.rstrip().endswith("[]"), (out, err)
    (record,) = study.opened().running()
    assert record.step > 0 and process.returncode == 0 and "stopping: writing checkpoints; press Ctrl-C again" in err
    steps = record.step + 20
    plan = make_plan(study.load(f"train.steps={steps}"), study.opened())
    assert {item.start for item in plan.missing} == {0, record.step}
    result = sweeper.train(told(study), study.store, overrides=[f"train.steps={steps}"], progress=False)
    assert result.done == 6


BUSY = """
import sys, time
import sweeper, sweeper.training

class Busy:
    def execute(self, work):
        print("working", flush=True)
        time.sleep(600)

sweeper.training.executor_for = lambda plan, address: Busy()
try:
    sweeper.train(sys.argv[1], sys.argv[2])
except KeyboardInterrupt as error:
    print("the script goes on:", repr(error), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_second_interrupt_is_raised_at_once_and_ends_no_process(tiny, number):
    """Where the checkpoint takes long: the process is a notebook's, and not ours to end."""
    from sweeper.run import ECHO_S

    study = tiny()
    command = [sys.executable, "-c", BUSY, str(study.path), str(study.store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout.readline() == "working\n"
        child.send_signal(number)
        until(lambda: "press Ctrl-C again to quit now" in child.stderr.readline())
        assert child.poll() is None
        time.sleep(ECHO_S)
        child.send_signal(number)
        out, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0 and out == "the script goes on: KeyboardInterrupt()\n", err
    assert study.opened().holder() is None


@pytest.mark.slow
def test_a_script_trains_over_ray_and_has_its_environment_back(tiny):
    study = told(tiny(run={"executor": "ray", "workers": 2})) | {"train": {"steps": 20}}
    store = tiny().store
    with script(study, store) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert f"the script goes on: <tiny: 6 of 6 cells done, 6 of them by this run; results in {store}> []" in out, err
    assert "6 cells asked for" in err and Store.open(store).holder() is None


@pytest.mark.slow
def test_a_notebook_shows_progress_and_goes_on(tiny, tmp_path):
    """A kernel of Jupyter, without a terminal and without ipywidgets."""
    nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="pip install nbclient ipykernel")
    study = told(tiny(cells={"rho": [0.9, 1], "seed": 0}, run={"executor": "ray", "workers": 1}))
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport sweeper\nprint('before')\n"
    code += f"result = sweeper.train({study!r}, {str(tmp_path / 'store')!r})\nresult"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = notebook.cells[0].outputs
    shown = "".join(output.get("text", "") for output in outputs if output.get("name") == "stderr")
    assert "2 cells asked for (60 steps each), 0 already done, 2 to train" in shown and "/2 cells, " in shown
    assert [output["text"] for output in outputs if output.get("name") == "stdout"] == ["before\n"]
    assert "<tiny: 2 of 2 cells done, 2 of them" in outputs[-1]["data"]["text/plain"]
