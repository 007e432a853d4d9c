"""`sweeper status --watch`: a store looked at again and again, until the run on it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sweeper.cli.progress import PLAIN_LINE_S
from sweeper.cli.words.status import status_lines, status_sentence
from sweeper.cloud import PUSH_S, url_of
from sweeper.status import Status, look

LOOK_S = 1.0  # between looks; a large store is looked at less often


def states(store: Path) -> Iterator[Status]:
    """The store at each look, up to the first at which no run goes on.

    A run on a store in a bucket may be on another machine, where it cannot be seen: then until nothing is missing.
    """
    bucket = url_of(store) is not None
    while True:
        begun = time.monotonic()
        found = look(store)
        yield found
        if not found.in_use_by and not (bucket and found.missing):
            return
        time.sleep(max(PUSH_S if bucket else LOOK_S, 20 * (time.monotonic() - begun)))


def watch_changes(store: Path, show: Callable[[Status], bool]) -> None:
    """Hand `show` each state that is not what was seen before but for the time of looking, until it says no."""
    before = None
    for found in states(store):
        said = replace(found, running=[{k: v for k, v in note.items() if k != "at"} for note in found.running])
        if said != before and not show(found):
            return
        before = said


def watch_lines(store: Path, show: Callable[[str], bool]) -> None:
    """Hand `show` a line where cells were finished or failed, and every half minute, then the last state in full."""
    before, next_line, found = None, 0.0, None
    for found in states(store):
        news = found.committed, found.missing, len(found.failures), len(found.running)
        if found.in_use_by and (news != before or time.monotonic() >= next_line):
            before, next_line = news, time.monotonic() + PLAIN_LINE_S
            if not show(status_sentence(found)):
                return
    for line in status_lines(found or look(store)):
        if not show(line):
            return


def watch_screen(store: Path, console: Console) -> None:
    """Show the store in place on a terminal, and leave the last state there."""
    with Live(console=console, auto_refresh=False) as live:
        for found in states(store):
            live.update(Text("\n".join(status_lines(found))), refresh=True)
