"""Ray for the time of a run: one of this machine's own, or the cluster at an address; left with nothing behind.

Ray's folder is private, and whoever speaks to Ray needs a token: see `sweeper.driver.ray_auth`. Workers get Python's
path as the driver has it, and nothing else of the driver's: no folder is packed and uploaded, whatever Ray would do for
`uv run`, by a variable or by a hook. On a cluster each node has a path of its own.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from sweeper.driver import SIGNALS
from sweeper.driver.ray_auth import new_token, use_token
from sweeper.driver.ray_environment import (
    ADVICE,
    QUIET,
    UV,
    OwnPath,
    hooks_off,
    python_path,
    quoted_python,
    refuse_settings_that_end_ray,
)
from sweeper.driver.ray_logs import RayLogs
from sweeper.driver.scratch import own_scratch
from sweeper.driver.shutdown import kill, killed_when_asked_to_end
from sweeper.errors import SweeperError, WorkersUnavailable
from sweeper.wording import duration

START_S = 120.0  # the limit for a cluster to answer; `run.start_s` is a study's own, for all that comes after
OBJECT_STORE_BYTES = 200 << 20  # nothing large travels through Ray
KNOCK_S = 10.0
LOOK_S = 0.2


@contextmanager
def ray_session(
    address: str | None,
    cores: int,
    gpus: int,
    limit_s: float = START_S,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Path, RayLogs]]:
    """Ray up and running (with so much of this machine, or on the cluster at `address`), a scratch folder, Ray's logs.

    The first two are gone afterwards.

    Raises:
        WorkersUnavailable: Ray has not come up, or not answered, within `limit_s`.
        SweeperError: it does not start, cannot be joined, or `stopping` said yes meanwhile.
    """
    refuse_settings_that_end_ray()
    with own_scratch() as scratch:
        os.environ |= QUIET
        os.environ[UV] = "0"
        if address:
            use_token(address)
        else:
            new_token(scratch)
        import ray  # reads all of these
        from ray._private import ray_constants

        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False  # where it was imported before
        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are reported from the store
        start = _Start(address, scratch, cores, gpus)
        try:
            with hooks_off(address):
                start.wait(limit_s, stopping)
            yield scratch, start.logs
        finally:
            if start.begun.is_set():
                with killed_when_asked_to_end(start.own_processes()):
                    ray.shutdown()
            else:
                start.give_up()
            start.left.set()


class _Start(threading.Thread):
    """Starts or joins Ray where no signal reaches, so that the main thread can be asked to stop meanwhile.

    Ray's processes inherit what is blocked here: else a signal to the whole group or job (`timeout`, a batch system)
    would end them before their checkpoints are written. They die with the thread that started them (Linux), so it
    stays until Ray was left.
    """

    def __init__(self, address: str | None, scratch: Path, cores: int, gpus: int):
        super().__init__(name="ray", daemon=True)  # a cluster that never answers must not hold up the process
        self.address, self.scratch, self.cores, self.gpus = address, scratch, cores, gpus
        self.begun, self.left = threading.Event(), threading.Event()
        self.fault: BaseException | None = None
        self.logs = RayLogs(scratch / "ray" / "session_latest" / "logs")

    def run(self) -> None:
        """The thread's work."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._begin()
            if self.left.is_set():  # nobody waits for it any more
                import ray

                ray.shutdown()
        except BaseException as fault:
            self.fault = fault
        self.begun.set()
        self.left.wait()

    def wait(self, limit_s: float, stopping: Callable[[], bool]) -> None:
        """Start, and return when Ray is up. Raises as `ray_session` does."""
        where = f"cannot join the Ray cluster at {self.address}" if self.address else "Ray does not start here"
        self.start()
        until = time.monotonic() + limit_s
        while not self.begun.wait(LOOK_S) and not stopping():
            if time.monotonic() > until:
                raise WorkersUnavailable(self.logs.explain(f"{where}: no answer within {duration(limit_s)}", ADVICE))
        if stopping():
            raise SweeperError("stopped while Ray was starting")
        if self.fault is not None:
            raise SweeperError(f"{where}: {line(self.fault)}; {ADVICE}") from self.fault

    def give_up(self) -> None:
        """End the processes of a Ray of our own that is not up yet: it may never be."""
        kill(self.own_processes())

    def own_processes(self) -> list[psutil.Process]:
        """Those that a Ray of our own has started itself, which have workers and agents below them; none of a
        cluster's."""
        return [each for each in psutil.Process().children() if self._is_its(each)]

    def _is_its(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return any(str(self.scratch) in word for word in process.cmdline())
        return False

    def _begin(self) -> None:
        import ray
        from ray.job_config import JobConfig

        job = JobConfig()
        job._py_driver_sys_path = OwnPath(python_path() if self.address is None else [])
        if self.address:
            _knock(self.address)
            paths = {name: os.environ[name] for name in ("SWEEPER_DATA", "SWEEPER_CACHE") if name in os.environ}
            joined: Any = ray.init(
                address=self.address,
                job_config=job,
                runtime_env={"env_vars": paths, **quoted_python()},
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
            self.logs = RayLogs(Path(joined.address_info["session_dir"]) / "logs", from_now=True)
        else:
            ray.init(
                address="local",  # whatever RAY_ADDRESS says
                num_cpus=self.cores,
                num_gpus=self.gpus,
                job_config=job,
                runtime_env=quoted_python(),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self.scratch / "ray"),
            )


def _knock(address: str) -> None:
    """Raise SweeperError at once where nobody listens at `address`: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as fault:
        raise SweeperError(f"{line(fault)}; is it up?") from fault


def line(fault: BaseException) -> str:
    """What went wrong in one line."""
    return " ".join(str(fault).split())[:300] or type(fault).__name__
