"""Every error that sweeper raises on purpose, and the exit code of each.

SweeperError            1   cells failed, or a comparison did
├── NoModel             1   a store has no such cell, or no weights of it
├── CellsFailed         1   cells of a study trained from Python failed; the others are done
├── StudyError          2   the study or the command line is wrong: all faults at once, each with its place
├── StoreDamaged       65   files of the store do not match their checksums or schema
│   └── StoreNewer     65   the store was written by a newer version; nothing was touched
├── WorkersUnavailable 69   Ray's workers did not come up, or are none of ours: nothing was trained
├── StoreUnwritable    74   input or output failed: disk full, read-only, vanished
│   └── StoreUnreadable 74   a file that this user may not read: nothing is known of it, so nothing is done about it
├── DataMissing        74   a data set is neither in SWEEPER_DATA nor in the cache, and could not be downloaded
├── StoreInUse         75   another process runs on this store
└── Interrupted       130   Ctrl-C (143: SIGTERM, 129: the terminal closed, …); checkpoints were written
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SweeperError(Exception):
    """Base of all. The message says what happened, where, and what to do next."""

    exit_code = 1


class NoModel(SweeperError, LookupError):
    """There is nothing of which a model could be made; the message says how weights are kept."""


class CellsFailed(SweeperError):
    """Some cells of `sweeper.train` failed or are not finished. `result` is what it would have returned."""

    def __init__(self, message: str, result: Any):
        super().__init__(message)
        self.result = result


class StudyError(SweeperError):
    """Faults of a study, one line each, as `file:line:column: key: what is wrong`."""

    exit_code = 2

    def __init__(self, faults: Sequence[str] | str):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class StoreDamaged(SweeperError):
    """A file of the store is torn, altered or of no known schema."""

    exit_code = 65


class StoreNewer(StoreDamaged):
    """The store was written by a newer sweeper; it was left untouched."""


class WorkersUnavailable(SweeperError):
    """No worker came up in time, or a node of the cluster has none that can do the work; the message says why."""

    exit_code = 69


class StoreUnwritable(SweeperError):
    """Reading or writing failed for a reason outside the program; the message names path and free space."""

    exit_code = 74


class StoreUnreadable(StoreUnwritable):
    """A file of the store may not be read by this user. It is as whole as its owner left it."""


class DataMissing(SweeperError):
    """No usable copy of a data set; the message says which file to put where."""

    exit_code = 74


class StoreInUse(SweeperError):
    """Another process holds the store; the message names host, process and age."""

    exit_code = 75


class Interrupted(SweeperError):
    """Stopped on request, with checkpoints written. `exit_code` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int = 2):
        super().__init__(message)
        self.exit_code = 128 + signal_number
