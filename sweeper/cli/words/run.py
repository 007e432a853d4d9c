"""What a run says when it is asked to stop, and at its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sweeper.wording import last_line, plural

if TYPE_CHECKING:
    from sweeper.run import Outcome
    from sweeper.store import Store

STOPPING = "\nstopping: writing checkpoints; press Ctrl-C again to quit now\n"
MAX_NAMED = 10  # failed cells that are named one by one


def failure_lines(outcome: Outcome) -> list[str]:
    """What a run could not do, cell by cell: reason and log."""
    lines = [f"failed: {f.cell_id}: {last_line(f.traceback)} (log: {f.log})" for f in outcome.failures]
    known = {failure.cell_id for failure in outcome.failures}
    lines += [f"not finished: {i.cell_id}: {i.why}" for i in outcome.after.missing if i.cell_id not in known]
    if not lines:
        return []
    more = [f"… and {len(lines) - MAX_NAMED} more"] if len(lines) > MAX_NAMED else []
    return [*lines[:MAX_NAMED], *more, f"{plural(len(lines), 'cell')} failed; the next run retries them"]


def unreported_lines(fault: Exception, store: Store) -> list[str]:
    """Lines that say that the report failed and the results did not, and how to see why."""
    return [
        f"the results are whole, but their report failed: {type(fault).__name__}: {fault}",
        f"next: sweeper report --debug {shlex.quote(str(store.paths.root))}",
    ]
