"""The entry point of `sweeper`: errors become one line and an exit code, tracebacks only with --debug."""

from __future__ import annotations

import gc
import io
import os
import sys
import warnings

from sweeper.cli.commands import app
from sweeper.cli.output import fail, flush, say

# Cells live as long as the command: with Python's 700 a tenth of planning ten thousand is looking for garbage.
OBJECTS_BETWEEN_COLLECTIONS = 100_000


def main() -> None:
    """Run the command that `sys.argv` names, and end with its exit code."""
    from sweeper.environment import forget_others
    from sweeper.errors import SweeperError

    forget_others()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ρ gets \u03c1, not a traceback
    warnings.showwarning = _say_warning
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries end in ways of their own then
        fail("the current folder is no longer there: change to another one", 74)
    try:
        app()
    except SweeperError as error:
        fail(str(error), error.exit_code)
    except OSError as error:
        fail(str(error), 74)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    finally:
        for stream in (sys.stdout, sys.stderr):
            flush(stream)  # what other writers left there, as bars on a terminal that was closed
        gc.freeze()  # the interpreter would search all of PyTorch and Ray for garbage before it ends: 1.5 seconds


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"warning: {message}")
