"""What a stack gains: many cells as one computation against one by one, and against the textbook's loop."""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from benchmarks.measure import Seconds, circumstances, interleaved, ratio, table, timing_options
from benchmarks.workload import MODELS, advance, cells, images

SEPARATE, TEXTBOOK = "12 stacks of one, in turn", "nn.Linear, DataLoader, torch.optim.Adam"


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    timing_options(parser, steps=10)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="[default: all]")
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1, 2, 4, 6, 12, 24], help="cells in a stack  [default: 1 2 4 6 12 24]"
    )


def run(args: Namespace) -> None:
    """Time stacks of every size, of each model."""
    import torch

    torch.set_num_threads(args.threads)
    circumstances(f"S = 5, batch {args.batch}, {args.threads} thread(s), median of {args.repeats} rounds.")
    rows = []
    for model in args.models:
        times, counts = _times(model, args)
        for name, each in times.items():
            per_cell = [seconds / counts[name] / args.steps for seconds in each]
            separate = [seconds / counts[SEPARATE] / args.steps for seconds in times[SEPARATE]]
            median = statistics.median(per_cell)
            rows.append([f"{model}, {name}", ratio(separate, per_cell), f"{1 / median:.0f}", f"{1e3 * median:.2f}"])
    header = ["", "times as many cell-steps as one by one (lowest–highest)", "cell-steps a second", "ms a cell-step"]
    table(header, rows)


def _times(model: str, args: Namespace) -> tuple[Seconds, dict[str, int]]:
    """Seconds of each candidate, and how many cells it trains."""
    from benchmarks.textbook import Textbook
    from models.training import Stack

    data = images(model)
    singles = [Stack([cell], data) for cell in cells(model, 12, batch_size=args.batch)]
    textbook = Textbook(cells(model, 1, batch_size=args.batch)[0], data)
    counts = {SEPARATE: len(singles), TEXTBOOK: 1}

    def one_by_one() -> None:
        for stack in singles:
            stack.train(stack.step + args.steps)

    candidates: dict[str, Callable[[], object]] = {
        SEPARATE: one_by_one,
        TEXTBOOK: lambda: textbook.train(args.steps),
    }
    for size in args.sizes:
        stack = Stack(cells(model, size, batch_size=args.batch), data)
        candidates[f"a stack of {size}"] = advance(stack, args.steps)
        counts[f"a stack of {size}"] = size
    return interleaved(candidates, args.repeats), counts
