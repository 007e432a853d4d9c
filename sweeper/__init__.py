"""Trains grids of hierarchical variational autoencoders, survives being killed, and finds where they collapse.

cells = sweeper.load("results/phase_mnist")
curves = sweeper.load("results/phase_mnist", "history")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.source import claim

if TYPE_CHECKING:
    from pathlib import Path

    import pandas

claim()

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(store: str | Path, what: str = "cells") -> pandas.DataFrame:
    """The results of a store as a data frame; works without a lock, also while a run goes on.

    `what`: `cells`, one row a finished cell, or `history`, one row a cell and evaluated step; docs/columns.md describes
    the columns. Damaged files are left out with a warning that names them. Raises StoreUnwritable if there is no store,
    StoreNewer if a later version wrote it.
    """
    from sweeper.cloud import to_read
    from sweeper.store import Store

    opened = Store.open(to_read(store))
    return {"cells": opened.cells, "history": opened.history}[what]()
