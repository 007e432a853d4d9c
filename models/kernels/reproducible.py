"""Matrix products whose bits do not depend on how many are multiplied at a time, on processors of every make.

PyTorch on x86 multiplies with Intel's MKL. On Intel's processors it takes the same kernel for a product alone and for
one of a batch; on others it may not: on an AMD EPYC (AVX2), 36 of 810 small shapes had other last bits in a batch of
three than alone, so that a cell's numbers depended on its stack. MKL's mode of conditional numerical reproducibility
(its variable `MKL_CBWR`) mends that (0 of 810), at no cost that could be measured. It has to be set before the process
multiplies for the first time."""

from __future__ import annotations

import os
from pathlib import Path

_VARIABLE, _MODE = "MKL_CBWR", "AUTO"


def fix_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Ask MKL for reproducible kernels, in this process and those that it starts, unless the processor is Intel's or
    the user has asked for another mode. Nothing where it cannot be told whose processor it is."""
    try:
        with cpuinfo.open() as file:
            vendor = next((line.split(":")[1].strip() for line in file if line.startswith("vendor_id")), "")
    except OSError:
        return
    if vendor and vendor != "GenuineIntel":
        os.environ.setdefault(_VARIABLE, _MODE)
