"""Figure 1 of the paper, left panel, from nothing to the critical ρ: wall time of the whole run in each precision.

`studies/figure1.yaml`, run as a user runs it; meant for a GPU. Beside each time stands what came out, because a faster
precision that moves the critical ρ would be another experiment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import sweeper
from benchmarks.measure import circumstances, table

STUDY = Path(__file__).parents[1] / "studies" / "figure1.yaml"


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--precisions", nargs="+", default=["float32", "tf32"], help="[default: float32 tf32]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the study")
    parser.add_argument("--keep", type=Path, help="folder for the stores, one a precision  [default: none is kept]")


def run(args: Namespace) -> None:
    """One row per precision and data set."""
    with tempfile.TemporaryDirectory() as folder:
        rows: list[list[str]] = []
        device = ""
        for precision in args.precisions:
            store = (args.keep or Path(folder)) / precision
            report, seconds = _run(store, precision, args.set)
            cells = sweeper.load(store)
            device = cells.device_name.iloc[0]
            steps = cells.step.sum() / seconds
            rate = [precision, f"{seconds / 60:.1f}", f"{steps:,.0f}"]
            rows += [[*rate, str(len(cells)), curve["data"], _value(curve["onset"])] for curve in report["curves"]]
        circumstances(f"Trained on: {device}. Once each, start and report included.")
    header = [
        "precision",
        "minutes of the run",
        "cell-steps per second",
        "cells",
        "data",
        "critical ρ (with half a step)",
    ]
    table(header, rows)


def _run(store: Path, precision: str, sets: list[str]) -> tuple[dict[str, Any], float]:
    words = [word for each in [f"cells.precision={precision}", *sets] for word in ("--set", each)]
    command = [sys.executable, "-m", "sweeper", "run", str(STUDY), "--store", str(store), *words, "--json"]
    begun = time.perf_counter()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(printed)["report"]
    return found, time.perf_counter() - begun


def _value(onset: dict[str, Any]) -> str:
    if onset["value"] is None:
        return f"none: {onset['reason']}"
    return f"{onset['value']:.4f} [{onset['low_wide']:.4f}, {onset['high_wide']:.4f}]"
