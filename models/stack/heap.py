"""Freed memory stays with the process: a training step takes and frees the same blocks each time.

The GNU C library gives what is freed back to the system once some blocks together are large, and the next step has the
same pages mapped and cleared anew: of small models' stacks a tenth of a step or more (`python -m benchmarks heap`).
"""

from __future__ import annotations

import ctypes
import resource

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of the parameters in <malloc.h>
_NEVER, _USUAL = -1, 128 << 10  # bytes that are free at the heap's end when they are given back
_LARGEST = 32 << 20  # bytes; larger blocks go back one by one, because what is between kept ones cannot be used again

_short = False  # memory has run out in this process


def keep_freed_memory() -> None:
    """For the rest of this process; nothing where another C library is in use, or memory has run out in it.

    Nor where its address space is limited: what is kept could be mapped by nobody else.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    if mallopt is not None and not limited and not _short:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def give_freed_memory_back() -> None:
    """Now, and for the rest of this process: memory has run out, and others than this library want some too."""
    global _short
    _short = True
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_TRIM_THRESHOLD, _USUAL)
        library.malloc_trim(0)
