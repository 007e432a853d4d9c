"""What evaluation costs beside training, and how fast it runs beside the matrix products of its forward pass.

At the default settings 2,000 of 10,000 test images have 100 chains and the others 7, however long the training; along
the way 1,000 validation images have one every 1,000 steps. The three kinds are timed apart, of 100 images each, and
multiplied. A block has 1,000 rows at most whatever K is, so that the time of a chain and memory do not depend on K.
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from functools import partial

from benchmarks.measure import circumstances, interleaved, ratio, table
from benchmarks.workload import MODELS, advance, as_in_a_worker, cells, images
from models.cell.registry import find

STEPS, TEST_IMAGES = 10_000, 10_000


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["4x40", "2x10"], help="[default: 4x40 2x10]")
    parser.add_argument("--cells", type=int, default=12, help="cells in the stack  [default: %(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="of training  [default: %(default)s]")
    parser.add_argument("--repeats", type=int, default=7, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Time blocks of each kind of evaluation, a training step, and the products of the forward pass, in turn."""
    from benchmarks.floor import Products
    from models.evaluation.evaluate import evaluate
    from models.evaluation.settings import IMAGES, Evaluation
    from models.evaluation.which import CHAINS, chains_needed, weighed_images
    from models.networks.mlp_spec import mlp_maps
    from models.stack.stack import Stack
    from sweeper.study.sections import EvaluationSection

    as_in_a_worker()
    circumstances(f"Stacks of {args.cells}, batch {args.batch}, median of {args.repeats} rounds, one thread.")
    default = EvaluationSection()
    weighed = int(weighed_images(TEST_IMAGES, default.importance_images).sum())
    few, k = chains_needed(TEST_IMAGES), default.importance_samples
    along = (1 + STEPS // default.every) * default.validation_images
    kinds = {"K": (k, weighed * k), "few": (few, (TEST_IMAGES - weighed) * few), "one": (1, along)}
    rows = []
    for model in args.models:
        stack = Stack(cells(model, args.cells, batch_size=args.batch), images(model))
        block = cells(model, 1, objective="vae", batch_size=IMAGES)[0]
        forward = Products(block, samples=CHAINS, forward=True)
        runs = args.cells * k // CHAINS  # the products of K chains of every cell: of a few, cold caches would be timed
        candidates = {"step": advance(stack, 1), "floor": partial(forward.run, runs)}
        for kind, (chains, _) in kinds.items():
            settings = Evaluation(importance_samples=chains, images=IMAGES)
            candidates[kind] = partial(evaluate, stack, settings, quick=True)
        times = interleaved(candidates, args.repeats)
        each = {
            kind: [s / (IMAGES * chains * args.cells) for s in times[kind].cpu] for kind, (chains, _) in kinds.items()
        }
        floor = [s / (IMAGES * runs * CHAINS) for s in times["floor"].cpu]
        whole = sum(number * statistics.median(each[kind]) for kind, (_, number) in kinds.items())
        on_all = TEST_IMAGES * k * statistics.median(each["K"])
        trained = statistics.median(times["step"].cpu) * STEPS / args.cells
        maps = mlp_maps(block, find("data", block.data).shape, chains=CHAINS)
        operations = sum(2 * m.rows * m.inputs * m.outputs for m in maps) / (IMAGES * CHAINS)
        rows.append(
            [
                model,
                ratio(each["K"], floor),
                f"{1e6 * statistics.median(each['K']):.2f}",
                f"{operations / 1e6:.2f}",
                f"{whole:.1f}",
                f"{100 * whole / trained:.1f} %",
                f"{100 * on_all / trained:.0f} %",
            ]
        )
    header = [
        "",
        "÷ forward products",
        "CPU µs per chain",
        "million operations",
        "s per cell at default",
        f"of {STEPS:,} steps",
        "K chains on all images",
    ]
    table(header, rows)
