"""Results on stdout, everything else on stderr: lines, tables and JSON, on streams whose reader may go away."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn, TextIO

JSON_VERSION = 1  # of what --json prints


def show(text: str) -> bool:
    """A result, to stdout; whether somebody may read it."""
    return write_line(text, sys.stdout)


def say(text: str) -> bool:
    """Anything else, to stderr; whether somebody may read it."""
    return write_line(text, sys.stderr)


def say_at_once(text: str) -> None:
    """Anything to stderr from the handler of a signal, which may have come in the middle of another line."""
    with suppress(OSError):
        os.write(2, text.encode())


def show_json(value: Any) -> None:
    """One JSON document, to stdout."""
    ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()  # JSON has escapes of its own
    show(json.dumps(_finite(value), ensure_ascii=ascii_only, indent=2, allow_nan=False))


def show_json_line(value: Any) -> bool:
    """One JSON document on a line of its own, to stdout; whether somebody may read it."""
    return show(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_lines(lines: Iterable[str]) -> None:
    """Results, to stdout."""
    for line in lines:
        show(line)


def show_table(header: list[str], rows: list[list[str]]) -> None:
    """A table, to stdout: as wide as the terminal, or 160 columns where there is none."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    console = Console(width=None if on_terminal else 160, force_terminal=on_terminal)  # whatever FORCE_COLOR says
    with console.capture() as printed:
        console.print(table)
    show("\n".join(line.rstrip() for line in printed.get().splitlines()))


def fail(message: str, code: int) -> NoReturn:
    """End with a line and an exit code; under --debug the traceback of what is being handled comes first."""
    if os.environ.get("SWEEPER_DEBUG"):
        say(traceback.format_exc().rstrip("\n"))
    say(message)
    sys.exit(code)


def write_line(text: str, stream: TextIO | None) -> bool:
    """A line, at once; whether somebody may read it.

    A reader that went away, as in `| head -1` or a closed terminal, ends the printing and not the process. Raises
    OSError where what was printed should have been kept, as on a full disk.
    """
    if stream is None:  # it was closed before we started
        return False
    try:
        print(text, file=stream, flush=True)
    except OSError as fault:
        number = stream.fileno()
        terminal = stat.S_ISCHR(os.fstat(number).st_mode)
        _silence(stream)
        if fault.errno != errno.EPIPE and not (fault.errno == errno.EIO and terminal):
            raise
        return False
    return True


def flush(stream: TextIO | None) -> None:
    """Write what a stream still holds, if that is possible: Python's own attempt at its end would set the exit code."""
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except OSError:
        _silence(stream)


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
