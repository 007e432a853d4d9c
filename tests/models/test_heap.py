"""Freed memory is kept: asked of the system, which counts the pages that it had to map."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PAGES_OF_A_STEP = """
import resource, torch
from models.cell import Cell
from models.data import load
from models.stack.heap import keep_freed_memory
from models.stack.stack import Stack

torch.set_num_threads(1)
keep_freed_memory()
common = dict(data="digits", latents="10-10-10", hidden="64-64", objective="ou", seed=0)
stack = Stack([Cell(**common, rho=0.8 + 0.004 * i) for i in range(48)], load("digits"))
stack.train(10)  # by then what is needed has been taken once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
stack.train(20)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs the GNU C library")
def test_a_step_maps_no_memory_anew():
    """Left to itself the library maps some 3,000 pages per step here."""
    done = subprocess.run([sys.executable, "-c", PAGES_OF_A_STEP], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300
