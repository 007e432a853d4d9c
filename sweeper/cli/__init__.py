"""The command line: everything that speaks to people. Modules load when a command needs them.

A result has `to_dict()`, and what `--json` prints is that; its words for people are in `sweeper.cli.words`. Results go
to stdout, everything else to stderr (`sweeper.cli.output`).

Exit codes: 0 done, 1 cells or a comparison failed, 2 usage or study error, 65 store damaged or newer, 69 no
workers, 74 input or output failed, 75 store in use; interrupted, checkpoints written, 128 + the signal's number: 130
Ctrl-C, 143 SIGTERM.
"""

from sweeper.cli.commands import app
from sweeper.cli.entry import main

__all__ = ["app", "main"]
