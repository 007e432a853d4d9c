"""What aggressive training costs beside its encoder updates: a step with K of them over K bare ones, by turns."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import circumstances, interleaved, ratio, table, timing_options
from benchmarks.workload import MODELS, advance, as_in_a_worker, cells, images

if TYPE_CHECKING:
    from models.stack.stack import Stack


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["quickstart"])
    parser.add_argument("--cells", type=int, default=3, help="cells of a stack  [default: %(default)s]")
    parser.add_argument("--inner", type=int, default=20, help="K  [default: %(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")
    timing_options(parser, 1)


def run(args: Namespace) -> None:
    """One row per model: a step with K inner updates over K bare encoder updates, and over K joint steps."""
    from models.stack.stack import Stack

    as_in_a_worker(args.threads)
    circumstances(f"Batch {args.batch}, {args.cells} cells, K = {args.inner}, {args.repeats} rounds of {args.steps}.")
    rows = []
    for model in args.models:
        data, own = images(model), {"procedure": "aggressive", "inner_updates": args.inner}
        aggressive, encoder, joint = (
            Stack(cells(model, args.cells, batch_size=args.batch, **fields), data) for fields in (own, own, {})
        )
        for stack in (aggressive, encoder, joint):
            stack.train(2)
        candidates: dict[str, Callable[[], object]] = {
            "aggressive": advance(aggressive, args.steps),
            "encoder": partial(_encoder_updates, encoder, args.inner * args.steps),
            "joint": advance(joint, args.inner * args.steps),
        }
        cpu = {name: each.cpu for name, each in interleaved(candidates, args.repeats).items()}
        rows.append([model, ratio(cpu["aggressive"], cpu["encoder"]), ratio(cpu["aggressive"], cpu["joint"])])
    table(["CPU time of a step with K ÷", "K encoder updates", "K joint steps"], rows)


def _encoder_updates(stack: Stack, count: int) -> None:
    for _ in range(count):
        encoder_update(stack)


def encoder_update(stack: Stack) -> None:
    """The least that an update of the inference network needs: minibatch, noise, objective, its gradient, its Adam.

    Written without the procedure, and with nothing that decides, counts or looks for cells that diverged.
    """
    import torch

    from models.draws.draws import Purpose

    stack.step += 1
    step = stack.step
    x = stack.minibatch(step)
    noise = [
        stack.draws.normal(Purpose.LATENT, (stack.samples, stack.batch_size, units), step, layer)
        for layer, units in enumerate(stack.network.latents, start=1)
    ]
    smoothing = stack.objective.smoothing(stack.draws, step, stack.network.latents, stack.batch_size)
    terms = stack.network.terms(stack.block.apart(("inference",)), x, noise, smoothing)
    gradient = stack.block.differentiate(-stack.objective.value(terms, step).sum(), ("inference",))
    norm = torch.ones(len(stack.cells), device=stack.device)
    stack.optimizer.update(gradient, step, stack.active, norm, groups=["inference"])
