"""Lines for people and for other programs, on streams whose reader may go away."""

from __future__ import annotations

import errno
import os
import stat
from typing import TextIO


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
