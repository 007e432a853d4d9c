"""The executor over Ray Tune: a trial is an order, on one GPU or on as many cores as it has threads.

Tune schedules, packs and restarts; it decides nothing. Its own state is written to a temporary folder and thrown away
(`Tuner.restore` is never called: a torn state file makes it forget finished trials without an error). Orders stream in
through a searcher, requests to stop travel through the store, and what became of an order stands there too.

Ray itself is started or joined in `sweeper.driver.session`.
"""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sweeper.driver import Assignment
from sweeper.driver.entry import carry_out_order, send_as_code
from sweeper.driver.ray_logs import RayLogs
from sweeper.driver.scout import cluster
from sweeper.driver.session import line, ray_session
from sweeper.driver.waiting import GaveUp, Waiting, muster, reserved
from sweeper.errors import SweeperError
from sweeper.machine import machine
from sweeper.plan import Order
from sweeper.provenance import source_digest
from sweeper.source import ROOT
from sweeper.store import Store

RESTARTS = 2  # of a trial whose process died, on top of those that halve its stack to one cell
DIED = "its process died again and again"

__all__ = ["RayTune", "cluster"]


class RayTune:
    """Carries out orders on the workers of a Ray cluster: this machine's own, or the one at `address`."""

    def __init__(self, address: str | None = None):
        self.address = address

    def execute(self, work: Assignment) -> None:
        """Start or join Ray, run Tune over the orders, and leave nothing behind."""
        cores = max(1, work.workers * work.orders.first.threads)
        gpus = len(machine().gpu_memory_bytes) if work.orders.first.device == "cuda" else 0
        limit_s = work.orders.first.start_s
        with ray_session(self.address, cores, gpus, limit_s, work.stopping) as (scratch, logs):
            self._tune(work, scratch, logs)

    def _tune(self, work: Assignment, scratch: Path, logs: RayLogs) -> None:
        from ray import tune

        first = work.orders.first
        if self.address:
            needs = {"CPU": first.threads, "GPU": 1} if first.device == "cuda" else {"CPU": first.threads}
            muster(needs, first.start_s, work.stopping, logs)
        send_as_code()
        resources: dict[str, float] = {"cpu": first.threads}
        if first.device == "cuda":
            resources["gpu"] = 1
        given = {"root": str(work.root), "run_id": work.run_id, "digest": source_digest()}
        trainable = tune.with_parameters(carry_out_order, source_root=ROOT, **given)
        waiting = Waiting(first.start_s, work.stopping, logs, self.address is None, reserved)
        halvings = (work.orders.largest - 1).bit_length()
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(work),
                num_samples=-1,
                max_concurrent_trials=work.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=work.run_id,
                storage_path=str(scratch),
                verbose=0,
                callbacks=[_onlooker(waiting)],
                failure_config=tune.FailureConfig(max_failures=RESTARTS + halvings),
            ),
        )
        chatter = io.StringIO()  # stdout is for results
        try:
            with redirect_stdout(chatter):
                results = tuner.fit()
        except GaveUp:
            raise waiting.fault from None
        except Exception as fault:
            raise SweeperError(
                f"Ray stopped working: {line(fault)}; the same command goes on from the checkpoints"
            ) from fault
        finally:
            if chatter.getvalue():
                print(chatter.getvalue(), end="", file=sys.stderr)
        store = Store.open(work.root)
        for result in (results[i] for i in range(len(results))):
            if result.error is not None:
                _record((result.config or {})["number"], str(result.error), work, store)


def _record(number: int, reason: str, work: Assignment, store: Store) -> None:
    """A trial that Tune gave up: its process died again and again. Its cells have failed, unless committed.

    A reason that the worker itself wrote down stays.
    """
    order, committed = work.orders.handed[number], store.committed()
    evaluations = order.evaluation.accepted()
    known = {failure.cell_id for failure in store.failures() if failure.traceback != DIED}
    missing = [
        name
        for name in order.cell_ids
        if name not in known and not any(row.satisfies(order.steps, evaluations) for row in committed.get(name, []))
    ]
    store.record_failure(missing, work.attempt(number), reason, str(store.paths.log))


def trial(config: dict[str, Any], root: str, run_id: str, digest: str) -> dict[str, Any]:
    """One order in a worker process, called by `carry_out_order`."""
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


def _onlooker(waiting: Waiting) -> Any:
    """Looks on, ten times a second, whether orders wait for workers that will not come."""
    from ray.tune import Callback

    class Onlooker(Callback):
        """Tune's interface."""

        def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
            """Tune takes another turn."""
            waiting.look(lambda: [trial.status for trial in trials])

    return Onlooker()


def _searcher(work: Assignment) -> Any:
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
            taken = None if work.stopping() else work.orders.take()
            if taken is None:
                return None if work.orders.running and not work.stopping() else Searcher.FINISHED
            self.numbers[trial_id], order = taken
            return {"order": order.to_dict(), "number": taken[0], "attempt": work.attempt(taken[0])}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """A trial ended; error: its process died more often than Tune restarts it."""
            number = self.numbers[trial_id]
            if error:  # noted now, for what follows from it; the reason comes when Tune has ended
                _record(number, DIED, work, Store.open(work.root))
            work.orders.ended(number)

        def save(self, checkpoint_path: str) -> None:  # Tune's state is thrown away
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    return Suggested()
