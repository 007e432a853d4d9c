"""What another precision of matrix products costs on a CPU, where it is imitated, and how far it moves a gradient."""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace

from benchmarks.measure import circumstances, interleaved, ratio, table, timing_options
from benchmarks.workload import LSTMS, MODELS, advance, as_in_a_worker, workload

PRECISIONS = ("float32", "tf32", "bfloat16", "float64")


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    timing_options(parser, steps=3)
    parser.add_argument("--models", nargs="+", choices=MODELS | LSTMS, default=["4x40", "quickstart"])
    parser.add_argument("--cells", type=int, default=12, help="cells in each stack  [default: %(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")


def run(args: Namespace) -> None:
    """One row per model and precision; the gradient is that of the first step, from the same draws."""
    from models.stack.stack import Stack

    as_in_a_worker(args.threads)
    circumstances(f"Stacks of {args.cells}, batch {args.batch}, S = 5, median of {args.repeats} rounds.")
    rows = []
    for model in args.models:
        stacks = {
            name: Stack(*workload(model, args.cells, batch_size=args.batch, precision=name)) for name in PRECISIONS
        }
        for stack in stacks.values():
            stack.train(1)
        first = {name: stack.optimizer.first.clone().double() for name, stack in stacks.items()}  # a tenth of it
        times = interleaved({name: advance(stack, args.steps) for name, stack in stacks.items()}, args.repeats)
        for name in PRECISIONS:
            mine, usual = times[name], times["float32"]
            wall, cpu = ratio(mine.wall, usual.wall), ratio(mine.cpu, usual.cpu)
            ms = 1e3 * statistics.median(times[name].cpu) / args.steps / args.cells
            error = float((first[name] - first["float64"]).norm() / first["float64"].norm())
            rows.append([f"{model}, {name}", wall, cpu, f"{ms:.2f}", f"{error:.1e}"])
    header = ["step", "wall / float32 (lowest–highest)", "CPU / float32", "CPU ms per cell-step", "gradient's error"]
    table(header, rows)
