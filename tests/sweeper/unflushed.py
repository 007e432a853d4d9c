"""Files are not flushed to the disk where no test cuts the power, which is most of the time that small stores take.

A process that crashes or is killed leaves to the system whatever it has written, flushed or not. That `fsync` is called
where it should be, `faulty` and `crashing` see all the same: they count it among the calls at which a process dies.
Commands that tests start as `python -m sweeper`, and Ray's workers, flush.
"""

import os


def do_not_flush() -> None:
    """In this process, and in those forked from it."""
    os.fsync = os.fstat  # which fails at a closed file as well
