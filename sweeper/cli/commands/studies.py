"""What is done with a study: `sweeper run`, `plan` and `schema`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.commands.opening import open_study, remembered, show_drawn
from sweeper.cli.options import Debug, Json, Sets, StoreOption, StudyPath
from sweeper.cli.output import JSON_VERSION, say, say_at_once, show, show_json, show_lines, show_table

if TYPE_CHECKING:
    from sweeper.analysis.report import Report
    from sweeper.planning import Plan
    from sweeper.planning.estimate import Cost
    from sweeper.store import Damaged
    from sweeper.study import Study

Executors = Annotated[
    str | None, typer.Option("--executor", help="ray, or inline: in this process.  [default: the study's]")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Stacks trained at a time; 0: as the machine allows.")
]


def run(
    study: StudyPath,
    store: StoreOption = None,
    overrides: Sets = None,
    executor: Executors = None,
    workers: Workers = None,
    address: Annotated[
        str | None, typer.Option(help="Join the Ray cluster at HOST:PORT; auto: the one on this machine.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train what is missing of a study; run it again to go on after an interruption."""
    from sweeper.cloud import to_run
    from sweeper.run import default_store

    loaded = open_study(study, overrides, executor, workers)
    with to_run(store or default_store(loaded)) as folder:
        _run(loaded, folder, address, as_json)


def _run(loaded: Study, store: Path, address: str | None, as_json: bool) -> None:
    from sweeper.cli.progress import Watch
    from sweeper.cli.words.plan import changed_lines, plan_lines, settled_lines
    from sweeper.cli.words.run import STOPPING, failure_lines, unreported_lines
    from sweeper.drawn import drawn_before
    from sweeper.executors import cluster_at, executor_for
    from sweeper.planning.settled import settled
    from sweeper.run import StopRequest, run_study
    from sweeper.store import Store

    again = f"sweeper report {shlex.quote(str(store))}"
    where = cluster_at(loaded, address)
    opened = Store.open(store, create=True)
    asked, loaded = loaded, settled(loaded, opened)
    changes = settled_lines(asked, loaded) + changed_lines(loaded, opened)

    def announce(plan: Plan, damaged: tuple[Damaged, ...]) -> None:
        for line in [*plan_lines(plan, opened, damaged), *changes]:
            say(line)

    stop = StopRequest(told=lambda: say_at_once(STOPPING))
    outcome = run_study(loaded, opened, lambda plan: executor_for(plan, address), announce, Watch, where, stop, say)
    found: Report | None = None
    drawn = None if outcome.before.missing else drawn_before(loaded, opened)
    try:
        if drawn is None:
            from sweeper.report import write_report

            found = write_report(loaded, opened)
            drawn = remembered(found, opened, loaded)
        elif not as_json:
            say(f"its report is left as it is, as nothing has changed since ({again} draws it again)")
    except KeyboardInterrupt:
        say("interrupted: the results are whole, their report was not written")
        say(f"next: {again}")
        raise
    except Exception as error:  # the results are safe, and which cells failed is still to be said
        unreported: Exception | None = error
    else:
        unreported = None
    if as_json:
        failures = [{"cell_id": f.cell_id, "traceback": f.traceback, "log": f.log} for f in outcome.failures]
        report = {"failures": failures, "report": drawn and drawn.report}
        show_json({"json_version": JSON_VERSION} | outcome.after.to_dict() | report)
    elif drawn is not None:
        show_drawn(drawn)
        show(f"next: {again}")
    for line in failure_lines(outcome):
        say(line)
    if unreported is not None:
        for line in unreported_lines(unreported, opened):
            say(line)
    if found is not None and found.unwritten:
        say(f"the results are whole, but {found.unwritten}")
    unfinished = bool(outcome.after.missing or outcome.failures)
    if unfinished or drawn is None or (found and found.unwritten):
        raise typer.Exit(1 if unfinished else 74 if drawn is not None else getattr(unreported, "exit_code", 1))


def plan(
    study: StudyPath,
    store: StoreOption = None,
    overrides: Sets = None,
    probe: Annotated[bool, typer.Option("--probe", help="Time a few steps of each shape here, to estimate.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run would do, why, and what it would cost; nothing is trained or written."""
    from sweeper.cli.words.plan import PLAN_HEADER, cost_lines, plan_lines, plan_table, run_line, settled_lines
    from sweeper.cloud import to_read
    from sweeper.planning import estimate, make_plan
    from sweeper.run import default_store, fetch_data
    from sweeper.store import Store

    loaded = open_study(study, overrides)
    root = default_store(loaded) if store is None else to_read(store, missing_ok=True)
    empty = not root.exists() or (root.is_dir() and next(root.iterdir(), None) is None)
    opened = None if empty else Store.open(root)
    made = make_plan(loaded, opened)
    cost: Cost | None
    if probe:
        fetch_data(made)
        cost = estimate.estimate(made, estimate.probe(made), "from steps measured just now")
    else:
        cost = estimate.estimate(made, estimate.times_of(made, opened), "from cells finished earlier")
    if as_json:
        show_json(
            {"json_version": JSON_VERSION} | made.to_dict(None if cost is None else vars(cost)) | {"store": str(root)}
        )
        return
    show_lines([*plan_lines(made, opened), *settled_lines(loaded, made.study), *cost_lines(made, cost)])
    show_table(PLAN_HEADER, plan_table(made.items))
    if made.missing:
        show(run_line(study, store, overrides or ()))


def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from sweeper.study import json_schema

    show_json(json_schema())
