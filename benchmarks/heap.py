"""What keeping freed memory is worth: training with it over training without, in processes of their own by turns."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from typing import Any

from benchmarks.measure import circumstances, ratio, table
from benchmarks.workload import MODELS, cells, images

STACKS = {"4x40": 12, "64-32-16-8": 12, "2x10": 48, "quickstart": 48}


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["4x40", "quickstart"])
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=5.0, help="of training, each  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=5, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """One row per model; memory is the process's at its peak."""
    circumstances(f"Batch {args.batch}, one thread, median of {args.repeats} rounds of {args.seconds:g} s.")
    rows = []
    for model in args.models:
        found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        for number in range(args.repeats):
            for kept in (True, False) if number % 2 else (False, True):
                found[kept].append(_apart(model, args.batch, args.seconds, kept))
        times, faults, peaks = (
            [[each[what] for each in found[kept]] for kept in (True, False)] for what in ("cpu", "faults", "peak")
        )
        pages = [f"{statistics.median(each):,.0f}" for each in faults]
        rows.append([f"{model}, {STACKS[model]} cells", ratio(*times), *pages, ratio(*peaks)])
    header = [
        "kept ÷ given back",
        "CPU time of a step (lowest–highest)",
        "page faults a step, kept",
        "given back",
        "peak",
    ]
    table(header, rows)


def _apart(*given: Any) -> dict[str, float]:
    code = f"from benchmarks.heap import train; import json; print(json.dumps(train(*{given!r})))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def train(model: str, batch: int, seconds: float, kept: bool) -> dict[str, float]:
    """Processor seconds and page faults of a step, and the most memory of this process in bytes."""
    import torch

    from models.stack.heap import keep_freed_memory
    from models.stack.stack import Stack

    torch.set_num_threads(1)
    if kept:
        keep_freed_memory()
    stack = Stack(cells(model, STACKS[model], batch_size=batch), images(model))
    stack.train(3)
    first, begun, faults = stack.step, time.thread_time(), _usage().ru_minflt
    while time.thread_time() - begun < seconds:
        stack.train(stack.step + 1)
    steps = stack.step - first
    return {
        "cpu": (time.thread_time() - begun) / steps,
        "faults": (_usage().ru_minflt - faults) / steps,
        "peak": float(_usage().ru_maxrss),
    }


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)
