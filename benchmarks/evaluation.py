"""What evaluation costs beside training, and how fast it runs beside the matrix products of its forward pass.

At the default settings 4,000 of 10,000 test images have 100 chains and the others 7, however long the training; along
the way 1,000 validation images have one every 1,000 steps. Chains are computed in blocks of 1,000 or fewer rows
whatever K is, so that the time of one and memory do not depend on K.
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from functools import partial

from benchmarks.measure import circumstances, interleaved, ratio, table
from benchmarks.workload import MODELS, advance, cells, images
from models.registry import find

STEPS, TEST_IMAGES = 10_000, 10_000


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["4x40", "2x10"], help="[default: 4x40 2x10]")
    parser.add_argument("--cells", type=int, default=12, help="cells in the stack  [default: %(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="of training  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=7, help="rounds  [default: %(default)s]")
    parser.add_argument("--chains", type=int, default=20, help="evaluated in a round  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Time a block of evaluation, a training step, and the products of the forward pass, in turn."""
    import torch

    from benchmarks.floor import Products
    from models.evaluation import CHAINS, IMAGES, chains_needed, evaluate, weighed_images
    from models.settings import Evaluation
    from models.sizes import mlp_maps
    from models.training import Stack
    from sweeper.study.schema import EvaluationSection

    torch.set_num_threads(1)
    circumstances(f"Stacks of {args.cells}, batch {args.batch}, median of {args.repeats} rounds, one thread.")
    default = EvaluationSection()
    weighed = int(weighed_images(TEST_IMAGES, default.importance_images).sum())
    chains = weighed * default.importance_samples + (TEST_IMAGES - weighed) * chains_needed(TEST_IMAGES)
    chains += STEPS // default.every * default.validation_images
    rows = []
    for model in args.models:
        stack = Stack(cells(model, args.cells, batch_size=args.batch), images(model))
        block = cells(model, 1, objective="vae", batch_size=IMAGES)[0]
        forward = Products(block, samples=CHAINS, forward=True)
        settings = Evaluation(importance_samples=args.chains, images=IMAGES)
        candidates = {
            "step": advance(stack, 1),
            "evaluation": partial(evaluate, stack, settings, quick=True),
            "floor": partial(forward.run, args.chains // CHAINS),
        }
        times = interleaved(candidates, args.repeats)
        row = [s / (IMAGES * args.chains * args.cells) for s in times["evaluation"].cpu]
        floor = [s / (IMAGES * args.chains) for s in times["floor"].cpu]
        whole, every = (n * statistics.median(row) for n in (chains, TEST_IMAGES * default.importance_samples))
        trained = statistics.median(times["step"].cpu) * STEPS / args.cells
        maps = mlp_maps(block, find("data", block.data).features, CHAINS)
        operations = sum(2 * each.rows * each.inputs * each.outputs for each in maps) / (IMAGES * CHAINS)
        rows.append(
            [
                model,
                ratio(row, floor),
                f"{1e6 * statistics.median(row):.2f}",
                f"{operations / 1e6:.2f}",
                f"{whole:.1f}",
                f"{100 * whole / trained:.1f} %",
                f"{100 * every / trained:.0f} %",
            ]
        )
    header = [
        "",
        "÷ forward products",
        "CPU µs a chain",
        "million operations",
        "s a cell at default",
        f"of {STEPS:,} steps",
        "K chains on all images",
    ]
    table(header, rows)
