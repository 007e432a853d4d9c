"""`sweeper status --watch`, beside real runs."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from conftest import PATIENCE_S, environment, on_terminal, until

LONG = {"train": {"steps": 100_000, "checkpoint_s": 3600.0}, "evaluation": {"every": 0}}


def lines(command):
    """How many it has printed so far."""
    return command.out.count("\n") if command.out_path.exists() else 0


@pytest.fixture
def running(tiny, sweeper_command):
    """A study, and a run of it that goes on until it is stopped."""
    study = tiny(**LONG)
    run = sweeper_command.start(study.argv("run"))
    until(lambda: run.poll() is not None or any(note["phase"] == "training" for note in study.notes()))
    assert run.poll() is None, run.err
    return study, run


def test_lines_come_while_the_run_goes_on_and_the_last_state_when_it_has_ended(running, sweeper_command):
    study, run = running
    watch = sweeper_command.start(study.argv("status", "--watch"))
    until(lambda: lines(watch))
    assert watch.out.splitlines()[0].startswith("0 of 6 cells done (") and watch.poll() is None
    assert "1 stack running" in watch.out
    run.kill(signal.SIGINT)
    assert run.wait() == 130 and watch.wait(timeout=60) == 0
    last = watch.out.splitlines()[-3:]
    assert "0 cells committed" in last[0] and last[2] == "no run in progress" and watch.err == ""


def test_json_is_one_line_per_change(running, sweeper_command):
    study, run = running
    watch = sweeper_command.start(study.argv("status", "--watch", "--json"))
    until(lambda: lines(watch) >= 2)
    run.kill(signal.SIGTERM)
    assert run.wait() == 143 and watch.wait(timeout=60) == 0
    states = [json.loads(line) for line in watch.out.splitlines()]
    steps = [state["running"][0]["step"] for state in states if state["running"]]
    assert len(states) >= 3 and steps == sorted(set(steps)) and states[-1]["in_use_by"] is None
    once = json.loads(sweeper_command.run(study.argv("status", "--json")).out)
    assert once == states[-1]


def test_a_store_without_a_run_is_shown_once(tiny, sweeper_command):
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 5})
    study.run()
    plain = sweeper_command.run(study.argv("status"))
    for more in ([], ["--json"]):
        watched = sweeper_command.run(study.argv("status", "--watch", *more))
        assert watched.code == 0
        shown = json.dumps(json.loads(watched.out), indent=2, ensure_ascii=False) + "\n" if more else watched.out
        assert shown == (sweeper_command.run(study.argv("status", *more)).out if more else plain.out)
    code, shown = on_terminal(sweeper_command, study.argv("status", "--watch"), 100, {"TERM": "xterm"})
    assert code == 0 and shown.count("no run in progress") >= 1
    missing = sweeper_command.run(["status", "--watch", str(study.store) + "x"])
    assert missing.code == 74 and "no store at" in missing.err


def test_a_terminal_shows_it_in_place_and_ctrl_c_leaves_the_run_alone(running, sweeper_command):
    study, run = running
    main, side = os.openpty()
    argv = [sys.executable, "-m", "sweeper", *study.argv("status", "--watch")]

    def heed():  # where the tests run in a shell's background, that shell has them ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    terminal = {"stdin": side, "stdout": side, "stderr": side, "preexec_fn": heed}
    with subprocess.Popen(argv, **terminal, env=environment(TERM="xterm")) as watch:
        os.close(side)
        shown = bytearray()

        os.set_blocking(main, False)

        def read():  # to the end: a terminal that nobody reads holds back who writes to it
            with suppress(OSError):
                shown.extend(os.read(main, 65536))
            return shown.count(b"running: ") >= 3

        try:
            until(read)
            watch.send_signal(signal.SIGINT)
            until(lambda: read() and watch.poll() is not None)
        finally:
            watch.kill()
        assert watch.returncode == 130
    os.close(main)
    text = shown.decode()
    assert "\x1b[1A\x1b[2K" in text and text.count("running: ") >= 3
    assert "Traceback" not in text and "interrupted" not in text
    assert run.poll() is None and study.opened().holder() is not None


def test_a_reader_that_goes_away_ends_the_watching(running):
    study, run = running
    argv = [sys.executable, "-m", "sweeper", *study.argv("status", "--watch", "--json")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as watch:
        assert json.loads(watch.stdout.readline())["missing"] == 6
        watch.stdout.close()
        assert watch.wait(PATIENCE_S) == 0 and watch.stderr.read() == b""
    assert run.poll() is None
