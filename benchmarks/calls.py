"""What one call per perceptron or LSTM is worth: training with its operations called one by one over that with it."""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measure import circumstances, interleaved, ratio, table, timing_options
from benchmarks.workload import advance, as_in_a_worker, workload

if TYPE_CHECKING:
    from models.stack.stack import Stack

STACKS = {
    "4x40": (1, 16),
    "quickstart": (1, 16, 39),
    "lstm": (1, 5),
    "lstm_aggressive": (5,),
    "lstm_semi_amortized": (5,),
}
FEWER = {"4x40": 25, "lstm_aggressive": 20, "lstm_semi_amortized": 40}  # steps than the quickstart's


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    timing_options(parser, steps=4)
    parser.add_argument("--models", nargs="+", choices=STACKS, default=list(STACKS))
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")


def run(args: Namespace) -> None:
    """One row per model and stack; the trained weights of both are compared bit for bit.

    Through refinement steps, which are differentiated twice, they agree to rounding: the column then has the norm of
    their difference over that of the weights.
    """
    import torch

    from models.kernels import compiled, sgemm
    from models.stack.stack import Stack

    if compiled.library() is None or sgemm.multiplier() is None:
        print("There is no C compiler here, or a torch without MKL: operations are called one by one.")
        return
    as_in_a_worker(args.threads)
    circumstances(f"Batch {args.batch}, S = 5, {args.threads} thread(s), median of {args.repeats} rounds.")
    rows = []
    for model in args.models:
        for count in STACKS[model]:
            chosen, data = workload(model, count, batch_size=args.batch)
            one, several = (Stack(chosen, data) for _ in range(2))
            steps = max(args.steps, 100 * args.steps // (count * FEWER.get(model, 1)))
            candidates = {"one": advance(one, steps), "several": one_by_one(several, steps)}
            times = interleaved(candidates, args.repeats)
            apart = (one.block.values - several.block.values).norm() / several.block.values.norm()
            same = "yes" if torch.equal(one.block.values, several.block.values) else f"no, {float(apart):.0e}"
            cpu = [times[name].cpu for name in ("several", "one")]
            ms = (f"{1e3 * statistics.median(each) / steps / count:.2f}" for each in cpu)
            rows.append([f"{model}, {count} cells", ratio(*cpu), *ms, same])
    table(
        [
            "stack",
            "one by one ÷ one call, CPU (lowest–highest)",
            "ms per cell-step, one by one",
            "one call",
            "same bits",
        ],
        rows,
    )


def one_by_one(stack: Stack, steps: int) -> Callable[[], None]:
    """What trains the stack `steps` further with operations called one by one, each time it is called."""

    def train() -> None:
        with _no_calls():
            stack.train(stack.step + steps)

    return train


@contextmanager
def _no_calls() -> Iterator[None]:
    from models.kernels import compiled_lstm, compiled_perceptron

    usual = compiled_perceptron.usable, compiled_lstm.usable
    compiled_perceptron.usable = compiled_lstm.usable = lambda *_: False  # type: ignore[assignment]
    try:
        yield
    finally:
        compiled_perceptron.usable, compiled_lstm.usable = usual
