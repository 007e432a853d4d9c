"""The executor over Ray Tune: a trial is a job, on one GPU or on as many cores as it has threads.

Tune schedules, packs and restarts; it decides nothing. Its own state is written to a temporary folder and thrown away
(`Tuner.restore` is never called: a torn state file makes it forget finished trials without an error). Jobs stream in
through a searcher, requests to stop travel through the store, and what became of a job stands there too.

Ray itself is started or joined in `sweeper.driver.session`.
"""

from __future__ import annotations

import io
import os
import warnings
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweeper.driver import Assignment
from sweeper.driver.entry import carry_out_job, send_as_code
from sweeper.driver.log import log
from sweeper.driver.losses import Losses
from sweeper.driver.ray_logs import RayLogs
from sweeper.driver.retry_policy import DEFAULT, RetryPolicy
from sweeper.driver.scout import cluster
from sweeper.driver.session import line, ray_session
from sweeper.driver.waiting import GaveUp, Waiting, muster, reserved
from sweeper.environment import forget_others
from sweeper.errors import SweeperError
from sweeper.machine import machine
from sweeper.planning import Job
from sweeper.provenance import source_digest
from sweeper.source import ROOT
from sweeper.store import Store

__all__ = ["RayTune", "cluster"]


class RayTune:
    """Carries out jobs on the workers of a Ray cluster: this machine's own, or the one at `address`.

    `policy`: which jobs are tried again, by the driver and within its workers.
    """

    def __init__(self, address: str | None = None, policy: RetryPolicy = DEFAULT):
        self.address, self.policy = address, policy

    def execute(self, work: Assignment) -> None:
        """Start or join Ray, run Tune over the jobs, and leave nothing behind."""
        cores = max(1, work.workers * work.jobs.first.threads)
        gpus = len(machine().gpu_memory_bytes) if work.jobs.first.device == "cuda" else 0
        limit_s = work.jobs.first.start_s
        with ray_session(self.address, cores, gpus, limit_s, work.stopping) as (scratch, logs):
            self._tune(work, scratch, logs)

    def _tune(self, work: Assignment, scratch: Path, logs: RayLogs) -> None:
        from ray import tune

        first = work.jobs.first
        if self.address:
            needs = {"CPU": first.threads, "GPU": 1} if first.device == "cuda" else {"CPU": first.threads}
            muster(needs, first.start_s, work.stopping, logs)
        send_as_code()
        resources: dict[str, float] = {"cpu": first.threads}
        if first.device == "cuda":
            resources["gpu"] = 1
        given: dict[str, Any] = {"root": str(work.root), "run_id": work.run_id, "digest": source_digest()}
        given |= {"policy": asdict(self.policy)}  # plain values: a worker knows no class of ours yet
        trainable = tune.with_parameters(carry_out_job, source_root=ROOT, **given)
        waiting = Waiting(first.start_s, work.stopping, logs, self.address is None, reserved, work.say, self.policy)
        _survive_the_memory_monitor()
        losses = Losses(work.workers, self.policy, work.say)
        # Jobs may wait for as many workers to come up: one by one, each takes some seconds of the others' time.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(work.workers)
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
                progress_reporter=tune.CLIReporter(),  # in a notebook the default one wipes what a cell has shown
                callbacks=[_onlooker(waiting), _on_loss(work, losses)],
                failure_config=tune.FailureConfig(max_failures=0),  # `losses` decides
            ),
        )
        chatter = io.StringIO()  # stdout is for results
        try:
            with redirect_stdout(chatter):
                tuner.fit()
        except GaveUp:
            raise waiting.fault from None
        except Exception as fault:
            raise SweeperError(f"Ray stopped working: {line(fault)}; run the same command to resume") from fault
        finally:
            if chatter.getvalue():
                work.say(chatter.getvalue().rstrip("\n"))


def _record(number: int, reason: str, work: Assignment, store: Store) -> None:
    """A job that was given up: its process died again and again. Its cells have failed, unless committed.

    A reason that the worker itself wrote down stays.
    """
    job, committed = work.jobs.handed[number], store.committed()
    evaluations = job.evaluation.accepted()
    known = {failure.cell_id for failure in store.failures()}
    missing = [
        name
        for name in job.cell_ids
        if name not in known and not any(row.satisfies(job.steps, evaluations) for row in committed.get(name, []))
    ]
    store.record_failure(missing, work.attempt(number), reason, str(store.paths.log))


def trial(config: dict[str, Any], root: str, run_id: str, digest: str, policy: dict[str, Any]) -> dict[str, Any]:
    """One job in a worker process, called by `carry_out_job`."""
    forget_others()  # of a cluster's node; torch is not loaded yet
    if source_digest() != digest:
        raise SweeperError(
            f"this worker has another version of sweeper's source ({source_digest()}) than the driver ({digest}): "
            "install the same on every node"
        )
    from sweeper.driver.watchdog import carry_out_watched
    from sweeper.driver.worker import Stopped

    store = Store.open(root)
    job = Job.from_dict(config["job"])
    warnings.showwarning = lambda message, *_, **__: log(store, config["attempt"], f"warning: {message}")
    try:
        carry_out_watched(job, store, config["attempt"], lambda: store.stop_requested(run_id), RetryPolicy(**policy))
    except Stopped:
        return {"stopped": 1}
    return {"stopped": 0}


def _onlooker(waiting: Waiting) -> Any:
    """Looks on, ten times a second, whether jobs wait for workers that will not come."""
    from ray.tune import Callback

    class Onlooker(Callback):
        """Tune's interface."""

        def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
            """Tune takes another turn."""
            waiting.look(lambda: [trial.status for trial in trials])

    return Onlooker()


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
    """Told of each trial whose process is gone, or whose code raised: has its job tried again, or gives it up."""
    from ray.tune import Callback

    class Lost(Callback):
        """Tune's interface. The trial is over; another will be made of the same job."""

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            number, attempt = trial.config["number"], trial.config["attempt"]
            store, reason = Store.open(work.root), "its process ended, and Ray does not say why"
            notes = [note for note in store.progress() if note["attempt"].startswith(attempt)]
            stack = max((int(note.get("cells", 0)) for note in notes), default=0)
            with suppress(OSError, TypeError):  # Tune writes a line of its own first
                reason = Path(trial.error_file).read_text(errors="replace").partition("\n")[2].strip()
            cells = len(work.jobs.handed[number].cells)
            beside = sum(other.status == "RUNNING" for other in trials if other is not trial)
            why = losses.lost(number, cells, stack, beside, reason)
            if why is None:
                work.jobs.again(number)
            else:
                _record(number, why, work, store)  # before what follows from it
                work.jobs.ended(number)

    return Lost()


def _searcher(work: Assignment, losses: Losses) -> Any:
    """Hands out the jobs as workers become free; none for now where others decide, none at all once asked to stop."""
    from ray.tune.search import Searcher

    class Suggested(Searcher):
        """Tune's interface: a suggestion is a job, named by its number."""

        def __init__(self) -> None:
            super().__init__(metric="stopped", mode="min")
            self.numbers: dict[str, int] = {}

        def suggest(self, trial_id: str) -> Any:
            """The next job as a trial's configuration; None: ask again later."""
            work.listen()  # Tune puts a handler of its own in place of ours
            if not work.stopping() and not losses.room(work.jobs.running):
                return None
            taken = None if work.stopping() else work.jobs.take()
            if taken is None:
                return None if work.jobs.running and not work.stopping() else Searcher.FINISHED
            self.numbers[trial_id], job = taken
            losses.handed_out(taken[0])
            return {"job": job.to_dict(), "number": taken[0], "attempt": work.attempt(taken[0])}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """A trial ended; error: see `_on_loss`, which is told why."""
            if not error:
                losses.finished()
                work.jobs.ended(self.numbers[trial_id])

        def save(self, checkpoint_path: str) -> None:  # Tune's state is thrown away
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    return Suggested()
