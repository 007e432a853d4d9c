"""How far a store is, in full or as one line, and how far each of its running stacks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sweeper.cli.words.refinement import refinement_lines
from sweeper.status import Status
from sweeper.store.lock import describe
from sweeper.wording import duration, plural


def status_lines(status: Status) -> list[str]:
    """A store as it stands."""
    committed = plural(status.committed, "cell")
    lines = [f"{status.store}: {committed} committed, {status.diverged} of them diverged"]
    if status.counts is not None:
        share = f" ({_percent(status)})" if status.missing else ""
        lines.append(f"{status.study}: {status.done:,} of {plural(status.asked, 'cell')} done{share}")
    elif status.study_fault:
        lines.append(f"what its study asks for is unknown: {status.study_fault}")
    lines += refinement_lines(status.refinement)
    if status.in_use_by:
        lines.append(f"running: {describe(status.in_use_by)}")
        for note in status.running:
            age = max(0.0, time.time() - note["at"])
            title = f"  {note['data']} {note['architecture']} × {note['cells']}"
            lines.append(f"{title}: {stack_sentence(note)} ({duration(age)} ago)")
    else:
        lines.append("no run in progress")
    for failure in status.failures:
        lines.append(f"failed: {failure['cell_id']}: {failure['reason']} (log: {failure['log']})")
    for fault in status.aside:
        lines.append(f"quarantined: {fault['path']}: {fault['reason']}")
    return lines


def status_sentence(found: Status) -> str:
    """A store under a run in one line."""
    said = f"{plural(found.committed, 'cell')} committed"
    if found.counts is not None:
        said = f"{found.done:,} of {plural(found.asked, 'cell')} done ({_percent(found)})"
    failed = f", {len(found.failures):,} failed" if found.failures else ""
    return f"{said}, {plural(len(found.running), 'stack')} running{failed}"


def _percent(status: Status) -> str:
    return f"{100 * (status.share_of_work_done or 0):.0f} % of the work"


def stack_sentence(note: Mapping[str, Any]) -> str:
    """What a running stack is doing, from its progress in the store."""
    if note["phase"] == "compiling":
        return "compiling, once on this machine"
    if note["phase"] != "training":
        return f"{note['phase']} after step {note['step']:,}"
    pace = f", {1e3 * note['stack_step_s'] / note['cells']:.1f} ms per cell-step" if note.get("stack_step_s") else ""
    return f"step {note['step']:,} of {note['steps']:,}{pace}"
