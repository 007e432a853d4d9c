"""Faults that a command plants in itself before it starts, by name: `{"kill_at_call": 17}`. See `command_server`."""

from __future__ import annotations

import atexit
import builtins
import ctypes
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from sweeper.store import atomic, lock

CALLS = ("link", "replace", "fsync", "unlink", "rename", "mkdir", "rmdir")  # of the system, by which a store changes


def count_calls(path: str) -> None:
    """Write to `path`, at the end, how many calls change the store."""
    counted = _tick(lambda number: False)
    atexit.register(lambda: Path(path).write_text(str(counted())))


def kill_at_call(number: int) -> None:
    """SIGKILL before the `number`-th of those calls; of a file that is being written then, half is there."""
    _tick(lambda count: count == number)


def _tick(due: Callable[[int], bool]) -> Callable[[], int]:
    count = 0

    def tick() -> bool:
        nonlocal count
        count += 1
        return due(count)

    def counted(function: Any) -> Any:
        def called(*arguments: Any, **options: Any) -> Any:
            if tick():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return called

    class Written:
        """A file whose write is one of the calls."""

        def __init__(self, file: Any):
            self.file = file

        def __enter__(self) -> Written:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            if tick():
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            self.file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    atomic.open = lambda path, mode: Written(builtins.open(path, mode))  # type: ignore[attr-defined]  # noqa: SIM115
    return lambda: count


def give_up_capabilities() -> None:
    """Be root without its powers (Linux), to whom the permissions of files mean something."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def unlocked(_: Any) -> None:
    """No lock holds anybody back."""

    @contextmanager
    def locked(paths: Any) -> Iterator[None]:
        yield

    lock.locked = locked


def unreported(_: Any) -> None:
    """A run ends without its report, whose figures take longer than all that these tests look at."""
    from sweeper import report
    from sweeper.analysis.report import Report

    report.write_report = lambda study, store: Report(study.name, "kl_top", [])


def registered(_: Any) -> None:
    """Cells are trained by the faulty procedure, with the fault that the variable FAULT names."""
    from tests.sweeper import faulty_procedure

    faulty_procedure.register()


def hang(where: dict[str, Any]) -> None:
    """From `step` on, a step of a stack that holds a cell of this `rho` does not return."""
    os.environ["FAULT"] = json.dumps(where | {"kind": "hangs"})
    registered(None)


def absent(package: str) -> None:
    """A package that is not installed."""
    sys.modules[package] = None  # type: ignore[assignment]


def drawn(path: str) -> None:
    """The synthetic sentences from a file, where a test is not about drawing them, which takes seconds."""
    from models.data import synthetic_text

    synthetic_text.load = lambda: pickle.loads(Path(path).read_bytes())


def constants(changed: dict[str, dict[str, Any]]) -> None:
    """Other values of constants, by module and name."""
    for module, values in changed.items():
        for name, value in values.items():
            assert hasattr(import_module(module), name)
            setattr(import_module(module), name, value)


def cloud(seconds: dict[str, float]) -> None:
    """Constants of the mirror in a bucket: `push` between uploads, `patience` with a service that fails."""
    from sweeper import cloud
    from sweeper.cloud import objects

    cloud.PUSH_S = seconds["push"]
    objects.PATIENCE_S = objects.REQUEST_S = seconds["patience"]
