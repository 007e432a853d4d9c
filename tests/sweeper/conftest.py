"""Tiny studies on the bundled digits, run in this process, as commands in processes of their own, or through Ray."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pickle
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import SweeperError
from sweeper.store import Store
from sweeper.store.columns import VOLATILE
from sweeper.study import Study, load_study
from tests.sweeper.blank import blank
from tests.sweeper.unflushed import do_not_flush

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0  # for what should take seconds: the machine may be busy

CELLS = {
    "data": "digits", "latents": "3-2", "hidden": "8", "objective": "ou", "smoothing_samples": 2,
    "rho": [0.8, 0.95, 1], "batch_size": 16, "seed": [0, 1],
}  # fmt: skip
EVALUATION = {"every": 20, "importance_samples": 5, "images": 20, "validation_images": 20}


# `python -m sweeper` whose report writes no tables and figures: with them a command takes three times as long.
UNDRAWN = """
import sys, types
from sweeper.cli import main
sys.modules["sweeper.analysis.files"] = types.SimpleNamespace(write_files=lambda found, *_: found)
main()
"""


def environment(**more: str) -> dict[str, str]:
    """What a child process needs to run this checkout on one thread, without a terminal."""
    dropped = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "SWEEPER_DEBUG", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"} | more


@dataclass(frozen=True)
class Tiny:
    """A study file and the store its results go to."""

    path: Path
    store: Path
    shelf: Path | None = None  # where stores that several tests begin with are kept

    def load(self, *sets: str) -> Study:
        """The study, with overrides."""
        return load_study(self.path, sets)

    def run(self, *sets: str, executor: Any = None, where: Any = None) -> Any:
        """Run it in this process."""
        from sweeper.driver.inline import Inline
        from sweeper.run import run_study

        store = Store.open(self.store, create=True)
        return run_study(self.load(*sets), store, lambda plan: executor or Inline(), where=where)

    def trained(self) -> Tiny:
        """Itself, run in this process; or with a copy of the store that an earlier test had from the same study."""
        assert self.shelf
        kept = self.shelf / hashlib.sha256(self.path.read_bytes()).hexdigest()
        if kept.exists():
            shutil.copytree(kept, self.store)
        else:
            self.run()
            shutil.copytree(self.store, kept)
        return self

    def argv(self, command: str, *more: str) -> list[str]:
        """The command line of a command on it."""
        place = [str(self.store)] if command in ("status", "report") else [str(self.path), "--store", str(self.store)]
        return [command, *place, *more]

    def opened(self) -> Store:
        """Its store."""
        return Store.open(self.store)

    def notes(self) -> list[dict[str, Any]]:
        """What running stacks last said; none while there is no store."""
        try:
            return self.opened().progress()
        except SweeperError:
            return []


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """This process, and commands forked from the server, do not wait for the disk: see `do_not_flush`."""
    real = os.fsync
    do_not_flush()
    yield
    os.fsync = real


@pytest.fixture
def tiny(tmp_path, tmp_path_factory):
    """A factory of tiny studies; a section given is merged into the default one."""
    folder = tmp_path / 'a folder\'s "own"'
    folder.mkdir()

    def make(name: str = "tiny", store: str = "", **sections: dict[str, Any]) -> Tiny:
        study: dict[str, Any] = {
            "name": name,
            "cells": CELLS | sections.get("cells", {}),
            "train": {"steps": 60, "checkpoint_s": 0.1} | sections.get("train", {}),
            "evaluation": EVALUATION | sections.get("evaluation", {}),
            "run": {"executor": "inline", "max_stack": 4, "device": "cpu"} | sections.get("run", {}),
        } | {key: sections[key] for key in ("analysis", "refine") if key in sections}
        path = folder / f"{store or name}.yaml"
        path.write_text(
            json.dumps(
                {
                    key: {k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else part
                    for key, part in study.items()
                },
                indent=1,
            )
        )
        return Tiny(path, folder / (store or f"results of {name}"), tmp_path_factory.getbasetemp() / "trained")

    return make


@pytest.fixture(scope="session")
def drawn_sentences(tmp_path_factory) -> str:
    """A file of the synthetic sentences, for `faulty.drawn`: drawing them takes longer than all else of `doctor`."""
    from models.data import synthetic_text

    path = tmp_path_factory.mktemp("drawn") / "synthetic_text"
    path.write_bytes(pickle.dumps(synthetic_text.load()))
    return str(path)


@pytest.fixture
def blank_figures(monkeypatch):
    """Reports of this process save empty figures."""
    from sweeper.analysis import figures

    monkeypatch.setattr(figures, "save", blank)


def exact(value: Any) -> Any:
    """Numbers as texts that tell every bit, NaN equal to itself."""
    if isinstance(value, float):
        return value.hex()
    return [exact(item) for item in value] if isinstance(value, list) else value


def table(store: Store | Path, kind: str = "cells") -> list[dict[str, Any]]:
    """All rows without the columns that may differ between two undisturbed runs, for comparison bit for bit."""
    opened = store if isinstance(store, Store) else Store.open(store)
    found, damaged = opened.read(kind)
    assert damaged == []
    rows = [{name: exact(v) for name, v in row.items() if name not in VOLATILE} for row in found.to_pylist()]
    return sorted(rows, key=lambda row: (row["cell_id"], row["step"]))


def same(first: Store | Path, second: Store | Path) -> bool:
    """Whether two stores hold the same rows and the same history, bit for bit."""
    return all(table(first, kind) == table(second, kind) for kind in ("cells", "history"))


@dataclass
class Command:
    """A command that runs in a process of its own, in its own session."""

    server: Commands
    pid: int
    out_path: Path
    err_path: Path
    code: int | None = None
    cpu_s: float = 0.0
    patience: float = PATIENCE_S

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        if self.code is None:
            self.code, self.cpu_s = self.server.ask({"poll": self.pid}) or (None, 0.0)
        return self.code

    def wait(self, timeout: float = 0.0) -> int:
        """The exit code [within its patience]."""
        timeout = timeout or self.patience
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"still running after {timeout} s: {self.err}")
            time.sleep(0.01)
        assert self.code is not None
        return self.code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    @property
    def out(self) -> str:
        return self.out_path.read_text()

    @property
    def err(self) -> str:
        return self.err_path.read_text()


@dataclass
class Commands:
    """Starts `sweeper` again and again, forked from a process that has imported all it needs."""

    process: subprocess.Popen[str]
    folder: Path
    started: list[Command] = field(default_factory=list)

    def ask(self, question: Any) -> Any:
        """The server's answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        argv: list[str],
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        out: str = "",
        err: str = "",
        tty: str = "",
        unprivileged: bool = False,
        faults: dict[str, Any] | None = None,
    ) -> Command:
        """Begin a command; its output goes to files, or to `out`, `err` or a terminal `tty`."""
        number = len(self.started)
        paths = [Path(out or self.folder / f"{number}.out"), Path(err or self.folder / f"{number}.err")]
        asked: dict[str, Any] = {"argv": argv, "cwd": str(cwd or self.folder)}
        asked |= {"out": str(paths[0]), "err": str(paths[1])}
        asked |= {"env": env or {}, "tty": tty, "unprivileged": unprivileged, "faults": faults or {}}
        pid = self.ask({"start": asked})
        self.started.append(Command(self, pid, *paths))
        return self.started[-1]

    def end(self) -> None:
        """Kill what still runs."""
        for command in self.started:
            if command.poll() is None:
                command.kill()
                command.wait()

    def run(self, argv: list[str], **options: Any) -> Command:
        """Begin a command and wait for its end."""
        command = self.start(argv, **options)
        command.wait()
        return command


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Commands]:
    """The process that commands are forked from."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "command_server.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        made = Commands(process, tmp_path_factory.mktemp("commands"))
        yield made
        made.end()


@pytest.fixture
def sweeper_command(server) -> Iterator[Commands]:
    """Starts commands; what a test leaves running is killed."""
    yield server
    server.end()


def until(condition: Any, timeout: float = PATIENCE_S, every: float = 0.01) -> Any:
    """What `condition()` returns once it is true."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, "did not come about"
        time.sleep(every)
    return found


def on_terminal(commands: Commands, argv: list[str], columns: int, env: dict[str, str]) -> tuple[int, str]:
    """Exit code of a command on a terminal of so many columns, and all that it shows there."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown, run = bytearray(), commands.start(argv, tty=os.ttyname(side), env=env)
    os.set_blocking(main, False)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        ended = run.poll() is not None
        try:
            shown.extend(os.read(main, 65536))
            continue
        except OSError as error:
            if error.errno != errno.EAGAIN:
                break
        if ended:
            break
        time.sleep(0.02)
    os.close(side)
    os.close(main)
    return run.wait(), shown.decode()
