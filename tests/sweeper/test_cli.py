"""The command line as users and scripts meet it: exit codes, streams, help, and every error as one line."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer
from conftest import UNDRAWN, environment, on_terminal, until

from sweeper.cli import app

COMMANDS = ["run", "plan", "status", "report"]
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def done(tiny):
    """A small study with all its cells finished."""
    return tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20}).trained()


def content(store):
    """Every file of a store and its bytes."""
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


# --- help


def test_every_command_argument_and_option_has_help():
    group = typer.main.get_command(app)
    assert set(group.commands) >= {*COMMANDS, "schema"}
    for name, command in group.commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("command", [*COMMANDS, "schema", None])
def test_help(sweeper_command, command):
    shown = sweeper_command.run([command, "--help"] if command else ["--help"])
    assert shown.code == 0 and "Usage: " in shown.out and shown.err == "" and not ANSI.search(shown.out)
    if command is None:
        assert "75 store in use" in " ".join(shown.out.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'STUDY'"),
        (["run", "a.yaml", "--sets", "1"], "No such option"),
        (["run", "a.yaml", "--workers", "many"], "Invalid value for '--workers'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(sweeper_command, argv, said):
    shown = sweeper_command.run(argv)
    assert shown.code == 2 and said in shown.err and "Traceback" not in shown.err


# --- studies with faults


def test_all_faults_of_a_study_are_printed_and_nothing_is_made(tiny, sweeper_command):
    study = tiny(cells={"rho": [0.9, 1.5], "widht": 3}, train={"stepz": 10}, run={"executor": "slurm"})
    for command in ("run", "plan"):
        shown = sweeper_command.run(study.argv(command, "--set", "nonsense"))
        lines = shown.err.splitlines()
        assert shown.code == 2 and shown.out == "" and len(lines) >= 5
        for word in ("rho", "widht", "stepz", "executor", "--set nonsense"):
            assert any(word in line for line in lines), word
        assert sum(line.startswith(f"{study.path}:") for line in lines) >= 4
        assert not study.store.exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_study_file_and_a_folder_for_one_exit_with_2(tmp_path, sweeper_command, command):
    for path in (tmp_path / "none.yaml", tmp_path):
        shown = sweeper_command.run([command, str(path)])
        assert shown.code == 2 and len(shown.err.splitlines()) == 1 and str(path) in shown.err


def test_tracebacks_only_with_debug(tmp_path, sweeper_command):
    path = str(tmp_path / "none.yaml")
    assert "Traceback" not in sweeper_command.run(["run", path]).err
    shown = sweeper_command.run(["run", path, "--debug"])
    assert shown.code == 2 and "Traceback" in shown.err and shown.err.splitlines()[-1].startswith(path)


# --- stores with faults


@pytest.mark.parametrize("command", COMMANDS)
def test_a_newer_or_damaged_store_exits_with_65_untouched(done, sweeper_command, command):
    path = done.opened().paths.version
    for text, said in (('{"format": "sweeper store", "schema_version": 99}', "newer sweeper"), ("{", "torn")):
        path.write_text(text)
        before = content(done.store)
        shown = sweeper_command.run(done.argv(command))
        assert shown.code == 65 and said in shown.err and len(shown.err.splitlines()) == 1
        assert content(done.store) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_in_an_impossible_place_exits_with_74(tiny, tmp_path, sweeper_command, command):
    study = tiny()
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "store")
    argv = [command, place] if command in ("status", "report") else [command, str(study.path), "--store", place]
    shown = sweeper_command.run(argv)
    assert (shown.code, shown.err.count("\n")) == ((0, 0) if command == "plan" else (74, 1)), shown.err


@pytest.mark.parametrize("kind", ["a file", "a link that leads nowhere"])
def test_a_store_that_is_no_folder_is_said_to_be_none(tiny, tmp_path, sweeper_command, kind):
    place = tmp_path / "place"
    place.touch() if kind == "a file" else place.symlink_to(tmp_path / "gone")
    shown = sweeper_command.run(["run", str(tiny().path), "--store", str(place)])
    assert shown.code == 74 and f"{place}: it is {kind}, and should be a folder" in shown.err, shown.err


def test_no_store_yet(tiny, tmp_path, sweeper_command):
    study = tiny()
    for command in ("status", "report"):
        shown = sweeper_command.run(study.argv(command))
        assert shown.code == 74 and f"no store at {study.store}" in shown.err
    study.store.mkdir()
    shown = sweeper_command.run(study.argv("plan"))
    assert shown.code == 0 and "6 to train" in shown.out and list(study.store.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(tiny, sweeper_command):
    study = tiny()
    study.store.mkdir()
    (study.store / "thesis.tex").write_text("mine")
    for command in COMMANDS:
        shown = sweeper_command.run(study.argv(command))
        assert shown.code == 2 and "is no store of sweeper" in shown.err
    assert [path.name for path in study.store.iterdir()] == ["thesis.tex"]


def test_a_read_only_store_exits_with_74_before_any_training_and_can_be_read(tiny, sweeper_command):
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    made = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20}).trained()
    store, path = parent / "store", parent / "study.yaml"
    shutil.copytree(made.store, store)
    shutil.copy(made.path, path)
    for each in [*store.rglob("*"), store, parent]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    user = {"unprivileged": True}
    try:
        shown = sweeper_command.run(["run", str(path), "--store", str(store), "--set", "train.steps=40"], **user)
        assert shown.code == 74 and str(store) in shown.err and "bytes free" in shown.err
        assert sweeper_command.run(["status", str(store)], **user).code == 0
        assert sweeper_command.run(["plan", str(path), "--store", str(store)], **user).code == 0
        shown = sweeper_command.run(["report", str(store)], **user)
        assert shown.code == 74 and "critical ρ" in shown.out  # what is found is shown all the same
        (line,) = shown.err.splitlines()
        assert line.startswith(f"no table or figure was written: cannot read or write {store / 'analysis'}: Permission")
        shown = sweeper_command.run(["run", str(path), "--store", str(parent / "new")], **user)
        assert shown.code == 74 and str(parent / "new") in shown.err
    finally:
        for each in [parent, store, *store.rglob("*")]:
            each.chmod(0o755)
        shutil.rmtree(parent)


def test_missing_data_exits_with_74_before_any_training_and_says_which_file_goes_where(tiny, tmp_path, sweeper_command):
    study = tiny(cells={"data": ["digits", "mnist"]})
    (tmp_path / "empty").mkdir()
    nowhere = {"SWEEPER_DATA": str(tmp_path / "empty"), "SWEEPER_CACHE": str(tmp_path / "cache")}
    offline = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    shown = sweeper_command.run(study.argv("run"), env=nowhere | offline)
    assert shown.code == 74 and "Traceback" not in shown.err
    assert str(tmp_path / "empty") in shown.err and str(tmp_path / "cache" / "mnist") in shown.err
    assert list(study.opened().paths.cells.iterdir()) == list(study.opened().paths.running.iterdir()) == []
    probed = sweeper_command.run(study.argv("plan", "--probe"), env=nowhere | offline)
    assert probed.code == 74 and "Traceback" not in probed.err


def test_a_second_run_exits_with_75_at_once_and_status_shows_the_first(tiny, sweeper_command):
    study = tiny(train={"steps": 100_000}, evaluation={"every": 0})
    first = sweeper_command.start(study.argv("run"))
    until(study.notes)
    second = sweeper_command.run(study.argv("run"))
    assert second.code == 75 and f"process {first.pid} on " in second.err and len(second.err.splitlines()) == 1
    shown = sweeper_command.run(study.argv("status"))
    assert shown.code == 0 and f"running: process {first.pid}" in shown.out and "0 of 6 cells done" in shown.out
    assert re.search(r"digits mlp 3-2 \(8\) × [24]: step [\d,]+ of 100,000", shown.out)
    status = json.loads(sweeper_command.run(study.argv("status", "--json")).out)
    assert status["in_use_by"]["pid"] == first.pid and 0 <= status["share_of_work_done"] < 1
    assert status["running"][0]["phase"] == "training" and status["missing"] == 6
    first.kill()
    first.wait()
    assert "no run in progress" in sweeper_command.run(study.argv("status")).out


def test_status_tells_what_it_can_where_the_study_is_of_another_version(done, sweeper_command):
    path = done.opened().paths.study
    path.write_text(path.read_text() + "colour: blue\n")
    shown = sweeper_command.run(done.argv("status"))
    assert shown.code == 0 and "2 cells committed" in shown.out and "colour" in shown.out
    assert "colour" in json.loads(sweeper_command.run(done.argv("status", "--json")).out)["study_fault"]
    assert sweeper_command.run(done.argv("report")).code == 2


def test_a_store_on_which_nothing_was_run_or_finished(tiny, sweeper_command):
    from sweeper.store import Store

    study = tiny()
    Store.create(study.store)
    assert sweeper_command.run(study.argv("report")).code == 2
    shown = sweeper_command.run(study.argv("status"))
    assert shown.code == 0 and "0 cells committed" in shown.out
    study.opened().paths.study.write_text(study.load().to_yaml())
    shown = sweeper_command.run(study.argv("report"))
    assert shown.code == 0 and "6 of the study's 6 cells without a result yet" in shown.out


# --- what is printed


def test_a_study_of_plain_vaes_has_a_report_without_a_critical_rho(tiny, sweeper_command):
    """Every cell at ρ = 1, which has no place on the scale of log(1 − ρ)."""
    study = tiny(cells={"objective": "vae", "rho": 1, "smoothing_samples": None, "seed": [0, 1]})
    outcome = sweeper_command.run(study.argv("run"))
    assert outcome.code == 0 and "no critical ρ: reference outside the grid" in outcome.out, outcome.err
    assert (study.store / "analysis" / "report.html").exists()


def test_json_is_all_there_is_on_stdout(tiny, sweeper_command):
    study = tiny(cells={"learning_rate": [1e-3, 1e3], "activation": "relu", "rho": 0.8, "seed": 0}, train={"steps": 20})
    for command in ("plan", *COMMANDS):
        shown = sweeper_command.run(study.argv(command, "--json"))
        found = json.loads(shown.out)
        assert shown.code == 0 and found and not ANSI.search(shown.out)
        if command in ("plan", "run", "status"):
            assert found["json_version"] == 1
    assert json.loads(sweeper_command.run(study.argv("plan", "--json")).out)["counts"] == {"done": 1, "diverged": 1}
    assert json.loads(sweeper_command.run(["schema"]).out)["properties"]


def test_without_a_terminal_there_is_no_escape_sequence(done, sweeper_command):
    for command in ("plan", "status", "run"):
        shown = sweeper_command.run(done.argv(command), env={"TERM": "xterm-256color", "COLUMNS": "40"})
        assert shown.code == 0 and not ANSI.search(shown.out + shown.err)
        assert command == "status" or "nothing is missing" in shown.err + shown.out


def test_a_narrow_terminal(tiny, sweeper_command):
    code, text = on_terminal(sweeper_command, tiny().argv("plan"), 40, {"NO_COLOR": "1", "TERM": "xterm"})
    assert code == 0 and "Traceback" not in text and "\x1b[3" not in text
    plain = ANSI.sub("", text)
    table = plain[plain.index("data ") : plain.index("next:")].splitlines()
    assert max(len(line) for line in table) <= 40
    assert "6 cells asked for" in text


@pytest.mark.parametrize("command", ["plan", "report"])
def test_a_reader_that_goes_away_is_no_fault(done, command):
    """As in `sweeper status … | head -1`, here with the reader gone before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    child = subprocess.run(
        [sys.executable, "-c", UNDRAWN, *done.argv(command)],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    os.close(writer)
    assert child.returncode == 0
    assert "Traceback" not in child.stderr and "Broken" not in child.stderr and "Exception" not in child.stderr


def test_a_run_whose_messages_nobody_reads_goes_on(tiny):
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 20})
    reader, writer = os.pipe()
    os.close(reader)
    child = subprocess.run(
        [sys.executable, "-c", UNDRAWN, *study.argv("run")], stdout=writer, stderr=writer, env=environment()
    )
    os.close(writer)
    assert child.returncode == 0 and len(study.opened().committed()) == 1


def test_a_terminal_that_cannot_show_the_letter_rho(done, sweeper_command):
    child = subprocess.run(
        [sys.executable, "-c", UNDRAWN, *done.argv("report")],
        capture_output=True, env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0"),
    )  # fmt: skip
    assert child.returncode == 0 and b"critical \\u03c1" in child.stdout and child.stderr == b""


def test_a_damaged_row_is_a_warning_of_the_report_not_its_end(done, sweeper_command):
    row = next(done.opened().paths.rows("cells").iterdir())
    for part in done.opened().paths.cells.iterdir():
        part.unlink()  # else its row is read from there
    row.write_bytes(row.read_bytes()[:-10])
    shown = sweeper_command.run(done.argv("report"))
    assert shown.code == 0 and shown.err.startswith("warning: left out ") and row.name in shown.err


def test_paths_that_a_shell_would_split_are_quoted_in_the_next_command(done, sweeper_command):
    import shlex

    shown = sweeper_command.run(done.argv("run"), faults={"unreported": None})
    next_line = shown.out.splitlines()[-1]
    assert shlex.split(next_line.removeprefix("next: ")) == ["sweeper", "report", str(done.store)]


def test_overrides_are_recorded_with_the_store(done, sweeper_command):
    more = done.argv("run", "--set", "train.steps=30", "--workers", "1")
    assert sweeper_command.run(more, faults={"unreported": None}).code == 0
    status = json.loads(sweeper_command.run(done.argv("status", "--json")).out)
    assert status["counts"] == {"done": 2} and "steps: 30" in done.opened().paths.study.read_text()


def test_a_run_says_what_the_study_asks_otherwise_than_the_last_time(done, sweeper_command):
    asked, faults = done.argv("run", "--set", "train.checkpoint_s=7"), {"unreported": None}
    shown = sweeper_command.run(asked, faults=faults)
    assert shown.code == 0, shown.err
    (line,) = [line for line in shown.err.splitlines() if line.startswith("changed since the last run: ")]
    assert "checkpoint_s" in line and "7" in line
    again = sweeper_command.run(asked, faults=faults)
    assert "changed since the last run" not in again.err
