"""Timings are no tests, but what they import has to be there."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

OURS = "models", "sweeper", "benchmarks"
FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_imports(path):
    """Wherever in the file: most is imported when it is needed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or import_module(f"{node.module}.{alias.name}"), alias.name
