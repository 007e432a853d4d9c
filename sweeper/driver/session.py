"""Ray for the time of a run: one of this machine's own, or the cluster at an address; left with nothing behind.

Ray's folder is private, and whoever speaks to Ray needs a token: see `sweeper.driver.ray_auth`. Workers get Python's
path as the driver has it, and nothing else of the driver's: no folder is packed and uploaded, whatever Ray would do for
`uv run`, by a variable or by a hook. On a cluster each node has a path of its own.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from sweeper.driver import SIGNALS
from sweeper.driver.ray_auth import new_token, use_token
from sweeper.driver.ray_logs import RayLogs
from sweeper.errors import SweeperError, WorkersUnavailable
from sweeper.wording import duration

START_S = 120.0  # the limit for a cluster to answer; `run.start_s` is a study's own, for all that comes after
OBJECT_STORE_BYTES = 200 << 20  # nothing large travels through Ray
KNOCK_S = 10.0
LOOK_S = 0.2
ADVICE = "`--executor inline` does without Ray"
LEAVE_S = 3.0  # for Ray's processes to end that were killed while it was starting
LOST_S = 3600.0  # the age of a scratch folder without a lock that is no run's: one is without it for a moment only
SCRATCH, LOCK = "sw-", "lock"
MAX_FOLDER_LENGTH = 24  # sockets lie below it, and the system allows their paths 107 bytes

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_CLIENT_MODE": "0",  # of a program that speaks to a Ray elsewhere through a proxy
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    # Else a driver is let in when the first workers are up, and where these do not come up it holds Python's lock for
    # ever, so that no signal reaches it. Tune's workers are started otherwise and gain nothing by those.
    "RAY_prestart_worker_first_driver": "0",
}
_UV = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"  # has Ray pack the current folder, and start workers by `uv run` in its copy


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
    _refuse_settings_that_end_ray()
    with _scratch() as scratch:
        os.environ |= _QUIET
        os.environ[_UV] = "0"
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
            with _hooks_off(address):
                start.wait(limit_s, stopping)
            yield scratch, start.logs
        finally:
            if start.begun.is_set():
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
        mine = [each for each in psutil.Process().children(recursive=True) if self._is_its(each)]
        for process in mine:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(mine, LEAVE_S)

    def _is_its(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return any(str(self.scratch) in word for word in process.cmdline())
        return False

    def _begin(self) -> None:
        import ray
        from ray.job_config import JobConfig

        job = JobConfig()
        job._py_driver_sys_path = _Kept(_python_path() if self.address is None else [])
        if self.address:
            _knock(self.address)
            paths = {name: os.environ[name] for name in ("SWEEPER_DATA", "SWEEPER_CACHE") if name in os.environ}
            joined: Any = ray.init(
                address=self.address,
                job_config=job,
                runtime_env={"env_vars": paths, **_quoted_python()},
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
                runtime_env=_quoted_python(),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self.scratch / "ray"),
            )


class _Kept(list[str]):
    """A path for workers that Ray cannot put the current folder and the script's in front of, as it would."""

    def extend(self, more: Any) -> None:
        """Ray's way to add them."""


def _python_path() -> list[str]:
    """Where the driver looks for modules, the last place first: so Ray wants it."""
    return [os.path.abspath(entry) for entry in reversed(sys.path)]


def _quoted_python() -> dict[str, str]:
    """What Ray 2.60 needs where Python's path has a space: it starts workers by a shell line that does not quote it."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


@contextmanager
def _hooks_off(address: str | None) -> Iterator[None]:
    """Without the variables by which others would change how workers are started, or what they import.

    On a cluster a job that was submitted to it has brought its own environment, which stays, below what a run sets.
    """
    off = ["RAY_RUNTIME_ENV_HOOK"]
    if address is None:
        off += ["RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS"]  # a pod's, of a cluster
        off += ["PYTHONPATH"] if sys.flags.ignore_environment else []  # as in `python -I`
    else:
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    kept = {name: os.environ.pop(name) for name in off if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _refuse_settings_that_end_ray() -> None:
    """Raise SweeperError where Ray's own settings hold what it cannot read: importing it then ends the process without
    a word. RAY_memory_usage_threshold=90% is one, and an empty number another. Tried in another process."""
    names = [name for name in os.environ if name.startswith("RAY_") and name[4:5].islower() and name not in _QUIET]
    if not names or "ray" in sys.modules or _imports_ray(names):
        return
    faulty = [name for name in names if not _imports_ray([name])] or names
    said = ", ".join(f"{name}={os.environ[name]!r}" for name in faulty)
    raise SweeperError(f"Ray cannot start with {said} in the environment: correct it, or unset it; {ADVICE}")


def _imports_ray(names: list[str]) -> bool:
    """Whether a process that has only these of Ray's settings lives through the import."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") or name in names}
    return subprocess.run([sys.executable, "-c", "import ray._raylet"], env=env, capture_output=True).returncode >= 0


def _knock(address: str) -> None:
    """Raise SweeperError at once where nobody listens at `address`: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as fault:
        raise SweeperError(f"{line(fault)}; is it up?") from fault


def scratch_folder() -> Path:
    """Where scratch folders lie."""
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) <= MAX_FOLDER_LENGTH else Path("/tmp")


@contextmanager
def _scratch() -> Iterator[Path]:
    """A private folder for Ray, removed afterwards, and so are those that killed runs have left."""
    folder = scratch_folder()
    sweep(folder)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))  # mode 0700
    lock = FileLock(scratch / LOCK)
    lock.acquire()
    try:
        yield scratch
    finally:
        _empty(scratch)
        lock.release()
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the scratch folders in `folder` that no run uses.

    One in use is known by its lock, which the system frees when its process dies. The lock goes last: Ray's agents
    outlive a killed run by a minute and may write once more, and what is left then is for the next run.
    """
    for left in folder.glob(f"{SCRATCH}*"):
        with suppress(OSError, Timeout):
            if left.stat().st_uid != os.getuid():
                continue
            if not (left / LOCK).exists():  # removed, and then an agent wrote
                if time.time() - left.stat().st_mtime > LOST_S:
                    shutil.rmtree(left, ignore_errors=True)
            else:
                with FileLock(left / LOCK, timeout=0):
                    _empty(left)
                    if os.listdir(left) == [LOCK]:
                        shutil.rmtree(left, ignore_errors=True)


def _empty(scratch: Path) -> None:
    """Remove all but the lock."""
    for path in scratch.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)


def line(fault: BaseException) -> str:
    """What went wrong in one line."""
    return " ".join(str(fault).split())[:300] or type(fault).__name__
