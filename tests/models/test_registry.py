"""Registered names lead to code, and planning with them never loads torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models.cell import registry


@pytest.mark.parametrize(
    "module", ["models", "models.cell", "models.cell.registry", "models.evaluation.settings", "models.cell.size"]
)
def test_describing_cells_needs_no_torch(module):
    """In a fresh process; neither does computing an id or a size."""
    code = f"import {module}, sys; from models.cell import Cell, cell_id, cell_size;"
    code += " c = Cell(data='mnist', latents='4-4', seed=0); cell_id(c); cell_size(c);"
    code += " sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_registered_name_has_its_code():
    """Targets can be imported; data sets carry a SHA-256, but for those whose options say one."""
    for name in ("network", "objective", "procedure"):
        for entry in registry.REGISTRIES[name].values():
            assert callable(entry.load()) and entry.semantics >= 1
    for entry in registry.DATASETS.values():
        assert callable(entry.load())
        assert not entry.digest if entry.declared() else len(entry.digest) == 64 and int(entry.digest, 16)


def test_data_sets_have_digests_of_their_own():
    """No two names stand for the same images."""
    assert len({entry.digest for entry in registry.DATASETS.values()}) == len(registry.DATASETS)
