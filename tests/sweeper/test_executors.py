"""The contract of the executors: whatever goes wrong with a stack, what is left in the store is the same by either."""

from __future__ import annotations

import json
import signal

import pytest
from conftest import ROOT, same, table, until
from test_ray import SLOW_START_S, through_ray  # noqa: F401  (a fixture)

from tests.sweeper import faulty_procedure

BAD = 0.95  # the ρ of the cell that a fault is planted for
CELLS = {"rho": [0.8, BAD], "seed": [0, 1]}  # a stack of four
EXECUTORS = [
    pytest.param("inline"),
    pytest.param("ray", marks=pytest.mark.slow),
]


class Runs:
    """Runs of one study by one executor, in a process of their own each, with a faulty procedure."""

    def __init__(self, executor, tiny, commands, through_ray, folder):  # noqa: F811
        self.executor, self.tiny, self.commands, self.through_ray, self.folder = (
            executor, tiny, commands, through_ray, folder,
        )  # fmt: skip
        self.study = self.of("faulty")
        (folder / "sitecustomize.py").write_text(faulty_procedure.REGISTER)

    def of(self, store, **sections):
        """The study, with a store of its own: one stack of four cells on one worker."""
        run = {"workers": 1, "max_stack": 4, "hang_s": 5.0} | sections.pop("run", {})
        sections = {"train": {"steps": 20, "checkpoint_s": 0.01}} | sections
        return self.tiny(store=store, cells=CELLS, run=run, **sections)

    def start(self, kind, once=False, study=None):
        """A run in which cells of ρ = `BAD` meet this fault from step 10 on, or only once."""
        fault = {"kind": kind, "rho": BAD, "step": 10} | ({"once": str(self.folder / "once")} if once else {})
        variables = {"FAULT": json.dumps(fault if kind else None)}
        if self.executor == "inline":
            argv = (study or self.study).argv("run", "--executor", "inline")
            return self.commands.start(argv, env=variables, faults={"unreported": None, "registered": None})
        variables["PYTHONPATH"] = f"{self.folder}:{ROOT}"
        return self.through_ray(study or self.study, **variables)

    def run(self, kind, once=False):
        """Exit code and stderr of such a run."""
        started = self.start(kind, once)
        if self.executor == "inline":
            return started.wait(), started.err
        code, _, err = started.end()
        return code, err

    def whole(self):
        """The study, run in this process without faults, and with no `hang_s` that would end the tests with it."""
        return self.of("whole", run={"hang_s": 1800.0}).trained()

    def rows(self):
        """Of all cells, and those of the undisturbed run in this process, by state and ρ."""
        whole = self.whole()
        return table(self.study.store), table(whole.store)

    def as_undisturbed(self):
        """Whether the rows and the history are those of a run without faults."""
        whole = self.whole()
        return same(self.study.store, whole.store)


@pytest.fixture(params=EXECUTORS)
def runs(request, tiny, sweeper_command, through_ray, tmp_path):  # noqa: F811
    """By each executor."""
    folder = tmp_path / "faults"
    folder.mkdir()
    return Runs(request.param, tiny, sweeper_command, through_ray, folder)


def good(rows):
    return [row for row in rows if float.fromhex(row["rho"]) != BAD]


def test_what_raises_once_is_tried_again(runs):
    code, err = runs.run("raises", once=True)
    assert code == 0, err
    assert runs.as_undisturbed() and runs.study.opened().failures() == []


def test_cells_that_always_raise_fail_alone(runs):
    """After three attempts, of which the last takes the cells one by one."""
    code, err = runs.run("raises")
    assert code == 1 and "2 cells failed" in err, err
    failures = runs.study.opened().failures()
    assert len(failures) == 2 and all("planted at step 10" in each.traceback.splitlines()[-1] for each in failures)
    rows, whole = runs.rows()
    assert rows == good(whole)


def test_cells_that_diverge_do_so_alone(runs):
    code, err = runs.run("diverges", once=True)
    assert code == 0, err
    rows, whole = runs.rows()
    assert good(rows) == good(whole)
    assert [row["state"] for row in rows if row not in good(rows)] == ["diverged", "diverged"]


def test_a_stack_that_does_not_fit_is_halved(runs):
    code, err = runs.run("lacks_memory")
    assert code == 0, err
    assert runs.as_undisturbed()
    sizes = runs.study.opened().cells()["stack_cells"]
    assert sizes.tolist() == [2, 2, 2, 2]


def test_a_process_that_is_killed_costs_no_result(runs):
    """Through Ray the run goes on; in one process the same command does."""
    code, err = runs.run("killed", once=True)
    if runs.executor == "inline":
        assert code == -signal.SIGKILL
        code, err = runs.run("")
    assert code == 0, err
    assert runs.as_undisturbed()


def test_a_process_that_hangs_costs_no_result(runs):
    code, err = runs.run("hangs", once=True)
    assert "no step finished within 5 s (run.hang_s)" in err or runs.executor == "ray", err
    if runs.executor == "inline":
        assert code == 1
        code, err = runs.run("")
    assert code == 0, err
    assert runs.as_undisturbed()
    assert any(
        "no step finished within 5 s" in each.read_text() for each in runs.study.opened().paths.log.glob("*.log")
    )


def test_a_run_that_is_stopped_leaves_checkpoints(runs):
    long = runs.of("stopped", train={"steps": 10**6, "checkpoint_s": 3600.0}, evaluation={"every": 0})
    run = runs.start("", study=long)
    until(lambda: any(note["step"] > 0 for note in long.notes()), SLOW_START_S)
    assert long.opened().running() == []
    if runs.executor == "inline":
        run.kill(signal.SIGTERM)
        code = run.wait()
    else:
        run.process.send_signal(signal.SIGTERM)
        code, _, _ = run.end()
    assert code == 128 + signal.SIGTERM
    (record,) = long.opened().running()
    assert record.step > 0 and len(record.cell_ids) == 4
