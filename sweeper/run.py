"""A run: asked for − committed, brought to workers, and the store's word on what became of it."""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.driver import SIGNALS, Assignment, Executor, Jobs
from sweeper.errors import DataMissing, Interrupted, StudyError, SweeperError
from sweeper.machine import ANYWHERE, Machine
from sweeper.planning import Job, Plan, make_plan
from sweeper.planning.settled import settled
from sweeper.store import Damaged, Failure, Store
from sweeper.store.atomic import write_bytes
from sweeper.study import Study
from sweeper.wording import last_line

if TYPE_CHECKING:
    from models.cell import Cell


@dataclass(frozen=True)
class Outcome:
    """What a run left: the plan before and after it, cells that failed, files that were quarantined at its start."""

    before: Plan
    after: Plan
    failures: tuple[Failure, ...]
    quarantined: tuple[Damaged, ...]


ECHO_S = 0.3  # a signal sent to a process and to its group (`timeout` does that) arrives twice
HEARD_EVEN_IF_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # a script's `sweeper run &` ignores the first
SENT_AGAIN = (signal.SIGHUP, signal.SIGXCPU)  # by kernel and shell, or every second: a repetition asks for nothing


def _end_at_once(number: int) -> None:
    os._exit(128 + number)


class StopRequest:
    """A request to stop, by signal. A second one is handed to `second`, which ends the process at once.

    `told` is called at the first, within the signal's handler, to say so. A signal that was ignored when the run began
    stays so: under `nohup` a terminal may close.
    """

    def __init__(self, second: Callable[[int], None] = _end_at_once, told: Callable[[], object] = lambda: None) -> None:
        self.signal: int | None = None
        self.second, self.told = second, told
        self.on_first: Callable[[], None] = lambda: None
        self._heard: tuple[signal.Signals, ...] = SIGNALS
        self._at = 0.0
        self._at_once = False

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Catch `SIGNALS` while inside; only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {name: signal.getsignal(name) for name in SIGNALS}
        self._heard = tuple(n for n in SIGNALS if n in HEARD_EVEN_IF_IGNORED or before[n] is not signal.SIG_IGN)
        self.listen()
        try:
            yield self
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def listen(self) -> None:
        """Handle them here; only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for name in self._heard:
                signal.signal(name, self._received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Have a signal raise Interrupted inside, where nobody works yet and the main thread may have to wait long."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _received(self, number: int, frame: object) -> None:
        if self.signal is not None:
            if number in SENT_AGAIN or time.monotonic() - self._at < ECHO_S:
                return
            self.second(number)
        self.signal, self._at = number, time.monotonic()
        if self._at_once:
            raise Interrupted("stopped on request, before anything was trained", number)
        self.told()
        self.on_first()


def _try_gpu() -> None:
    """Raise StudyError if PyTorch cannot use this machine's GPU. Asked in another process: this one stays without."""
    code = "import torch; torch.zeros(1, device='cuda')"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if asked.returncode:
        raise StudyError(
            f"run.device: there is a GPU here that PyTorch cannot use ({last_line(asked.stderr)}); install a PyTorch "
            "and a driver that fit each other, or set run.device=cpu"
        )


class Course:
    """The plan of a run, which grows where results ask for further cells."""

    def __init__(self, plan: Plan, store: Store, here: Machine | None):
        self.plan, self.store, self.here = plan, store, here
        self.planned = [cell for job in plan.jobs for cell in job.cells]

    def more(self, free: int) -> Sequence[Job]:
        """Jobs for `free` workers that follow from what is finished by now. A run gives each cell to one job."""
        waiting = any(item.action == "wait" for item in self.plan.items)
        if self.plan.study.refine is None and not waiting:
            return ()
        failed = {failure.cell_id for failure in self.store.failures()}
        now = make_plan(self.plan.study, self.store, self.here, self.planned, failed, free)
        known = {item.cell for item in self.plan.items}
        items = self.plan.items + tuple(item for item in now.items if item.cell not in known)
        self.planned += [cell for job in now.jobs for cell in job.cells]
        self.plan = replace(self.plan, items=items, refinement=now.refinement)
        return now.jobs


def run_study(
    study: Study,
    store: Store,
    executor: Callable[[Plan], Executor],
    announce: Callable[[Plan, tuple[Damaged, ...]], object] = lambda plan, damaged: None,
    watching: Callable[[Callable[[], Plan], Store], AbstractContextManager[object]] | None = None,
    where: Callable[[], Machine] | None = None,
    stop: StopRequest | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Outcome:
    """Do what is missing of `study` in `store`.

    Args:
        where: tells what the workers have, if that is not this machine; asked when something is missing.
        executor: makes the executor once the plan is known; not called when nothing is missing.
        announce: told the plan, and the files quarantined, before anything is trained.
        watching: makes a context manager that shows progress while the workers work, of a plan that may grow.
        stop: told of signals; [one whose second signal ends the process].
        say: shows a line about what happens meanwhile, as that memory ran out.

    Raises:
        StoreInUse, StoreUnwritable, StoreNewer: of the store. DataMissing: before any training.
        Interrupted: a signal asked to stop, and checkpoints were written.
    """
    stop = StopRequest() if stop is None else stop  # one that has heard of nothing yet is false
    with store.lock(), stop.listening():
        damaged = tuple(store.repair())
        store.clear_failures()
        store.clear_stop()
        study = settled(study, store)
        write_bytes(store.paths.study, study.to_yaml().encode())
        here = ANYWHERE if where else None
        plan = make_plan(study, store, here)
        if where and plan.missing:
            with stop.at_once():
                here = where()
            plan = make_plan(study, store, here)
        announce(plan, damaged)
        if plan.missing:
            fetch_data(plan, say)
            if where is None and plan.device == "cuda":
                _try_gpu()
            run_id = secrets.token_hex(6)
            store.sweep_running(_finished(store))
            stop.on_first = lambda: store.request_stop(run_id)
            course = Course(plan, store, here)
            jobs = Jobs(plan.jobs, course.more, plan.workers)
            root = store.paths.root.resolve()
            work = Assignment(jobs, root, run_id, plan.workers, lambda: bool(stop), stop.listen, say)
            try:
                with watching(lambda: course.plan, store) if watching else nullcontext():
                    executor(plan).execute(work)
            except SweeperError:
                if not stop:  # else workers that the same signal ended may be the reason
                    raise
        if plan.missing:
            damaged += tuple(store.repair())  # rows verified now need not be read when the study is resumed
        failures = tuple(store.failures())
        after = make_plan(study, store, here, failed={failure.cell_id for failure in failures})
        if stop.signal is not None and after.missing:
            done = len(after.items) - len(after.missing)
            raise Interrupted(
                f"stopped on request: {done} of {len(after.items)} cells done; run the same command to resume",
                stop.signal,
            )
        store.sweep_running(_finished(store))
    return Outcome(plan, after, failures, damaged)


def _finished(store: Store) -> dict[str, float]:
    """Committed steps by cell; one that diverged, or whose schedule ended, has no use for a checkpoint."""
    return {
        name: math.inf if rows[0].state == "diverged" or rows[0].ended else rows[0].steps
        for name, rows in store.committed().items()
    }


def fetch_data(plan: Plan, say: Callable[[str], object] = lambda line: None) -> None:
    """Load every data set once here, so that a missing or unfit one ends the run before any training.

    `say` is told what was left out of one. Labels too, where the evaluation needs them. Raises DataMissing, or
    StudyError where cells ask of a data set what it does not have.
    """
    from models.cell import unfit
    from models.data import DataCorrupt, data_of, labels_of
    from models.data import DataMissing as Missing

    by_data: dict[tuple[str, Any], list[Cell]] = {}
    for item in plan.missing:
        by_data.setdefault((item.cell.data_words, item.cell.options("data")), []).append(item.cell)
    for (name, _), cells in sorted(by_data.items(), key=lambda each: each[0][0]):
        try:
            data = data_of(cells[0])
            if plan.study.evaluation.classification:
                labels_of(data)
        except (Missing, DataCorrupt, OSError) as fault:
            raise DataMissing(str(fault)) from fault
        for note in data.notes:
            say(note)
        largest = max(cell.batch_size for cell in cells)
        if largest > len(data.train):
            what = "sentences" if data.kind == "tokens" else "images"
            raise StudyError(f"batch_size {largest}: {name} has {len(data.train)} training {what}")
        for likelihood in sorted({cell.likelihood for cell in cells}):
            if why := unfit(likelihood, name, data.kind):
                raise StudyError(why)


def default_store(study: Study) -> Path:
    """Where a study's results go unless told otherwise."""
    return Path("results") / study.name
