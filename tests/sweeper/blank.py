"""Figures that are made and saved empty: saving takes longer than all the rest of a report, and has its own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def blank(figure: Any, folder: Path, name: str) -> list[Path]:
    """In place of `sweeper.analysis.figures.save`."""
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg", "pdf")]
    for path in paths:
        path.touch()
    return paths
