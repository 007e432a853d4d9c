"""Waiting for workers: on every node of a cluster before the run, and for each stack during it; never without a word.

A worker that cannot start says why to Ray's logs alone, and Ray starts the next one, for ever. So there is a limit
(`run.start_s`), after which the run ends and quotes them. Where other work holds the cores of a cluster there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sweeper.driver.entry import look, send_as_code
from sweeper.driver.ray_logs import RayLogs
from sweeper.driver.retry_policy import DEFAULT, NotStarted, RetryPolicy
from sweeper.errors import SweeperError, WorkersUnavailable
from sweeper.provenance import source_digest
from sweeper.source import ROOT
from sweeper.wording import duration

LOOK_S = 0.5
ADVICE = "docs/cluster.md says what a worker needs; `--executor inline` does without Ray"
STOPPED = "stopped before a worker was there"


def muster(needs: Mapping[str, float], limit_s: float, stopping: Callable[[], bool], logs: RayLogs) -> None:
    """See a worker come up on every node of the cluster that could carry out a job, and import the driver's source.

    `needs`: of Ray's resources, per job. Raises WorkersUnavailable, or SweeperError when `stopping` says yes.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    until = time.monotonic() + limit_s
    while not (nodes := _fitting(needs)):
        if _over(until, stopping):
            asked = " and ".join(f"{count:g} {name}" for name, count in needs.items())
            raise WorkersUnavailable(
                f"no node of the Ray cluster has {asked} for a stack, and none has come up within {duration(limit_s)} "
                "(run.start_s): see `ray status`, run.threads and run.device"
            )
    send_as_code()
    # No core is asked for: whether a worker can start there is to be known now, and others may hold all cores. With a
    # variable of its own it starts by the same way as Tune's, which is another one than that of a plain task's.
    task = ray.remote(num_cpus=0, max_retries=0, runtime_env={"env_vars": {"PL_DISABLE_FORK": "1"}})(look)
    asked_of = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(ROOT): node
        for node in nodes
    }
    waiting = list(asked_of)
    while waiting and not _over(until, stopping):
        waiting = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_S)[1]
    faults = {}
    for ref, node in asked_of.items():
        if ref in waiting:
            faults[node["NodeManagerAddress"]] = f"no worker came up within {duration(limit_s)} (run.start_s)"
        elif fault := _fault(ref, node):
            faults[node["NodeManagerAddress"]] = fault
    if faults:
        nodes_said = [f"node {place}: {fault}" for place, fault in faults.items()]
        headline = f"{len(faults)} of {len(nodes)} nodes of the Ray cluster cannot work: " + "; ".join(nodes_said)
        if waiting:
            raise WorkersUnavailable(logs.explain(headline, f"each node's own are in {logs.folder} there; {ADVICE}"))
        raise WorkersUnavailable(f"{headline}; install the same on every node")


def _over(until: float, stopping: Callable[[], bool]) -> bool:
    """Whether it is time to give up, after a moment. Raises SweeperError if the run is to stop."""
    if stopping():
        raise SweeperError(STOPPED)
    time.sleep(0.05)
    return time.monotonic() > until


def _fitting(needs: Mapping[str, float]) -> list[dict[str, Any]]:
    """The cluster's nodes that are large enough."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [n for n in alive if all(n["Resources"].get(name, 0) >= count for name, count in needs.items())]


def _fault(ref: Any, node: Mapping[str, Any]) -> str | None:
    """Why a node that answered cannot work; None: it can, or it has left the cluster."""
    import ray
    from ray.exceptions import RayError

    try:
        digest, root = ray.get(ref)
    except RayError as fault:
        gone = not any(n["NodeID"] == node["NodeID"] and n["Alive"] for n in ray.nodes())  # type: ignore[no-untyped-call]
        return None if gone else " ".join(str(fault).split("\n")[-1].split())[:300]
    ours = source_digest()
    if digest != ours:
        return f"another version of sweeper's source ({digest}, in {root}) than the driver's ({ours}, in {ROOT})"
    return None


class GaveUp(BaseException):
    """Ends Tune at once: it would take any Exception for a reason to wait some seconds for workers to end."""


class Waiting:
    """Watches a run whose jobs wait for workers.

    Args:
        reserved: whether cores are reserved for a job that waits. If not, they are in use by others.
        own: whether all cores are this run's, so that there are no others.
        say: shows a line to people.
    """

    def __init__(
        self,
        limit_s: float,
        stopping: Callable[[], bool],
        logs: RayLogs,
        own: bool,
        reserved: Callable[[], bool],
        say: Callable[[str], object] = lambda line: None,
        policy: RetryPolicy = DEFAULT,
    ):
        self.limit_s, self.stopping, self.logs, self.own, self.reserved = limit_s, stopping, logs, own, reserved
        self.policy, self.say = policy, say
        self.since: float | None = None
        self.looked = 0.0
        self.told = False
        self.fault = SweeperError(STOPPED)

    def look(self, states: Callable[[], Sequence[str]]) -> None:
        """Once in a while, with the states of Tune's trials. Raises GaveUp, its reason in `fault`."""
        now = time.monotonic()
        if now - self.looked < LOOK_S:
            return
        self.looked = now
        found = set(states())
        if "RUNNING" in found or "PENDING" not in found:
            self.since, self.told = None, False
            return
        self.since = self.since or now
        if self.stopping():
            self._end(SweeperError(STOPPED))
        waited_s = now - self.since
        taken = waited_s > self.limit_s and not self.own and not self.reserved()  # Ray is asked only when it matters
        decision = self.policy.after(NotStarted(waited_s, self.limit_s, taken))
        if not decision.retry:
            self._end(WorkersUnavailable(self.logs.explain(decision.reason, ADVICE)))
        if taken and not self.told:
            self.told = True
            with suppress(OSError):
                self.say("waiting: others use the cores or GPUs of the cluster")

    def _end(self, fault: SweeperError) -> None:
        self.fault = fault
        raise GaveUp from fault


def reserved() -> bool:
    """Whether Ray has reserved what a job of this run needs (which Tune asks for job by job)."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    return any(
        group["state"] == "CREATED" and group["placement_group_id"].endswith(job)
        for group in placement_group_table().values()
    )
