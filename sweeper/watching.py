"""`sweeper status --watch`: a store looked at again and again, until the run on it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sweeper.cloud import PUSH_S, to_read, url_of
from sweeper.errors import StudyError
from sweeper.machine import ANYWHERE
from sweeper.planning import make_plan
from sweeper.progress import PLAIN_LINE_S
from sweeper.show import status_dict, status_lines
from sweeper.store import Store
from sweeper.study import load_study
from sweeper.wording import plural

LOOK_S = 1.0  # between looks; a large store is looked at less often


def look(store: Path) -> dict[str, Any]:
    """The store as it stands, as plain values."""
    opened = Store.open(to_read(store))
    made, fault = None, None
    try:
        study = load_study(opened.paths.study) if opened.paths.study.exists() else None
        made = make_plan(study, opened, ANYWHERE) if study else None
    except StudyError as error:  # of another version, or edited: what is committed can be told all the same
        fault = str(error)
    return status_dict(made, opened, fault)


def states(store: Path) -> Iterator[dict[str, Any]]:
    """The store at each look, up to the first at which no run goes on.

    A run on a store in a bucket may be on another machine, where it cannot be seen: then until nothing is missing.
    """
    bucket = url_of(store) is not None
    while True:
        begun = time.monotonic()
        found = look(store)
        yield found
        if not found["in_use_by"] and not (bucket and found["missing"]):
            return
        time.sleep(max(PUSH_S if bucket else LOOK_S, 20 * (time.monotonic() - begun)))


def watch_changes(store: Path, show: Callable[[Any], bool]) -> None:
    """Hand `show` each state that is not what was seen before but for the time of looking, until it says no."""
    before = None
    for found in states(store):
        said = found | {"running": [{k: v for k, v in note.items() if k != "at"} for note in found["running"]]}
        if said != before and not show(found):
            return
        before = said


def watch_lines(store: Path, show: Callable[[str], bool]) -> None:
    """Hand `show` a line where cells were finished or failed, and every half minute, then the last state in full."""
    before, next_line, found = None, 0.0, None
    for found in states(store):
        news = found["committed"], found["missing"], len(found["failures"]), len(found["running"])
        if found["in_use_by"] and (news != before or time.monotonic() >= next_line):
            before, next_line = news, time.monotonic() + PLAIN_LINE_S
            if not show(_sentence(found)):
                return
    for line in status_lines(found or look(store)):
        if not show(line):
            return


def watch_screen(store: Path, console: Console) -> None:
    """Show the store in place on a terminal, and leave the last state there."""
    with Live(console=console, auto_refresh=False) as live:
        for found in states(store):
            live.update(Text("\n".join(status_lines(found))), refresh=True)


def _sentence(found: dict[str, Any]) -> str:
    """A store under a run in one line."""
    said = f"{plural(found['committed'], 'cell')} committed"
    if found["counts"] is not None:
        asked = sum(found["counts"].values())
        done = f"{asked - found['missing']:,} of {plural(asked, 'cell')} done"
        said = f"{done} ({100 * found['share_of_work_done']:.0f} % of the work)"
    failed = f", {len(found['failures']):,} failed" if found["failures"] else ""
    return f"{said}, {plural(len(found['running']), 'stack')} running{failed}"
