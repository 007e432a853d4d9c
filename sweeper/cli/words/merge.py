"""What a merge took from where, and what it left."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sweeper.wording import plural

if TYPE_CHECKING:
    from sweeper.merge import Merged


def merge_lines(merged: Merged) -> list[str]:
    """What a merge took from where, what it could not use, and what it left for the user to know."""
    root = merged.target.paths.root
    lines = [
        f"{'left alone' if fault.left_alone else 'quarantined'} in {root}: {fault}" for fault in merged.quarantined
    ]
    for source, study in zip(merged.sources, merged.studies, strict=True):
        line = f"{source.source}: {plural(source.added, 'cell')} taken"
        if source.replaced:
            line += f", {source.replaced:,} in place of rows with fewer steps or older ones"
        line += f", {source.present:,} already there; {plural(source.states, 'kept state')} taken"
        lines.append(line)
        if source.differing:
            lines.append(
                f"  {plural(len(source.differing), 'cell')} there and here with other numbers (another device or "
                f"another version of the code); those here stay: {', '.join(source.differing[:3])}"
                + (", …" if len(source.differing) > 3 else "")
            )
        lines += [f"  its study asks otherwise: {line}" for line in study]
        lines += [f"  {'' if fault.left_alone else 'damaged, '}not taken: {fault}" for fault in source.damaged]
    lines.append(f"{root}: {plural(len(merged.target.committed()), 'cell')} committed")
    if any(merged.studies):
        lines.append(
            f"its study stays as it was, and `sweeper report` takes the cells that it asks for: run one that asks for "
            f"all of them with --store {shlex.quote(str(root))}"
        )
    return lines
