"""Waiting for workers: what of Ray's logs is quoted, and when a run gives up, waits on, or stops."""

import os
import subprocess
import sys

import psutil
import pytest
from filelock import FileLock

from sweeper.driver import waiting
from sweeper.driver.ray_logs import MAX_CHARACTERS, MAX_LINES, RayLogs
from sweeper.driver.scratch import LOCK, LOST_S, sweep
from sweeper.driver.waiting import GaveUp, Waiting
from sweeper.errors import WorkersUnavailable

NOT_REGISTERED = (
    "[2026-11-28 17:39:53,190 E 10379 10379] (raylet) worker_pool.cc:660: Some workers of the worker process({}) have "
    "not registered within the timeout. The process is dead, probably it crashed during start.\n"
)


@pytest.fixture
def logs(tmp_path):
    """Logs as Ray 2.60 wrote them where its hook for `uv run` started workers, and where Python's path had a space."""
    (tmp_path / "raylet.err").write_text(
        "bash: line 1: /tmp/my: No such file or directory\n"
        + NOT_REGISTERED.format(10529)
        + NOT_REGISTERED.format(10811)
    )
    (tmp_path / "raylet.out").write_text(
        "[2026-11-28 17:39:53,297 I 10379 10379] (raylet) worker_pool.cc:564: Started worker process with pid 10811\n"
        + NOT_REGISTERED.format(10529)
    )
    (tmp_path / "worker-69d152-01000000-10465.err").write_text(
        ":job_id:01000000\nModuleNotFoundError: No module named 'ray'\n"
    )
    (tmp_path / "worker-69d152-01000000-10465.out").write_text("what a worker prints\n")
    (tmp_path / "runtime_env_agent.log").write_text(
        "2026-11-28 17:38:45,433\tINFO runtime_env_agent.py:593 -- Successfully created runtime env\n"
        "2026-11-28 17:38:46,433\tERROR runtime_env_agent.py:601 -- failed: {'AWS_SECRET_ACCESS_KEY': 'very secret'}\n"
    )
    return tmp_path


def test_what_looks_like_a_reason_is_quoted_once_and_without_secrets(logs, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    said = RayLogs(logs).explain("no worker", "do this").splitlines()
    assert said[0] == "no worker; Ray's logs say:" and said[-1] == "do this"
    assert said[1:-1] == [
        "  raylet.err: bash: line 1: /tmp/my: No such file or directory",
        "  raylet.err: worker_pool.cc:660: Some workers of the worker process(10811) have not registered within the "
        "timeout. The process is dead, probably it crashed during start.",
        "  worker-69d152-01000000-10465.err: ModuleNotFoundError: No module named 'ray'",
        "  runtime_env_agent.log: ERROR runtime_env_agent.py:601 -- failed: {'AWS_SECRET_ACCESS_KEY': '***'}",
    ]


def test_of_a_cluster_that_is_up_for_long_the_new_lines_come_first(logs):
    watched = RayLogs(logs, from_now=True)
    assert len(watched.lines()) == 4  # none is new
    with open(logs / "raylet.err", "a") as file:
        file.write("\x1b[31mbash: no python\x1b[0m\n")
    assert watched.lines() == ["raylet.err: bash: no python"]


def test_long_logs_are_cut_and_none_are_said_to_be_none(tmp_path):
    assert RayLogs(tmp_path / "gone").explain("no worker", "do this") == (
        f"no worker; Ray's logs in {tmp_path}/gone say nothing of it\ndo this"
    )
    (tmp_path / "raylet.err").write_text(
        "".join(f"{'x' * 1000} {chr(97 + i % 26)}{chr(97 + i // 26)}\n" for i in range(600))
    )
    lines = RayLogs(tmp_path).lines()
    assert len(lines) == MAX_LINES and all(len(line) == len("raylet.err: ") + MAX_CHARACTERS for line in lines)


class Watched:
    """A run whose time and whose trials' states a test sets."""

    def __init__(self, monkeypatch, logs, own, reserved=False):
        self.now, self.stop, self.said = 100.0, False, []
        monkeypatch.setattr(waiting.time, "monotonic", lambda: self.now)
        self.waiting = Waiting(60.0, lambda: self.stop, RayLogs(logs), own, lambda: reserved, self.said.append)

    def look(self, *states, after=1.0):
        self.now += after
        self.waiting.look(lambda: states)


@pytest.mark.parametrize(("own", "reserved"), [(True, False), (False, True)])
def test_a_run_gives_up_when_cores_are_free_and_no_worker_came_for_long(monkeypatch, logs, own, reserved):
    run = Watched(monkeypatch, logs, own, reserved)
    run.look("PENDING")
    run.look("PENDING", after=59.0)
    run.look("PENDING", "RUNNING")
    run.look("TERMINATED", "PENDING")  # as if nothing had been
    run.look("PENDING", after=59.0)
    with pytest.raises(GaveUp):
        run.look("PENDING", after=2.0)
    assert isinstance(run.waiting.fault, WorkersUnavailable)
    assert str(run.waiting.fault).startswith("no worker came up within 60 s (run.start_s); Ray's logs say:")


def test_a_run_waits_while_others_use_the_cluster_and_says_so_once(monkeypatch, logs):
    run = Watched(monkeypatch, logs, own=False)
    for _ in range(5):
        run.look("PENDING", after=61.0)
    assert run.said == ["waiting: others use the cores or GPUs of the cluster"]
    run.stop = True
    with pytest.raises(GaveUp):
        run.look("PENDING")


def test_a_run_that_is_to_stop_waits_for_workers_that_write_checkpoints(monkeypatch, logs):
    run = Watched(monkeypatch, logs, own=True)
    run.stop = True
    run.look("RUNNING", "PENDING", after=1000.0)
    run.look("TERMINATED")
    with pytest.raises(GaveUp):
        run.look("TERMINATED", "PENDING")


def test_a_scratch_folder_that_lost_its_lock_goes_when_it_is_old(tmp_path):
    """Ray's agents may write once more when all was removed; a new one is without its lock for a moment."""
    new, old = tmp_path / "sw-new", tmp_path / "sw-old"
    for folder in (new, old):
        (folder / "ray").mkdir(parents=True)
    past = old.stat().st_mtime - LOST_S - 1
    os.utime(old, (past, past))
    sweep(tmp_path)
    assert new.exists() and not old.exists()


AGENT = """
import pathlib, sys, time
pathlib.Path("/proc/self/comm").write_text(sys.argv[1])  # the name, as Ray's processes set it
with open(sys.argv[2], "w"):
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process gives itself a name in /proc")
def test_what_is_left_of_ray_in_the_folder_of_a_killed_run_is_killed_before_it_is_removed(tmp_path):
    """It would write there once more. Whoever else reads those logs is left alone, and so are the runs of others."""
    killed, used = tmp_path / "sw-killed", tmp_path / "sw-used"
    for folder in (killed, used):
        (folder / "ray").mkdir(parents=True)
        (folder / LOCK).touch()
    agents = [("ray::Agent", killed), ("reader", killed), ("ray::Agent", used)]
    started = []
    for name, folder in agents:
        command = [sys.executable, "-c", AGENT, name, str(folder / "ray" / name[-5:])]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "open\n"
    try:
        with FileLock(used / LOCK):
            sweep(tmp_path)
        assert [psutil.pid_exists(each.pid) for each in started] == [False, True, True]
        assert not killed.exists() and used.exists()
    finally:
        for each in started:
            each.kill()
            each.communicate()
