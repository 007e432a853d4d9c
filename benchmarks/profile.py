"""Where a training step's time goes on a CPU: matrix products, what is compiled, draws, the optimiser, the rest.

From torch's profiler, whose own cost is in all of it: shares are to be trusted, seconds are not. The compiled functions
are wrapped so that the profiler sees them.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import Any

from benchmarks.measure import circumstances, table
from benchmarks.workload import MODELS, as_in_a_worker, cells, images

KINDS = {  # by the name of an operation
    "matrix products": ("aten::bmm", "aten::baddbmm"),
    "Adam": ("aten::_fused_adam_",),
    "tanh and its gradient": ("c::bias_tanh", "c::tanh_gradient"),
    "pixels: log p(x given z) and its gradient": ("c::bernoulli",),
    "deviations: softplus and its gradient": ("c::mean_softplus",),
    "biases and means over samples": ("c::add_bias", "c::sum_rows", "c::mean_samples", "c::mean_samples_gradient"),
    "draws and minibatches": ("draws",),
}


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["4x40", "2x10"], help="[default: 4x40 2x10]")
    parser.add_argument("--cells", type=int, default=16, help="cells in the stack  [default: %(default)s]")
    parser.add_argument("--batch", type=int, default=128, help="batch size  [default: %(default)s]")
    parser.add_argument("--steps", type=int, default=20, help="training steps  [default: %(default)s]")


def run(args: Namespace) -> None:
    """One column a model."""
    as_in_a_worker()
    _show()
    circumstances(f"Stacks of {args.cells}, S = 5, batch {args.batch}, one thread, {args.steps} steps.")
    shares = {model: _shares(model, args) for model in args.models}
    rows = [[kind, *(f"{100 * shares[model][kind]:.0f} %" for model in args.models)] for kind in [*KINDS, "the rest"]]
    table(["of a step", *args.models], rows)


def _show() -> None:
    """Have the profiler see the compiled functions and the draws."""
    from torch.profiler import record_function

    from models.draws.draws import Draws
    from models.kernels import compiled

    def seen(name: str, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            with record_function(name):
                return function(*given, **named)

        return call

    library = compiled.library()
    if library is not None:
        wrapped = {name: seen(f"c::{name}", getattr(library, name)) for name in compiled.FUNCTIONS}
        compiled.library = lambda: Namespace(**wrapped)  # type: ignore[assignment]
    for name in ("normal", "uniform", "batch"):
        setattr(Draws, name, seen("draws", getattr(Draws, name)))


def _shares(model: str, args: Namespace) -> Counter[str]:
    """Share of each kind in the time of all."""
    from torch.profiler import ProfilerActivity, profile

    from models.stack.stack import Stack

    stack = Stack(cells(model, args.cells, batch_size=args.batch), images(model))
    stack.train(3)

    with profile(activities=[ProfilerActivity.CPU]) as found:
        stack.train(3 + args.steps)
    kinds = {name: kind for kind, names in KINDS.items() for name in names}
    times: Counter[str] = Counter()
    for event in found.key_averages():
        times[kinds.get(event.key, "the rest")] += event.self_cpu_time_total
    total = sum(times.values())
    return Counter({kind: spent / total for kind, spent in times.items()})
