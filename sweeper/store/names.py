"""What the files of a store may be called.

A diverged cell has no evaluation: its file is `<cell id>-<steps>-diverged.parquet`. That of a cell whose schedule
ended at these steps is `<cell id>-<steps>-<evaluation id>-ended.parquet`. Names are checked before they become paths,
so nothing written by a name can leave the store.
"""

from __future__ import annotations

import re

DIVERGED, ENDED = "diverged", "-ended"  # of files' names
CELL_ID = re.compile(r"[0-9a-f]{8,64}")
EVALUATION_ID = re.compile(r"[0-9a-f]{4,64}")
ATTEMPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
ROW_FILE = re.compile(r"([0-9a-f]{8,64})-([0-9]{9,12})-([0-9a-f]{4,64}(?:-ended)?|diverged)\.parquet")
PART_FILE = re.compile(r"part-([0-9]{6}|[0-9a-f]{16})\.parquet")
RECORD_FILE = re.compile(r"([0-9]{9,12})\.json")
REASON = ".reason.json"


def checked(name: str, pattern: re.Pattern[str], what: str) -> str:
    """`name`, if all of it matches `pattern`; else ValueError."""
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ValueError(f"{what} should match {pattern.pattern}, got {name!r}")
    return name


def row_name(cell_id: str, steps: int, evaluation_id: str | None, ended: bool = False) -> str:
    """The name of a cell's row and history file; `evaluation_id` None: diverged. Raises ValueError."""
    checked(cell_id, CELL_ID, "cell id")
    ending = (
        DIVERGED if evaluation_id is None else checked(evaluation_id, EVALUATION_ID, "evaluation id") + ENDED * ended
    )
    return f"{cell_id}-{step_name(steps)}-{ending}.parquet"


def picture_name(row: str) -> str:
    """The name of the pictures that go with the row's file `row`. Raises ValueError."""
    return checked(row, ROW_FILE, "a row's file").removesuffix(".parquet") + ".png"


def step_name(step: int) -> str:
    """`step` as it stands in file names, so that names sort as numbers do. Raises ValueError."""
    if not 0 <= step < 10**12:
        raise ValueError(f"a number of steps should be in [0, 10^12), got {step!r}")
    return f"{step:09d}"
