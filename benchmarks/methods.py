"""Peak memory and time per epoch of the paper's methods side by side, as ratios to the plain VAE (tables 9 and 10).

Every method trains in a process of its own, by turns, forwards and backwards. Peak memory is how far the process's
peak of resident memory rises above where it stood with everything imported and the data loaded: weights, gradient and
moments, which every method has, and what a step keeps for its gradient. The latter is also counted by itself, as the
bytes of the tensors that autograd saves. The paper's memory is that of a convolutional VAE of 4 layers on CIFAR-10 on a
GPU (batch 64), in which weights are a small part; its time that of an MLP of 4 layers.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from benchmarks.measure import circumstances, in_own_process, ratio, table
from benchmarks.memory import peak
from benchmarks.train import METHODS, missing
from benchmarks.workload import MODELS, as_in_a_worker, cells, images

if TYPE_CHECKING:
    from models.stack.stack import Stack

PLAIN = "vae"
EPOCH = 50_000  # images: MNIST's training split
PAPER = {"vae": (2.12, 4.2), "iwae": (8.59, 4.4), "ou": (3.74, 4.6)}  # GB (table 10), seconds per epoch (table 9)


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--model", choices=MODELS, default="4x40", help="[default: %(default)s]")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=["vae", "iwae", "ou"], help="[default: vae iwae ou]"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 512], help="batch sizes  [default: 64 512]")
    parser.add_argument("--cells", type=int, default=4, help="cells in the stack  [default: %(default)s]")
    parser.add_argument("--steps", type=int, default=20, help="training steps that are timed  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=3, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """A table for each batch size."""
    methods = [PLAIN, *(method for method in args.methods if method != PLAIN)]
    for method in [each for each in methods if missing(each)]:
        print(f"{method}: no {missing(method)} here, skipped.")
        methods.remove(method)
    circumstances(f"Stacks of {args.cells} on one thread, 5 samples or chains; medians of {args.repeats} rounds.")
    for batch in args.batches:
        found: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
        for number in range(args.repeats):
            for method in methods[:: -1 if number % 2 else 1]:
                case = dict(model=args.model, method=method, batch=batch, count=args.cells, steps=args.steps)
                found[method].append(in_own_process("benchmarks.methods", **case))
        table(
            [
                f"{args.model}, batch {batch}",
                "peak memory ÷ plain",
                "kept for the gradient ÷ plain",
                "paper's memory ÷ plain",
                "CPU time per epoch ÷ plain",
                "paper's time ÷ plain",
                "MB per cell",
                "kept",
                "CPU s per epoch and cell",
            ],
            [_row(method, found) for method in methods],
        )


def _row(method: str, found: dict[str, list[dict[str, float]]]) -> list[str]:
    own, plain = found[method], found[PLAIN]

    def of(rounds: list[dict[str, float]], name: str) -> list[float]:
        return [each[name] for each in rounds]

    paper = PAPER.get(method)
    printed = (
        ["–", "–"] if paper is None else [f"{mine / base:.2f}" for mine, base in zip(paper, PAPER[PLAIN], strict=True)]
    )
    return [
        method,
        ratio(of(own, "peak"), of(plain, "peak")),
        ratio(of(own, "kept"), of(plain, "kept")),
        printed[0],
        ratio(of(own, "epoch_s"), of(plain, "epoch_s")),
        printed[1],
        *(f"{statistics.median(of(own, name)) / 1e6:.1f}" for name in ("peak", "kept")),
        f"{statistics.median(of(own, 'epoch_s')):.2f}",
    ]


def measure(model: str, method: str, batch: int, count: int, steps: int) -> dict[str, float]:
    """Of one cell: bytes at the peak above the start, and kept for a gradient; CPU seconds of an epoch."""
    from models.kernels import compiled
    from models.stack.stack import Stack

    as_in_a_worker()
    compiled.library()
    Stack(cells("quickstart", 1, batch_size=4, **METHODS[method]), images("quickstart")).train(2)  # loads all it needs
    chosen, data = cells(model, count, batch_size=batch, **METHODS[method]), images(model)
    start = peak()
    stack = Stack(chosen, data)
    stack.train(3)
    begun = time.thread_time()
    stack.train(3 + steps)
    seconds = time.thread_time() - begun
    at_most = peak()
    return {
        "peak": (at_most - start) / count,
        "kept": _kept(stack) / count,
        "epoch_s": seconds / (steps * count) * (EPOCH // batch),
    }


def _kept(stack: Stack) -> int:
    """Bytes that a step keeps for its gradient, beside the trained tensors."""
    import torch

    own, seen = stack.block.values.untyped_storage().data_ptr(), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        stack.train(stack.step + 1)
    return sum(size for place, size in seen.items() if place != own)


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
