"""Situations of daily use: what a shell, a machine, a colleague or another program brings along, and a run lives with.

docs/promises.md lists them, those that other modules test among them.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import UNDRAWN, environment, same
from test_ray import RAY

import models.data.sources
import sweeper
from sweeper.errors import SweeperError

ONE = {"cells": {"rho": 0.9, "seed": 0}, "train": {"steps": 5}, "evaluation": {"every": 0}}
SMALL = {"cells": {"rho": [0.8, 1], "seed": [0, 1]}, "train": {"steps": 20}}
CURVE = ONE | {
    "cells": {"rho": [0.8, 0.9, 0.95, 1], "seed": [0, 1]}
}  # its report has two figures and no table of methods, with times
UNKNOWN_USER = 54321
UNSAVED = """
from sweeper.analysis import figures
from sweeper.cli import main
figures.save = lambda figure, folder, name: []
main()
"""  # `-m sweeper` that makes figures, but does not save them
ASSERTLESS = """
from importlib.machinery import SourceFileLoader
def code(self, name, real=SourceFileLoader.get_code):
    if name.split(".")[0] not in ("models", "sweeper"):
        return real(self, name)
    return compile(self.get_source(name), self.path, "exec", dont_inherit=True, optimize=1)
SourceFileLoader.get_code = code
"""  # this package's own code as with -O, without the 10 s that torch and scipy take to be compiled so
DRAWN = """
import sys
from sweeper.cli import main
from tests.sweeper.faulty import drawn
drawn(sys.argv.pop(1))
main()
"""  # `-m sweeper` with the synthetic sentences from a file


def command(
    study, *more, python=(sys.executable,), program=("-m", "sweeper"), cwd=None, preexec=None, drop=(), **variables
):
    """`sweeper run` in a process of its own, as a shell starts it: exit code, stdout, stderr."""
    env = {name: value for name, value in environment(**variables).items() if name not in drop}
    argv = [*python, *program, *study.argv("run"), *more]
    done = subprocess.run(argv, env=env, cwd=cwd, preexec_fn=preexec, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout, done.stderr


# --- variables, settings and switches

OTHERS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline", "MATPLOTLIBRC": "/nowhere", "PYTHONWARNINGS": "error",
    "COLUMNS": "20", "LINES": "5", "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm-256color",
    "LC_NUMERIC": "de_DE.UTF-8", "TZ": "Asia/Kolkata", "TQDM_DISABLE": "1", "PYTHONSTARTUP": "/nowhere",
    "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "0", "JPY_PARENT_PID": "1",
    "WANDB_MODE": "online", "COMET_API_KEY": "none", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_PROC_BIND": "true",
    "OMP_DISPLAY_ENV": "verbose", "MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1", "TORCH_LOGS": "+all",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "NVIDIA_TF32_OVERRIDE": "1", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "NPY_DISABLE_CPU_FEATURES": "AVX2 SSE2",
    "PANDAS_FUTURE_INFER_STRING": "0", "SCIPY_ARRAY_API": "1", "GRPC_VERBOSITY": "debug", "GRPC_TRACE": "all",
    "RAY_ADDRESS": "192.0.2.1:6379", "RAY_LOG_TO_STDERR": "1", "RAY_CHDIR_TO_TRIAL_DIR": "1",
    "RAY_AIR_NEW_OUTPUT": "1", "TUNE_RESULT_DIR": "/nowhere", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0",
    "GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere",
    "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9",
}  # fmt: skip


def said(texts, store="", other=""):
    """The lines of stdout and stderr, with another store's name; how far a run is may be said more or less often."""
    lines = [text.replace(store, other).splitlines() for text in texts]
    return [[line for line in each if " of the work in " not in line] for each in lines]


def test_what_is_set_for_other_programs_reaches_no_row_no_figure_and_no_output(tiny, tmp_path):
    """Many variables at once, and a faulty matplotlibrc in the current folder, where matplotlib looks first."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "matplotlibrc").write_bytes(b"lines.linewidth: 20\nno.key: 3\nfont.family: \xff\xfe\n")
    clean, loud = tiny(**CURVE), tiny(store="loud", **CURVE)
    loud = type(loud)(clean.path, loud.store, loud.shelf)
    expected, got = command(clean), command(loud, cwd=tmp_path / "here", **OTHERS)
    assert got[0] == expected[0] == 0, got[2]
    assert said(got[1:], loud.store.name, clean.store.name) == said(expected[1:])
    assert same(clean.store, loud.store)
    made = {path.name: path.read_bytes() for path in (clean.store / "analysis").iterdir() if path.suffix != ".html"}
    assert sum(name.endswith((".png", ".pdf", ".svg")) for name in made) >= 6
    assert made == {name: (loud.store / "analysis" / name).read_bytes() for name in made}
    first, second = (sweeper.load(each.store) for each in (clean, loud))
    assert (first["git_revision"].fillna("") == second["git_revision"].fillna("")).all()


@pytest.mark.parametrize(
    "switches",
    [
        ["-W", "error", "-X", "dev", "-u"],
        # With figures, and with the libraries' own asserts left out too.
        pytest.param(["-O"], marks=pytest.mark.slow),
        pytest.param(["-OO", "-s", "-B", "-P", "-X", "utf8=0"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_whatever_switches_the_interpreter_is_given(tiny, switches):
    """Without asserts and docstrings, with warnings as errors and in Python's development mode; in an odd locale."""
    study, plain = tiny(**ONE), tiny(store="plain", **ONE)
    plain.run()
    program = ("-c", ASSERTLESS + UNDRAWN) if "-W" in switches else ("-m", "sweeper")
    odd = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"} if "utf8=0" in switches else {}
    code, out, err = command(
        study, "--json", python=(sys.executable, *switches), program=program, drop=("PYTHONWARNINGS",), **odd
    )
    assert code == 0 and json.loads(out)["counts"] == {"done": 1}, err
    assert "Warning" not in err and "Traceback" not in err and same(study.store, plain.store)


# --- folders

FOLDERS = [
    "Ünïcode ρ 'and' \"more\" %s {x} $HOME `ls` * #;&|", "~/s3:/-dash/two\nlines", os.fsdecode(b"Latin-1 caf\xe9"),
]  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS, ids=ascii)
def test_whatever_a_folder_is_called(tiny, sweeper_command, tmp_path, name):
    """Study and store lie in it, the store behind a link, and relative to it."""
    study, folder = tiny(**ONE), tmp_path / "in" / name
    folder.mkdir(parents=True)
    shutil.copy(study.path, folder / "study.yaml")
    (folder / "elsewhere").mkdir()
    (folder / "link").symlink_to("elsewhere")
    argv = ["run", f"{folder}/study.yaml", "--store", f"{folder}/link"]
    shown = sweeper_command.run(argv)
    assert shown.code == 0 and "Traceback" not in shown.err, shown.err
    assert sweeper_command.run(["report", "link"], cwd=folder).code == 0
    assert len(sweeper.load(folder / "elsewhere")) == 1


def test_a_home_folder_is_found_where_no_shell_did(tiny, sweeper_command, drawn_sentences, tmp_path):
    """As in `--store=~/results`, which a shell leaves as it is, and in variables and calls from Python."""
    study, home = tiny(**ONE), {"HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    shutil.copy(study.path, tmp_path / "home" / "study.yaml")
    run = ["run", "~/study.yaml", "--store=~/results"]
    for argv in (run, ["status", "~/results"], ["merge", "~/all", "~/results"], ["doctor", "~/all"],
                 ["export", "optuna", "~/all", "--storage", "~/optuna.journal"]):  # fmt: skip
        # Without real data, which `doctor` would decode anew for a new cache: 30 s.
        places = {"SWEEPER_CACHE": "~/cache", "SWEEPER_DATA": "~/data"} if argv[0] == "doctor" else {}
        shown = sweeper_command.run(argv, cwd=tmp_path, env=home | places, faults={"drawn": drawn_sentences})
        assert shown.code == 0, (argv, shown.err)
    assert {path.name for path in (tmp_path / "home").iterdir()} >= {"results", "all", "optuna.journal"}
    assert not (tmp_path / "~").exists()
    shown = sweeper_command.run(["status", "~nobody-of-this-name/results"], cwd=tmp_path)
    assert shown.code == 2 and "no home folder is known" in shown.err and "Traceback" not in shown.err


def test_variables_and_calls_from_python_know_it_too(tiny, tmp_path, monkeypatch):
    study = tiny(**ONE)
    study.trained()
    monkeypatch.setenv("HOME", str(study.store.parent))
    assert len(sweeper.load(f"~/{study.store.name}")) == 1
    for name in ("SWEEPER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "~/cache")
        assert models.data.sources.cache_folder().parts[: len(study.store.parent.parts)] == study.store.parent.parts
    monkeypatch.setenv("SWEEPER_DATA", "~/data")
    with models.data.sources.offline(), pytest.raises(FileNotFoundError, match="no mnist/x: put it at"):
        models.data.sources.locate("mnist", "x")
    (study.store.parent / "data" / "mnist").mkdir(parents=True)
    (study.store.parent / "data" / "mnist" / "x").touch()
    assert models.data.sources.locate("mnist", "x") == study.store.parent / "data" / "mnist" / "x"


def become_unknown():
    """A user without an entry in the system's list, as containers have them: still able to read this checkout."""
    libc, reads = ctypes.CDLL(None, use_errno=True), 1 << 2  # CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    libc.prctl(8, 1, 0, 0, 0)  # keep capabilities
    os.setgroups([])
    os.setgid(UNKNOWN_USER)
    os.setuid(UNKNOWN_USER)
    if libc.capset(header, (ctypes.c_uint32 * 6)(reads, reads, reads)) or libc.prctl(47, 2, 2, 0, 0):
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("home", ["", pytest.param("/nonexistent", marks=pytest.mark.slow)])
def test_a_user_without_a_home_folder_and_without_a_name(tiny, drawn_sentences, tmp_path, home):
    """The cache is then a private folder among the temporary files, and whoever else has made it is not trusted."""
    study = tiny(**ONE)
    for folder in (tmp_path, study.path.parent):
        folder.chmod(0o777)
    for folder in tmp_path.parents:  # of which pytest makes some private
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    env = {"HOME": home} if home else {}
    drop = ("HOME", "LOGNAME", "USER", "XDG_CACHE_HOME", "SWEEPER_CACHE", "PYTHONWARNINGS") if not home else ("USER",)
    user = {"cwd": tmp_path, "preexec": become_unknown, "drop": drop}
    code, _, err = command(study, program=("-c", UNSAVED), **user, TMPDIR=str(tmp_path), **env)
    assert code == 0 and "Traceback" not in err, err
    cache = tmp_path / f"sweeper-{UNKNOWN_USER}"
    assert cache.stat().st_mode & 0o777 == 0o700 and cache.stat().st_uid == UNKNOWN_USER
    argv = [sys.executable, "-c", DRAWN, drawn_sentences, "doctor"]
    env |= {"TMPDIR": str(tmp_path), "SWEEPER_DATA": str(tmp_path / "data")}  # as above
    env = {name: value for name, value in environment(**env).items() if name not in drop}
    done = subprocess.run(argv, env=env, cwd=tmp_path, preexec_fn=become_unknown, capture_output=True, text=True)
    assert done.returncode == 0 and f"at {cache}" in done.stdout, done.stderr


def test_a_current_folder_that_is_gone_and_one_that_takes_nothing(tiny, sweeper_command, tmp_path):
    study, folder = tiny(**ONE), tmp_path / "gone"
    folder.mkdir()
    script = f"rmdir {folder}; exec '{sys.executable}' -m sweeper " + '"$@"'
    argv = ["sh", "-c", script, "sh", *study.argv("run")]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 74 and done.stderr == "the current folder is no longer there: change to another one\n"
    assert not study.store.exists()
    folder.mkdir(0o555)
    shown = sweeper_command.run(["run", str(study.path)], cwd=folder, unprivileged=True)
    assert shown.code == 74 and "results" in shown.err and len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("found", ["lost+found", ".DS_Store", "desktop.ini", ".stfolder"])
def test_what_a_system_drops_into_a_new_folder_is_no_other_content(tiny, found):
    """A new disk is not empty, nor is a folder that a file browser or a cloud's program has seen."""
    study = tiny(**ONE)
    study.store.mkdir()
    (study.store / found).mkdir()
    assert not study.run().after.missing and (study.store / found).is_dir()
    other = study.store / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(SweeperError, match="holds other files"):
        sweeper.store.Store.open(other, create=True)


# --- streams


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("</dev/null", 0), ("<&-", 0), (">&-", 0), (">&- 2>&-", 0), ("| true", 0), (">/dev/full", 74)],
)
def test_streams_that_are_closed_or_take_nothing(tiny, redirection, code):
    """Where the results that were asked for cannot be printed the exit code says so; the rows are safe either way."""
    study = tiny(**ONE).trained()
    script = f'"{sys.executable}" -m sweeper status "$1" {redirection}'
    argv = ["bash", "-o", "pipefail", "-c", script, "sh", str(study.store)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr and "ignored" not in done.stderr, done.stderr


# --- colleagues


def test_a_merge_of_what_may_not_be_read_says_so_and_takes_the_rest(tiny, sweeper_command, tmp_path):
    """Not damaged, and not the exit code of damage; with the right to read it the same command takes it."""
    study = tiny(cells={"rho": [0.8, 0.9], "seed": 0}, train={"steps": 5})
    study.run()
    rows = sorted(study.opened().paths.rows("cells").iterdir())
    rows[0].chmod(0)
    (kept,) = study.opened().paths.kept(rows[1].name[:24]).glob("*.safetensors")
    kept.chmod(0)
    argv = ["merge", str(tmp_path / "all"), str(study.store)]
    shown = sweeper_command.run(argv, unprivileged=True)
    assert shown.code == 74 and "damaged" not in shown.out, shown.out
    assert "1 cell taken" in shown.out and shown.out.count("not taken: ") == 2
    assert f"not taken: {rows[0]}: not readable (Permission denied)" in shown.out
    for path in (rows[0], kept):
        path.chmod(0o644)
    shown = sweeper_command.run(argv, unprivileged=True)
    assert shown.code == 0 and same(tmp_path / "all", study.store)
    assert len(list((tmp_path / "all/checkpoints").iterdir())) == 2


@pytest.mark.parametrize("reader", ["pandas", "pyarrow", "polars", "duckdb"])
def test_rows_are_read_without_this_package(tiny, reader):
    """By whatever reads Parquet: one row per cell, lists of numbers per layer."""
    library = pytest.importorskip(reader)
    study = tiny(**SMALL).trained()
    folder = study.opened().paths.cells
    pattern = f"{folder}/*.parquet"
    if reader == "pandas":
        rows = library.read_parquet(folder).to_dict("records")
    elif reader == "pyarrow":
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(folder).to_pylist()
    elif reader == "polars":
        rows = library.read_parquet(pattern).to_dicts()
    else:
        found = library.execute("select * from read_parquet(?)", [pattern])
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    expected = {row["cell_id"]: row for row in study.opened().read("cells")[0].to_pylist()}
    assert len(rows) == 4 and {row["cell_id"] for row in rows} == set(expected)
    for row in rows:
        assert row["kl_top"] == expected[row["cell_id"]]["kl_top"]
        assert list(row["kl_per_layer"]) == expected[row["cell_id"]]["kl_per_layer"]


# --- Ray

ISOLATED = """
ip link set lo up
mount -t tmpfs -o size=1m none /dev/shm
ulimit -n 1024; ulimit -c 0; ulimit -s 4096; umask 077
test $$ = 1 && exec "$@"
"""


@pytest.mark.slow
def test_through_ray_in_a_poor_container_with_others_settings(tiny):
    """Loopback only, 1 MB of shared memory, as process 1, few files and small stacks, proxies that answer nothing,
    a private umask, an odd locale, and all that is set for other programs.
    """
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*namespaces, "true"], capture_output=True).returncode:
        pytest.skip("namespaces of one's own are not allowed here")
    study = tiny(**SMALL, run=RAY)
    inline = tiny(store="inline", **SMALL)
    inline.run()
    code, out, err = command(
        study,
        "--json",
        python=(*namespaces, "sh", "-c", ISOLATED, "sh", sys.executable),
        **OTHERS | {"LC_ALL": "C", "PYTHONOPTIMIZE": "1"},
    )
    assert code == 0 and json.loads(out)["counts"] == {"done": 4}, err
    assert "Traceback" not in err and len(err.splitlines()) < 20, err
    assert same(study.store, inline.store)
