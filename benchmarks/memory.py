"""What a stack takes of memory against what the planner thinks it takes, and what smoothing adds to the plain VAE.

Each case runs in a process of its own. Measured is how far the process's peak of resident memory rises above where it
stood with everything imported and the data loaded.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from benchmarks.measure import circumstances, in_own_process, table
from benchmarks.workload import CONVOLUTIONAL, MODELS, as_in_a_worker, cells, images
from models.cell import cell_size

STACKS = {
    "4x40": (1, 4, 12), "64-32-16-8": (4,), "quickstart": (12, 48), "conv_digits": (13,), "conv_mnist": (1, 13),
}  # fmt: skip
BATCHES, CONVOLUTIONAL_BATCHES = (64, 128), (32,)
UNIT = 1 if sys.platform == "darwin" else 1024


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument(
        "--models", nargs="+", choices=MODELS | CONVOLUTIONAL, default=list(STACKS), help="[default: %(default)s]"
    )
    parser.add_argument("--steps", type=int, default=4, help="training steps  [default: %(default)s]")


def run(args: Namespace) -> None:
    """One row per case."""
    circumstances("Once each, in processes of their own.")
    rows, smoothed = [], []
    for model in args.models:
        for batch in CONVOLUTIONAL_BATCHES if model in CONVOLUTIONAL else BATCHES:
            for count in STACKS.get(model, (4,)):
                found = in_own_process(
                    "benchmarks.memory", model=model, batch=batch, count=count, steps=args.steps, objective="ou"
                )
                predicted = count * cell_size(cells(model, 1, batch_size=batch)[0]).memory_bytes
                after = [f"{found[phase] / 1e6:.0f}" for phase in ("made", "trained", "saved", "evaluated")]
                ratio = f"{predicted / found['evaluated']:.2f}"
                rows.append([f"{model}, batch {batch}, {count} cells", ratio, f"{predicted / 1e6:.0f}", *after])
    header = ["", "predicted ÷ measured", "predicted MB", "peak when made", "trained", "saved", "evaluated"]
    table(header, rows)
    for model in args.models:
        for batch in CONVOLUTIONAL_BATCHES if model in CONVOLUTIONAL else BATCHES:
            count = max(STACKS.get(model, (4,)))
            case = dict(model=model, batch=batch, count=count, steps=args.steps)
            each = [
                in_own_process("benchmarks.memory", **case, objective=objective)["trained"]
                for objective in ("ou", "vae")
            ]
            peaks = (f"{peak / 1e6:.0f}" for peak in each)
            smoothed.append([f"{model}, batch {batch}, {count} cells", f"{each[0] / each[1]:.2f}", *peaks])
    table(["", "S = 5 ÷ plain", "S = 5, peak MB when trained", "plain"], smoothed)


def measure(model: str, batch: int, count: int, steps: int, objective: str) -> dict[str, int]:
    """Peak bytes above the start: stack made, then trained, a checkpoint written, and evaluated."""
    from models.evaluation.evaluate import evaluate
    from models.evaluation.settings import Evaluation
    from models.kernels import compiled
    from models.stack.stack import Stack
    from sweeper.store.records import write_record

    as_in_a_worker()
    compiled.library()
    warm = Stack(cells("quickstart", 1, batch_size=4), images("quickstart"))
    warm.train(2)  # what is loaded when first used
    chosen, data = cells(model, count, batch_size=batch, objective=objective), images(model)
    found: dict[str, int] = {}
    start = peak()
    stack = Stack(chosen, data)
    found["made"] = peak() - start
    stack.train(steps)
    found["trained"] = peak() - start
    with tempfile.TemporaryDirectory() as folder:
        tensors: dict[str, Any] = {name: t.numpy().copy() for name, t in stack.tensors().items()}
        write_record(Path(folder), 1, [f"{i:024x}" for i in range(count)], tensors, {}, 1)
        del tensors
    found["saved"] = peak() - start
    evaluate(stack, Evaluation(importance_samples=20, images=200))
    found["evaluated"] = peak() - start
    return found


def peak() -> int:
    """Of this process's resident memory so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
