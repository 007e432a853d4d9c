"""`sweeper.train`: a run from a script or a notebook, which leaves the process as it found it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import load
from sweeper.cli.output import say, say_at_once
from sweeper.cli.progress import Watch
from sweeper.cli.words.plan import plan_lines
from sweeper.cli.words.run import STOPPING, failure_lines
from sweeper.cloud import to_read, to_run, url_of
from sweeper.errors import CellsFailed, Interrupted, SweeperError
from sweeper.executors import cluster_at, executor_for
from sweeper.planning import Plan
from sweeper.planning.settled import settled
from sweeper.run import Outcome, StopRequest, default_store, run_study
from sweeper.store import Damaged, Failure, Store
from sweeper.study import Study, study_from
from sweeper.wording import plural

if TYPE_CHECKING:
    import pandas

    from sweeper.analysis.report import Report

LINE_S = 10.0  # between plain lines of progress: in a notebook somebody is looking
OWN = ("RAY_", "TUNE_", "PYTHONBREAKPOINT")  # beginnings of the variables that a run, or Ray itself, sets


@dataclass(frozen=True, repr=False)
class Trained:
    """What a run left in its store.

    - `study`: as it was loaded; `store`: its folder, absolute, or its URI.
    - `asked`, `done`, `diverged`: cells asked for, and how many of them are finished, or diverged (which is a result).
    - `trained`: cells that were finished by this run; `failures`: those that failed, each with its traceback and log.
    """

    study: Study
    store: str
    asked: int
    done: int
    diverged: int
    trained: int
    failures: tuple[Failure, ...]
    cell_ids: tuple[str, ...] = field(default=())

    @property
    def missing(self) -> int:
        """Cells without a result."""
        return self.asked - self.done - self.diverged

    @cached_property
    def cells(self) -> pandas.DataFrame:
        """The rows of the study's cells, as `sweeper.load` has them; read when first asked for."""
        return self._asked_of("cells")

    @cached_property
    def history(self) -> pandas.DataFrame:
        """Their rows along the way."""
        return self._asked_of("history")

    @cached_property
    def critical(self) -> pandas.DataFrame:
        """The table of critical values, as `sweeper.critical` makes it, under the study's analysis."""
        from sweeper.analysis.frames import critical_values

        asked = self.study.analysis
        return critical_values(
            self.cells,
            control=asked.control,
            collapsed=asked.collapsed,
            reference=asked.uncollapsed,
            order_parameter=asked.order_parameter,
            history=self.history,
        )

    def report(self) -> Report:
        """What `sweeper report` finds: the critical values with intervals, warnings and checks, in sentences
        (`headline()`) and as plain values (`to_dict()`). Tables, figures and the page (`page`) are written into
        `analysis/` of the store. Raises StoreUnwritable where rows cannot be read."""
        from sweeper.report import write_report

        opened = Store.open(to_read(self.store))
        return write_report(settled(self.study, opened), opened)

    def _asked_of(self, what: str) -> pandas.DataFrame:
        rows = load(self.store, what)
        return rows[rows["cell_id"].isin(self.cell_ids)].reset_index(drop=True)

    def __repr__(self) -> str:
        counts = f"{self.done:,} of {plural(self.asked, 'cell')} done, {self.trained:,} of them by this run"
        counts += f", {self.diverged:,} diverged" if self.diverged else ""
        counts += f", {self.missing:,} missing" if self.missing else ""
        return f"<{self.study.name}: {counts}; results in {self.store}>"


def train(
    study: Study | Mapping[str, Any] | Path | str,
    store: Path | str | None = None,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    progress: bool = True,
    raise_failures: bool = True,
) -> Trained:
    """Train what is missing of a study: see `sweeper.train`."""
    loaded = study_from(study, overrides)
    _refuse_running_ray(loaded)
    place = default_store(loaded) if store is None else Path(os.path.expanduser(store))
    where = cluster_at(loaded, address)
    with to_run(place) as folder, _process_kept(loaded):
        opened = Store.open(folder, create=True)
        try:
            outcome = run_study(
                loaded,
                opened,
                lambda plan: executor_for(plan, address),
                partial(_announce, opened) if progress else lambda plan, damaged: None,
                _watch if progress else None,
                where,
                StopRequest(second=_interrupt, told=lambda: say_at_once(STOPPING)),
                say,
            )
        except Interrupted as stopped:
            if stopped.exit_code == 128 + signal.SIGINT:  # as Ctrl-C ends whatever else a program does
                raise KeyboardInterrupt(str(stopped)) from stopped
            raise
    found = _trained(loaded, url_of(place) or str(place.absolute()), outcome)
    if raise_failures and (found.missing or found.failures):
        raise CellsFailed("\n".join(failure_lines(outcome)), found)
    return found


def _trained(study: Study, store: str, outcome: Outcome) -> Trained:
    before, after = outcome.before, outcome.after
    return Trained(
        study=study,
        store=store,
        asked=len(after.items),
        done=after.counts.get("done", 0),
        diverged=after.counts.get("diverged", 0),
        trained=len(after.items) - len(after.missing) - (len(before.items) - len(before.missing)),
        failures=outcome.failures,
        cell_ids=tuple(item.cell_id for item in after.items),
    )


def _announce(store: Store, plan: Plan, damaged: tuple[Damaged, ...]) -> None:
    for line in plan_lines(plan, store, damaged):
        say(line)


def _watch(plan: Any, store: Store) -> Any:
    return Watch(plan, store, LINE_S)


def _interrupt(number: int) -> None:
    """What a second signal does: the process is not ours to end."""
    raise KeyboardInterrupt


def _refuse_running_ray(study: Study) -> None:
    """Raise SweeperError where this process uses Ray already: a run has one of its own, and a process one at a time."""
    ray = sys.modules.get("ray")
    if study.run.executor == "ray" and ray is not None and ray.is_initialized():
        raise SweeperError(
            "this process uses Ray already, and a run starts one of its own: ray.shutdown() first, or "
            'overrides=["run.executor=inline"]'
        )


@contextmanager
def _process_kept(study: Study) -> Iterator[None]:
    """The threads of torch and the variables of Ray are afterwards what they were before."""
    before = {name: value for name, value in os.environ.items() if name.startswith(OWN)}
    threads = None
    if study.run.executor == "inline":
        import torch

        threads = torch.get_num_threads()
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(threads)
        for name in [name for name in os.environ if name.startswith(OWN) and name not in before]:
            del os.environ[name]
        os.environ.update(before)
