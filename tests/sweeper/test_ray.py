"""Through Ray, with its real processes: the same numbers as in this process, whichever process is killed.

A start of Ray takes many seconds, so a test here does several things in one run. What only a user's Ctrl-C or a crash
of the driver shows is marked slow.
"""

import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, environment, same, table, until

from sweeper.doctor import running
from sweeper.driver import ray_auth
from sweeper.driver.tune import cluster
from sweeper.errors import StudyError, WorkersUnavailable
from sweeper.machine import ANYWHERE

SLOW_START_S = 400.0
SECONDS_S = 30.0  # 2 to 5 on a machine with nothing else to do
LINGER_S = 120.0  # Ray's agents notice after about a minute that their raylet is gone


class Run:
    """`sweeper run` through Ray as a real process with its own session and temporary folder."""

    def __init__(self, study, *more, python=sys.executable, cwd=None, under=(), terminal=None, **variables):
        self.temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
        self.study, self.cwd, self.terminal, self.variables = study, cwd, terminal, variables
        self.argv = [*under, str(python), "-m", "sweeper", *study.argv("run", "--executor", "ray", *more)]
        self.start()

    def start(self):
        """Start the command (again)."""
        common = {
            "start_new_session": True,
            "cwd": self.cwd,
            "env": environment(TMPDIR=str(self.temporary)) | self.variables,
            "executable": sys.executable if self.argv[0] == "uv" else None,
        }
        if self.terminal is None:
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            self.process = subprocess.Popen(self.argv, **streams, text=True, **common)
            return
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.terminal)
        own = partial(fcntl.ioctl, self.terminal, termios.TIOCSCTTY, 0)  # the terminal of its session
        self.process = subprocess.Popen(self.argv, **streams, preexec_fn=own, **common)

    def notes(self):
        """What its stacks last said, once two of them are training."""
        if self.process.poll() is not None:
            raise AssertionError(self.process.communicate())
        notes = self.study.notes()
        return notes if len({note["pid"] for note in notes if note["step"] > 0}) == 2 else None

    def end(self, timeout=SLOW_START_S):
        """Its exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def processes(self):
        """Pids of all live processes that it started, or that those started."""
        mark = f"TMPDIR={self.temporary}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def close(self):
        """Leave nothing behind."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.communicate()
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture
def through_ray():
    """Starts runs through Ray."""
    runs = []

    def start(study, *more, **how):
        runs.append(Run(study, *more, **how))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


RAY = {"executor": "ray", "workers": 2, "max_stack": 2}


def python_in(folder):
    """A Python with the packages of this one, in an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    paths = [entry for entry in sys.path if entry.endswith("site-packages")] + [str(ROOT)]
    (packages / "same.pth").write_text("\n".join(paths) + "\n")
    return folder / "bin" / "python"


# What lies in the folder where a run is started, and variables that Ray obeys. A worker that met any of it would fail.
WRONG = "raise SystemExit('the wrong module')"
ANOTHER_MODELS = {"models/__init__.py": WRONG}
ABOVE_A_CLONE = {"sweeper/models/__init__.py": WRONG, "sweeper/sweeper/__init__.py": WRONG, "models/best.pt": ""}
LIBRARIES = {"pandas.py": WRONG, "graphlib.py": WRONG, "sqlite3.py": WRONG}
HOOKS = {
    "RAY_RUNTIME_ENV_HOOK": "no.such.hook", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "1",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"working_dir": "gcs://_ray_pkg_gone.zip"}}),
    "RAY_OVERRIDE_RESOURCES": '{"CPU": 0}', "RAY_CLIENT_MODE": "1",
}  # fmt: skip
UV = ("uv", "run")  # to Ray this Python is `uv run`: it looks how a process above is called
AS_UV = "import subprocess, sys\nsys.exit(subprocess.call(sys.argv[1:]))\n"
TOO_LARGE = 600 << 20  # bytes; Ray uploads no folder of more than 512 MB


def hostile(folder, files):
    """The folder, with these files, one that is too large to be uploaded, and one that stands for `uv run`."""
    for name, text in (files | {"run": AS_UV}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with open(folder / "large", "wb") as file:
        file.truncate(TOO_LARGE)
    return folder


def closed(run):
    """Folder and token are private, no dashboard listens, and what speaks HTTP asks for the token; by `doctor`'s eyes.

    Returns where Ray's head answers.
    """
    (folder,) = run.temporary.iterdir()
    found = running(run.study.opened())
    assert found["auth_mode"] == "token" and found["here"] and found["processes"] > 3
    assert found["token"] == {"path": str(folder / "token"), "mode": "0600", "folder_mode": "0700"}
    ports = {each["process"]: each for each in found["ports"]}
    assert {"raylet", "gcs_server"} <= ports.keys() and 8265 not in {each["port"] for each in found["ports"]}
    agent = next(each for name, each in ports.items() if "RuntimeEnv" in name)
    request = urllib.request.Request(f"http://{agent['address']}:{agent['port']}/get_or_create_runtime_env", b"x")
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    refused.value.close()
    return f"{agent['address']}:{ports['gcs_server']['port']}"


STRANGER = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1])
"""


def refuses_strangers(head):
    """Whether Ray's head turns away who has no token, and who has another."""
    answers = []
    for token in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another"}):
        argv = [sys.executable, "-c", STRANGER, head]
        answers.append(subprocess.run(argv, env=environment(**token), capture_output=True, text=True, timeout=120))
    return all(done.returncode and "InvalidAuthToken" in done.stderr for done in answers)


def test_a_worker_is_killed_and_all_cells_finish_as_in_one_process(tiny, through_ray, sweeper_command, tmp_path):
    """With Python itself in a folder with a space, as in a checkout in such a folder; under `uv run`, beside all that
    could mislead workers (the slow tests have each by itself)."""
    study = tiny(train={"steps": 200, "checkpoint_s": 0.1}, run=RAY)
    inline = tiny(store="inline", train={"steps": 200, "checkpoint_s": 3600.0}, run={"max_stack": 12})
    here = hostile(tmp_path / "here", ANOTHER_MODELS | LIBRARIES)
    python = python_in(tmp_path / "environment with a space")
    run = through_ray(study, "--json", python=python, cwd=here, under=UV, **HOOKS)
    victim = until(run.notes, SLOW_START_S)[0]["pid"]
    assert victim != run.process.pid
    closed(run)
    os.kill(victim, signal.SIGKILL)
    code, out, err = run.end()
    assert code == 0 and json.loads(out)["counts"] == {"done": 6}, (out, err)
    assert "Traceback" not in err and "6 cells asked for" in err
    assert len(err.splitlines()) < 40  # Ray's own messages are kept away
    assert list(run.temporary.iterdir()) == []
    assert sweeper_command.run(inline.argv("run", "--executor", "inline"), faults={"unreported": None}).code == 0
    assert same(study.store, inline.store)
    assert study.opened().running() == [] and study.opened().failures() == []
    until(lambda: not run.processes(), LINGER_S, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "under", "variables"),
    [
        (ANOTHER_MODELS, (), {}),
        (ABOVE_A_CLONE, (), {}),
        (LIBRARIES, (), {}),
        (ANOTHER_MODELS, (), {"PYTHONPATH": f".:{ROOT}", "PYTHONSAFEPATH": "1"}),
        ({}, UV, {}),
        ({}, (), HOOKS),
    ],
    ids=["models", "above a clone", "libraries", "path", "uv run", "hooks"],
)
def test_workers_import_what_the_driver_did_and_get_nothing_of_the_folder(
    tiny, through_ray, tmp_path, files, under, variables
):
    run = through_ray(tiny(run=RAY), cwd=hostile(tmp_path / "here", files), under=under, **variables)
    code, _, err = run.end()
    assert code == 0 and run.study.opened().failures() == [], err


BROKEN = """
import sys
if any("default_worker.py" in word for word in sys.orig_argv) and "setup_worker.py" not in "".join(sys.orig_argv):
    raise SystemExit("this Python is broken")
"""


def broken(folder):
    """A folder that, first in PYTHONPATH, lets no worker of Ray come up."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BROKEN)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


@pytest.mark.slow
def test_a_run_whose_workers_do_not_come_up_says_why_and_ends(tiny, through_ray, tmp_path):
    """From Ray's logs; and on Ctrl-C it ends sooner, at once."""
    study = tiny(run=RAY)
    variables = broken(tmp_path / "broken")
    run = through_ray(study, "--set", "run.start_s=60", **variables)
    code, out, err = run.end()
    assert code == 69 and out == "" and "Traceback" not in err, err
    said = err.splitlines()
    assert "no worker came up within 60 s (run.start_s); Ray's logs say:" in said
    assert "  raylet.err: SystemExit: this Python is broken" in said
    assert list(run.temporary.iterdir()) == [] and study.opened().failures() == []
    run.start()
    until(lambda: any(b"default_worker.py" in command_line(pid) for pid in run.processes()), SLOW_START_S, 0.2)
    time.sleep(5)  # Tune waits
    run.process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    code, _, err = run.end()
    print(f"ended {time.monotonic() - begun:.1f} s after the signal")
    assert code == 130 and "0 of 6 cells done" in err and time.monotonic() - begun < SECONDS_S, err
    until(lambda: not run.processes(), LINGER_S, 0.5)


def command_line(pid):
    """A process's words; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.5, 3.0, 6.0])
def test_ctrl_c_while_ray_starts_ends_the_run_within_seconds(tiny, through_ray, after_s):
    study = tiny(run=RAY)
    run = through_ray(study)
    until(lambda: study.store.exists() and any(run.temporary.iterdir()), SLOW_START_S)
    time.sleep(after_s)
    run.process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    code, _, err = run.end()
    print(f"ended {time.monotonic() - begun:.1f} s after the signal")
    assert code == 130 and "Traceback" not in err and time.monotonic() - begun < SECONDS_S, err
    until(lambda: not run.processes(), LINGER_S, 0.5)
    assert list(run.temporary.iterdir()) == []


@pytest.fixture
def mute():
    """The address of something that lets itself be called and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def token(tmp_path, monkeypatch):
    """A token for any cluster."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return {"RAY_AUTH_TOKEN_PATH": str(path)}


def test_a_cluster_that_does_not_answer_is_given_up(mute, token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(WorkersUnavailable, match=rf"cannot join the Ray cluster at {mute}: no answer within 2 s"):
        cluster(mute, 2.0)


def test_ctrl_c_while_waiting_for_a_cluster_ends_the_run_within_seconds(tiny, mute, token, sweeper_command):
    study = tiny()
    run = sweeper_command.start(study.argv("run", "--executor", "ray", "--address", mute), env=token)
    until(lambda: (study.store / "study.yaml").exists())
    time.sleep(2)
    begun = time.monotonic()
    run.kill(signal.SIGINT)
    assert run.wait() == 130 and time.monotonic() - begun < SECONDS_S
    assert run.err.splitlines()[-1] == "stopped on request, before anything was trained"


def test_settings_that_would_end_ray_without_a_word_are_named(tiny):
    """Ray 2.60 ends by a segmentation fault where one of its own settings is no number."""
    env = environment(RAY_memory_usage_threshold="90%", RAY_memory_monitor_refresh_ms="100")
    argv = [sys.executable, "-m", "sweeper", *tiny().argv("run"), "--executor", "ray"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "Ray cannot start with RAY_memory_usage_threshold='90%' in the environment" in done.stderr


def test_an_open_ray_is_neither_started_nor_joined(tiny, sweeper_command, tmp_path):
    """Nor one whose token others can read, or for which there is none; and the same command says it in a line."""
    home = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": ""}
    asked = [*tiny().argv("run"), "--executor", "ray"]
    there = [*asked, "--address", "127.0.0.1:9"]
    for argv in (asked, there):
        shown = sweeper_command.run(argv, env=home | {"RAY_AUTH_MODE": "disabled"})
        assert shown.code == 2 and "RAY_AUTH_MODE=disabled lets anyone" in shown.err.splitlines()[-1]
    shown = sweeper_command.run(there, env=home)
    assert shown.code == 2 and f"no token for the Ray cluster at 127.0.0.1:9: {tmp_path}" in shown.err
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    shown = sweeper_command.run(there, env=home)
    assert shown.code == 2 and f"(mode 0644): chmod 600 {token}" in shown.err and "secret" not in shown.err
    token.chmod(0o600)
    shown = sweeper_command.run(there, env=home)  # nobody listens there
    assert shown.code == 1 and "cannot join the Ray cluster at 127.0.0.1:9: " in shown.err.splitlines()[-1]


def test_a_cluster_is_joined_only_if_something_is_missing(tiny, sweeper_command):
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 20})
    joined = []
    study.run(where=lambda: joined.append(1) or ANYWHERE)
    assert joined == [1]
    study.run(where=lambda: joined.append(2))
    assert joined == [1]
    shown = sweeper_command.run(study.argv("run", "--executor", "ray", "--address", "127.0.0.1:9"))
    assert shown.code == 0 and "nothing is missing" in shown.err


@pytest.mark.parametrize("address", ["", "local", "ray://127.0.0.1:10001", "127.0.0.1"])
def test_an_address_is_of_a_cluster_and_for_ray(tiny, sweeper_command, address):
    study = tiny()
    shown = sweeper_command.run(study.argv("run", "--executor", "ray", "--address", address))
    assert shown.code == 2 and "should be HOST:PORT" in shown.err and not study.store.exists()
    shown = sweeper_command.run(study.argv("run", "--address", "auto"))
    assert shown.code == 2 and "run.executor is inline" in shown.err


def test_the_token_of_a_ray_of_our_own_is_private_whatever_was_set(tmp_path, monkeypatch):
    for name, value in {"RAY_AUTH_TOKEN": "known", "RAY_AUTH_TOKEN_PATH": "/elsewhere", "RAY_AUTH_MODE": "k8s"}.items():
        monkeypatch.setenv(name, value)
    ray_auth.new_token(tmp_path)
    token = tmp_path / "token"
    assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN_PATH"]) == ("token", str(token))
    monkeypatch.setenv("RAY_AUTH_MODE", "Disabled")
    with pytest.raises(StudyError, match="lets anyone"):
        ray_auth.new_token(tmp_path)


@pytest.mark.slow
def test_the_driver_is_killed_nothing_remains_and_the_same_command_finishes(tiny, through_ray):
    study = tiny(train={"steps": 400, "checkpoint_s": 0.2}, run=RAY)
    inline = tiny(store="inline", train={"steps": 400})
    run = through_ray(study)
    until(run.notes, SLOW_START_S)
    until(study.opened().running)
    run.process.kill()
    assert run.end()[0] == -signal.SIGKILL
    begun = time.monotonic()
    until(lambda: not run.processes(), LINGER_S, 0.5)
    print(f"all processes gone after {time.monotonic() - begun:.0f} s")
    assert len(list(run.temporary.iterdir())) == 1  # what a kill leaves …
    run.start()
    code, _, err = run.end()
    assert code == 0, err
    assert "to continue" in err and list(run.temporary.iterdir()) == []  # … the next run removes
    inline.run()
    assert same(study.store, inline.store)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"]
)
@pytest.mark.parametrize("whole_group", [True, False], ids=["all", "driver"])
def test_a_signal_writes_checkpoints_and_stops(tiny, through_ray, number, code, whole_group):
    """To the driver alone, and to all its processes, as a terminal or a batch system sends it."""
    study = tiny(train={"steps": 10**6, "checkpoint_s": 3600.0}, evaluation={"every": 0}, run=RAY)
    run = through_ray(study)
    until(run.notes, SLOW_START_S)
    assert study.opened().running() == []
    assert refuses_strangers(closed(run))
    if whole_group:
        os.killpg(run.process.pid, number)
    else:
        run.process.send_signal(number)
    ended, _, err = run.end()
    assert ended == code and "0 of 6 cells done" in err and "Traceback" not in err, err
    assert list(run.temporary.iterdir()) == []
    assert len(study.opened().running()) == 2
    until(lambda: not run.processes(), LINGER_S, 0.5)


@pytest.mark.slow
def test_a_terminal_that_closes_over_ray_costs_nothing(tiny, through_ray):
    """The kernel sends SIGHUP to all of the terminal's processes: Ray's must outlive it until the checkpoints are."""
    study = tiny(train={"steps": 10**6, "checkpoint_s": 3600.0}, evaluation={"every": 0}, run=RAY)
    main, side = pty.openpty()
    run = through_ray(study, terminal=side)
    os.close(side)
    os.set_blocking(main, False)
    shown = bytearray()

    def training():
        with suppress(OSError):
            shown.extend(os.read(main, 65536))
        return run.notes()

    until(training, SLOW_START_S)
    assert study.opened().running() == []
    os.close(main)
    assert run.process.wait(SLOW_START_S) == 128 + signal.SIGHUP
    assert len(study.opened().running()) == 2 and study.opened().holder() is None
    assert list(run.temporary.iterdir()) == []
    until(lambda: not run.processes(), LINGER_S, 0.5)


@pytest.mark.slow
def test_a_stack_whose_workers_die_again_and_again_fails_and_the_others_finish(tiny, through_ray):
    study = tiny(cells={"rho": [0.8, 0.9, 0.95], "seed": 0}, train={"steps": 400, "checkpoint_s": 0.2},
                 run=RAY | {"max_stack": 1})  # fmt: skip
    run, killed = through_ray(study), set()

    def kill():
        for note in study.notes():
            if note["attempt"].endswith("-00001") and note["pid"] not in killed:
                os.kill(note["pid"], signal.SIGKILL)
                killed.add(note["pid"])
        return run.process.poll() is not None

    until(kill, SLOW_START_S)
    code, _, err = run.end()
    assert len(killed) == 3
    assert code == 1 and "1 cell failed" in err and "Traceback" not in err, err
    (failure,) = study.opened().failures()
    assert failure.attempt.endswith("-00001") and Path(failure.log).exists() and failure.cell_id in err
    assert len(table(study.store)) == 2
    outcome = study.run()
    assert not outcome.after.missing and study.opened().failures() == []
