"""Where a training step's time goes on a CPU: matrix products or convolutions, what is compiled, draws, the optimiser,
the rest.

From torch's profiler, whose own cost is in all of it: shares are to be trusted, seconds are not. The compiled functions
are wrapped so that the profiler sees them.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import Any

from benchmarks.measure import circumstances, table
from benchmarks.workload import CONVOLUTIONAL, MODELS, as_in_a_worker, cells, images

CASTS, LAYOUTS = "casts to bfloat16 and back", "copies into another layout"
KINDS = {  # by the name of an operation
    "matrix products": ("aten::bmm", "aten::baddbmm"),
    "products in bfloat16, with their activations": (
        "c::bfloat16_affine", "c::bfloat16_back", "c::bfloat16_of_weight", "c::bfloat16_rows", "c::bfloat16_mean",
    ),
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward", "c::convolution_of_weight"),
    "Adam": ("aten::_fused_adam_",),
    "perceptrons, one call each": (
        "c::perceptron", "c::perceptron_gradient", "c::bfloat16_perceptron", "c::bfloat16_perceptron_gradient",
    ),
    "tanh and its gradient": ("c::bias_tanh", "c::tanh_gradient"),
    "ELU and its gradient": (
        "aten::clamp_max", "aten::expm1_", "aten::maximum", "aten::elu_backward", "c::elu", "c::elu_gradient",
        "c::elu_bfloat16", "c::elu_bfloat16_gradient",
    ),
    "up-sampling and its gradient": ("aten::upsample_nearest2d", "aten::upsample_nearest2d_backward"),
    "pixels: log p(x given z) and its gradient": ("c::bernoulli",),
    "deviations: softplus and its gradient": ("c::mean_softplus",),
    "biases and means over samples": ("c::add_bias", "c::sum_rows", "c::mean_samples", "c::mean_samples_gradient"),
    "draws and minibatches": ("draws",),
    "densities, samples and sums, in torch's short operations": (
        "aten::add", "aten::add_", "aten::sub", "aten::sub_", "aten::mul", "aten::mul_", "aten::div", "aten::div_",
        "aten::addcmul", "aten::lerp", "aten::log", "aten::neg", "aten::neg_", "aten::pow", "aten::sqrt", "aten::sum",
        "aten::mean", "aten::cat",
    ),
}  # fmt: skip
REST = "the rest"
COPY = "aten::copy_"
COPIES = {"aten::_to_copy": CASTS, "aten::clone": LAYOUTS, "aten::contiguous": LAYOUTS}  # what a copy is part of


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=MODELS | CONVOLUTIONAL, default=["4x40", "2x10"])
    parser.add_argument(
        "--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32"], help="[default: float32]"
    )
    parser.add_argument("--cells", type=int, default=16, help="cells in the stack  [default: %(default)s]")
    parser.add_argument("--batch", type=int, help="batch size  [default: 128, of convolutional models 32]")
    parser.add_argument("--steps", type=int, default=20, help="training steps  [default: %(default)s]")


def run(args: Namespace) -> None:
    """One column a model and precision."""
    as_in_a_worker()
    _show()
    circumstances(f"Stacks of {args.cells}, S = 5, one thread, {args.steps} steps.")
    columns = [(model, precision) for model in args.models for precision in args.precisions]
    shares = [_shares(*column, args) for column in columns]
    kinds = [kind for kind in [*KINDS, CASTS, LAYOUTS, REST] if max(each[kind] for each in shares) >= 0.005]
    titles = [model if args.precisions == ["float32"] else " ".join((model, precision)) for model, precision in columns]
    table(["of a step", *titles], [[kind, *(f"{100 * each[kind]:.0f} %" for each in shares)] for kind in kinds])


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
        wrapped |= {name: getattr(library, name) for name in ("bfloat16_products", "numbers_of_function")}
        compiled.library = lambda: Namespace(**wrapped)  # type: ignore[assignment]
    for name in ("normal", "uniform", "batch"):
        setattr(Draws, name, seen("draws", getattr(Draws, name)))


def _shares(model: str, precision: str, args: Namespace) -> Counter[str]:
    """Share of each kind in the time of all."""
    from torch.profiler import ProfilerActivity, profile

    from models.stack.stack import Stack

    batch = args.batch or (32 if model in CONVOLUTIONAL else 128)
    stack = Stack(cells(model, args.cells, batch_size=batch, precision=precision), images(model))
    stack.train(3)

    with profile(activities=[ProfilerActivity.CPU]) as found:
        stack.train(3 + args.steps)
    times: Counter[str] = Counter()
    for event in found.events() or ():
        times[_kind(event)] += event.self_cpu_time_total
    total = sum(times.values())
    return Counter({kind: spent / total for kind, spent in times.items()})


def _kind(event: Any) -> str:
    """What an operation belongs to; a copy by what it is part of."""
    if event.key == COPY:
        while event is not None and event.key not in COPIES:
            event = event.cpu_parent
        return REST if event is None else COPIES[event.key]
    return next((kind for kind, names in KINDS.items() if event.key in names), REST)
