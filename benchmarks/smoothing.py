"""What smoothing costs: a training step with S samples against the plain one, in time and in operations."""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from typing import Any

from benchmarks.measure import circumstances, interleaved, ratio, table, timing_options
from benchmarks.workload import advance, as_in_a_worker, cells, images
from models.cell import cell_size

VARIANTS: dict[str, dict[str, Any]] = {
    "ρ = 1": dict(rho=1.0),
    "S = 1": dict(smoothing_samples=1),
    "S = 5": dict(smoothing_samples=5),
    "S = 5, ratio μ/σ": dict(smoothing_samples=5, smoothing="ratio"),
}
PLAIN, NOISE = "ρ = 1", "S = 5, its noise alone"


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    timing_options(parser, steps=20)
    parser.add_argument("--cells", type=int, default=1, help="cells in each stack  [default: %(default)s]")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 64], help="batch sizes  [default: 128 64]")


def run(args: Namespace) -> None:
    """Time all variants of the 4×40 model on MNIST-sized images."""
    from models.stack.stack import Stack

    as_in_a_worker(args.threads)
    circumstances(f"Stacks of {args.cells}, {args.threads} thread(s), median of {args.repeats} rounds.")
    rows = []
    for batch in args.batches:
        chosen = {name: cells("4x40", args.cells, batch_size=batch, **fields) for name, fields in VARIANTS.items()}
        stacks = {name: Stack(each, images("4x40")) for name, each in chosen.items()}

        def noise(stack: Stack = stacks["S = 5"]) -> None:
            for step in range(args.steps):
                stack.objective.smoothing(stack.draws, step, stack.network.latents, stack.batch_size)

        candidates = {name: advance(stack, args.steps) for name, stack in stacks.items()}
        times = interleaved(candidates | {NOISE: noise}, args.repeats)
        plain = cell_size(chosen[PLAIN][0]).flops
        for name, each in times.items():
            operations = f"{cell_size(chosen[name][0]).flops / plain:.2f}" if name in chosen else ""
            ms = 1e3 * statistics.median(each.cpu) / args.steps / args.cells
            wall, cpu = (ratio(a, b) for a, b in ((each.wall, times[PLAIN].wall), (each.cpu, times[PLAIN].cpu)))
            rows.append([f"batch {batch}, {name}", wall, cpu, operations, f"{ms:.2f}"])
    header = ["step", "wall / plain (lowest–highest)", "CPU / plain", "operations / plain", "CPU ms per cell-step"]
    table(header, rows)
