"""Which executor carries out a plan, and what a cluster offers it: for the command line and for `sweeper.train`."""

from __future__ import annotations

import re
from collections.abc import Callable

from sweeper.driver import Executor
from sweeper.errors import StudyError
from sweeper.machine import Machine
from sweeper.planning import Plan
from sweeper.study import Study


def cluster_at(study: Study, address: str | None) -> Callable[[], Machine] | None:
    """What asks the Ray cluster at `address` for all that it has; None: the run is on this machine.

    Raises StudyError where the address is none, or the study's executor is not Ray.
    """
    if address is None:
        return None
    if study.run.executor != "ray":
        raise StudyError(f"--address joins a Ray cluster, and run.executor is {study.run.executor}")
    if address != "auto" and not re.fullmatch(r"[^/\s]+:[0-9]{1,5}", address):
        raise StudyError(f"--address should be HOST:PORT, or auto for the Ray on this machine, got {address!r}")

    def ask() -> Machine:
        from sweeper.driver.tune import cluster

        return cluster(address)

    return ask


def executor_for(plan: Plan, address: str | None = None) -> Executor:
    """The executor that the plan's study names; over Ray, on the cluster at `address` [this machine's own]."""
    if plan.study.run.executor == "inline":
        from sweeper.driver.inline import Inline

        return Inline()
    from sweeper.driver.tune import RayTune

    return RayTune(address)
