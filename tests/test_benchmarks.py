"""Timings are no tests, but what they import has to be there."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks.convolutions import WAYS
from benchmarks.floor import Kernel

OURS = "models", "sweeper", "benchmarks"
STRIDED = Kernel(rows=3, inputs=2, outputs=5, size=(3, 3), of_data=False, fixed=False, side=4, stride=2, zeros=1)
MASKED = Kernel(rows=3, inputs=2, outputs=5, size=(2, 3), of_data=False, fixed=False, side=4)
FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_imports(path):
    """Wherever in the file: most is imported when it is needed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or import_module(f"{node.module}.{alias.name}"), alias.name


@pytest.mark.parametrize("kernel", [STRIDED, MASKED], ids=["strided", "masked"])
@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_convolve_compute_the_same(way, kernel):
    sides = [kernel.stride * kernel.side + (0 if kernel.zeros else size - 1) for size in kernel.size]
    x, w = torch.randn(2, kernel.rows, kernel.inputs, *sides), torch.randn(2, 5, kernel.inputs, *kernel.size)
    expected = torch.stack([torch.conv2d(a, b, None, kernel.stride, kernel.zeros) for a, b in zip(x, w, strict=True)])
    prepare, compute = WAYS[way]
    found = compute(*prepare(x, w), kernel, 2)
    if len(found) == kernel.rows:  # the maps of all cells side by side
        found = found.unflatten(1, (2, -1)).transpose(0, 1)
    torch.testing.assert_close(found.reshape(expected.shape), expected)
