"""The executor over Ray Tune: a trial is an order, on one GPU or on as many cores as it has threads.

Tune schedules, packs and restarts; it decides nothing. Its own state is written to a temporary folder and thrown away
(`Tuner.restore` is never called: a torn state file makes it forget finished trials without an error). Orders stream in
through a searcher, requests to stop travel through the store, and what became of an order stands there too.

Ray's folder is private and its doors are closed: see `sweeper.driver.closed`.
"""

from __future__ import annotations

import io
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweeper.driver import SIGNALS, Assignment
from sweeper.driver.closed import close, use_token
from sweeper.driver.losses import Losses, tell
from sweeper.environment import forget_others
from sweeper.errors import SweeperError
from sweeper.machine import Machine, machine
from sweeper.plan import Order
from sweeper.provenance import source_digest
from sweeper.store import Store

GPU_BYTES = 16 << 30  # taken for a cluster's GPUs, whose memory Ray does not tell
OBJECT_STORE_BYTES = 200 << 20  # nothing large travels through Ray
KNOCK_S = 10.0
SCRATCH, LOCK = "sw-", "lock"
LONGEST_FOLDER = 24  # sockets lie below it, and the system allows their paths 107 bytes

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}


class RayTune:
    """Carries out orders on the workers of a Ray cluster: this machine's own, or the one at `address`."""

    def __init__(self, address: str | None = None):
        self.address = address

    def execute(self, work: Assignment) -> None:
        """Start or join Ray, run Tune over the orders, and leave nothing behind."""
        cores = max(1, work.workers * work.orders.first.threads)
        gpus = len(machine().gpu_memory_bytes) if work.orders.first.device == "cuda" else 0
        with _ray(self.address, cores, gpus) as scratch:
            self._tune(work, scratch)

    def _tune(self, work: Assignment, scratch: Path) -> None:
        from ray import tune

        first = work.orders.first
        resources: dict[str, float] = {"cpu": first.threads}
        if first.device == "cuda":
            resources["gpu"] = 1
        trainable = tune.with_parameters(_trial, root=str(work.root), run_id=work.run_id, digest=source_digest())
        _survive_the_memory_monitor()
        losses = Losses(work.workers)
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(work, losses),
                num_samples=-1,
                max_concurrent_trials=work.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=work.run_id,
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),  # `losses` decides
                callbacks=[_on_loss(work, losses)],
            ),
        )
        chatter = io.StringIO()  # stdout is for results
        try:
            with redirect_stdout(chatter):
                tuner.fit()
        except Exception as fault:
            raise SweeperError(
                f"Ray stopped working: {_line(fault)}; the same command goes on from the checkpoints"
            ) from fault
        finally:
            if chatter.getvalue():
                tell(chatter.getvalue().rstrip("\n"))


def _record(number: int, reason: str, work: Assignment, store: Store) -> None:
    """An order that was given up: its process died again and again. Its cells have failed, unless committed.

    A reason that the worker itself wrote down stays.
    """
    order, committed = work.orders.handed[number], store.committed()
    evaluations = order.evaluation.accepted()
    known = {failure.cell_id for failure in store.failures()}
    missing = [
        name
        for name in order.cell_ids
        if name not in known and not any(row.satisfies(order.steps, evaluations) for row in committed.get(name, []))
    ]
    store.record_failure(missing, work.attempt(number), reason, str(store.paths.log))


def _trial(config: dict[str, Any], root: str, run_id: str, digest: str) -> dict[str, Any]:
    """One order in a worker process."""
    forget_others()  # of a cluster's node; torch is not loaded yet
    if source_digest() != digest:
        raise SweeperError(
            f"this worker has another version of sweeper's source ({source_digest()}) than the driver ({digest}): "
            "install the same on every node"
        )
    from sweeper.driver.watchdog import carry_out_watched
    from sweeper.driver.worker import Stopped, log

    store = Store.open(root)
    order = Order.from_dict(config["order"])
    warnings.showwarning = lambda message, *_, **__: log(store, config["attempt"], f"warning: {message}")
    try:
        carry_out_watched(order, store, config["attempt"], lambda: store.stop_requested(run_id))
    except Stopped:
        return {"stopped": 1}
    return {"stopped": 0}


def _survive_the_memory_monitor() -> None:
    """What Tune of Ray 2.60 needs: that its memory monitor ended a worker is to Tune no worker's death, but its own."""
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    handle = RayActorManager._actor_task_failed

    def failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        ended = isinstance(exception, OutOfMemoryError)
        handle(self, tracked_actor_task, RayActorError(error_msg=str(exception)) if ended else exception)

    if handle.__module__ != __name__:
        RayActorManager._actor_task_failed = failed  # type: ignore[method-assign]


def _on_loss(work: Assignment, losses: Losses) -> Any:
    """Told of each trial whose process is gone, or whose code raised: has its order tried again, or gives it up."""
    from ray.tune import Callback

    class Lost(Callback):
        """Tune's interface. The trial is over; another will be made of the same order."""

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            number, attempt = trial.config["number"], trial.config["attempt"]
            store, reason = Store.open(work.root), "its process ended, and Ray does not say why"
            notes = [note for note in store.progress() if note["attempt"].startswith(attempt)]
            stack = max((int(note.get("cells", 0)) for note in notes), default=0)
            with suppress(OSError, TypeError):  # Tune writes a line of its own first
                reason = Path(trial.error_file).read_text(errors="replace").partition("\n")[2].strip()
            cells = len(work.orders.handed[number].cells)
            why = losses.lost(number, cells, stack, work.orders.running - 1, reason)
            if why is None:
                work.orders.again(number)
            else:
                _record(number, why, work, store)  # before what follows from it
                work.orders.ended(number)

    return Lost()


def _searcher(work: Assignment, losses: Losses) -> Any:
    """Hands out the orders as workers become free; none for now where others decide, none at all once asked to stop."""
    from ray.tune.search import Searcher

    class Suggested(Searcher):
        """Tune's interface: a suggestion is an order, named by its number."""

        def __init__(self) -> None:
            super().__init__(metric="stopped", mode="min")
            self.numbers: dict[str, int] = {}

        def suggest(self, trial_id: str) -> Any:
            """The next order as a trial's configuration; None: ask again later."""
            work.listen()  # Tune puts a handler of its own in place of ours
            if not work.stopping() and not losses.room(work.orders.running):
                return None
            taken = None if work.stopping() else work.orders.take()
            if taken is None:
                return None if work.orders.running and not work.stopping() else Searcher.FINISHED
            self.numbers[trial_id], order = taken
            return {"order": order.to_dict(), "number": taken[0], "attempt": work.attempt(taken[0])}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """A trial ended; error: see `_on_loss`, which is told why."""
            if not error:
                losses.finished()
                work.orders.ended(self.numbers[trial_id])

        def save(self, checkpoint_path: str) -> None:  # Tune's state is thrown away
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    return Suggested()


def cluster(address: str) -> Machine:
    """What the Ray cluster at `address` has, all nodes together; a GPU is taken to have `GPU_BYTES`."""
    with _ray(address, 0, 0):
        import ray

        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Machine(int(total.get("CPU", 1)), int(total.get("memory", 0)), (GPU_BYTES,) * int(total.get("GPU", 0)))


def _quoted_python() -> dict[str, str]:
    """What Ray 2.60 needs where Python's path has a space: it starts workers by a shell line that does not quote it."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


@contextmanager
def _ray(address: str | None, cores: int, gpus: int) -> Iterator[Path]:
    """Ray up and running (with so much of this machine, or on the cluster at `address`), and a private scratch folder.

    Both are gone afterwards. Raises SweeperError if Ray does not start.
    """
    with _scratch() as scratch:
        os.environ |= _QUIET
        if address:
            use_token(address)
            _knock(address)
        else:
            close(scratch)
        import ray  # reads all of these

        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are reported from the store
        with _signals_kept():
            try:
                if address:
                    paths = {name: os.environ[name] for name in ("SWEEPER_DATA", "SWEEPER_CACHE") if name in os.environ}
                    ray.init(
                        address=address,
                        runtime_env={"env_vars": paths},
                        logging_level=logging.ERROR,
                        log_to_driver=False,
                    )
                else:
                    ray.init(
                        address="local",  # whatever RAY_ADDRESS says
                        num_cpus=cores,
                        num_gpus=gpus,
                        runtime_env=_quoted_python(),
                        include_dashboard=False,
                        logging_level=logging.ERROR,
                        log_to_driver=False,
                        object_store_memory=OBJECT_STORE_BYTES,
                        _temp_dir=str(scratch / "ray"),
                    )
            except Exception as fault:
                where = f"cannot join the Ray cluster at {address}" if address else "Ray does not start here"
                raise SweeperError(f"{where}: {_line(fault)}; `--executor inline` does without Ray") from fault
        try:
            yield scratch
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise SweeperError at once where nobody listens at `address`: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as fault:
        raise SweeperError(f"cannot join the Ray cluster at {address}: {_line(fault)}; is it up?") from fault


@contextmanager
def _signals_kept() -> Iterator[None]:
    """What a request to stop does is the run's to decide, wherever it is sent.

    Ray takes SIGTERM for itself when it starts. Its processes inherit what is blocked here: else a signal to the whole
    group or job (`timeout`, a batch system) would end them before their checkpoints are written.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A private folder for Ray, removed afterwards, and so are those that killed runs have left."""
    folder = Path(tempfile.gettempdir())
    if len(str(folder)) > LONGEST_FOLDER:
        folder = Path("/tmp")
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
            if left.stat().st_uid == os.getuid() and (left / LOCK).exists():
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


def _line(fault: BaseException) -> str:
    """What went wrong in one line."""
    return " ".join(str(fault).split())[:300] or type(fault).__name__
