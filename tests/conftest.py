"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that SWEEPER_DATA names; a test that asks for it is skipped where it is unset."""
    given = os.environ.get("SWEEPER_DATA")
    if not given:
        pytest.skip("real data: set SWEEPER_DATA to the folder that has mnist/, binarized_mnist/ and omniglot/")
    return Path(given)
