"""How fast training is: stacks of many sizes beside the textbook's loop and beside what the hardware allows.

All take turns in one process. The floor is what a step cannot do without: its matrix products or convolutions, or its
bytes, whichever takes longer, at rates measured in the same rounds. Convolutions are those of as many cells at once as
the stack has.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from benchmarks.measure import Times, circumstances, interleaved, ratio, table
from benchmarks.workload import AUTOREGRESSIVE, CONVOLUTIONAL, MODELS, as_in_a_worker, workload
from models.cell import FIELDS, REGISTRIES, Cell, cell_size

PRODUCTS, COPY = "matrix products alone", "copy"
STACKS, CONVOLUTIONAL_STACKS, AUTOREGRESSIVE_STACKS = [1, 4, 16, 64, 256], [1, 4, 13], [1, 5, 20]
_MODULES = {"resnet": "Conv2d", "pixelcnn": "Conv2d", "lstm": "LSTM"}  # of the textbook's loop; else Linear
TEXTBOOKS = ("ou", "vae")  # methods that the textbook's convolutional model has
METHODS: dict[str, dict[str, Any]] = {
    "ou": dict(objective="ou"),
    "vae": dict(objective="vae"),
    "iwae": dict(objective="iwae", chains=5),
    "vamp": dict(objective="vae", prior="vamp", pseudo_inputs=500),
    "planar": dict(objective="vae", posterior="planar", flow_steps=8),
    "ladder": dict(objective="vae", network="ladder"),
}


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS | CONVOLUTIONAL | AUTOREGRESSIVE,
        default=list(MODELS)[:3],
        help="those named conv_…, lstm… and pixelcnn… are no perceptrons  [default: 4x40 64-32-16-8 2x10]",
    )
    parser.add_argument(
        "--methods",
        "--objectives",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        help="of convolutional models ou and vae, of LSTMs and PixelCNNs vae  [default: all]",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=["float32", "bfloat16"],
        default=["float32"],
        help="bfloat16 of convolutional models  [default: float32]",
    )
    parser.add_argument("--batch", type=int, help="batch size  [default: 128, of perceptrons only; of all others 32]")
    parser.add_argument(
        "--stacks",
        type=int,
        nargs="+",
        help="[default: 1 4 16 64 256, of convolutional models 1 4 13, of LSTMs and PixelCNNs 1 5 20]",
    )
    parser.add_argument("--repeats", type=int, default=7, help="rounds  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each in a round, about  [default: %(default)s]")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch  [default: %(default)s]")


def run(args: Namespace) -> None:
    """A table for each model and method."""
    as_in_a_worker(args.threads)
    circumstances(f"S = 5 under `ou`, {args.threads} thread(s), median of {args.repeats} rounds.")
    for model in args.models:
        for method in args.methods:
            for precision in args.precisions:
                lacking = missing(method) or _no_textbook(model, method, precision)
                if lacking:
                    print(f"{model} {method} {precision}: no {lacking} here, skipped.\n")
                else:
                    _compare(model, method, precision, args)


def missing(method: str) -> str:
    """The parts and options of a method that are not registered or declared, `objective: iwae`; "" where all are."""
    has = {
        name: value in REGISTRIES[name] if name in REGISTRIES else name in FIELDS
        for name, value in METHODS[method].items()
    }
    return ", ".join(f"{name}: {METHODS[method][name]}" for name, found in has.items() if not found)


def _no_textbook(model: str, method: str, precision: str) -> str:
    """What the textbook has no loop of, `perceptron in bfloat16`; "" where it has one."""
    if model in AUTOREGRESSIVE:
        return "" if method == "vae" and precision == "float32" else f"textbook of {method} with {model} in {precision}"
    if model in CONVOLUTIONAL:
        return "" if method in TEXTBOOKS else f"textbook of {method} with convolutions"
    return "" if precision == "float32" else f"textbook of perceptrons in {precision}"


def _floors(cell: Cell, stacks: list[int]) -> tuple[dict[str, Any], dict[int, str], int]:
    """The convolutions of stacks of so many cells, or the products of one, by name; the name for a stack of so many;
    operations of a cell-step that they count."""
    from benchmarks.floor import Convolutions, Products

    if cell.network not in ("resnet", "pixelcnn"):
        products = Products(cell)
        return {PRODUCTS: (1, products.run)}, dict.fromkeys([1, *stacks], PRODUCTS), products.flops
    names = {count: f"convolutions alone, {count} at once" for count in dict.fromkeys([1, *stacks])}
    made = {count: Convolutions(cell, count) for count in names}
    return {names[count]: (count, made[count].run) for count in names}, names, made[1].flops


def _compare(model: str, method: str, precision: str, args: Namespace) -> None:
    """Time everything of one model, method and precision."""
    import psutil

    from benchmarks.floor import copier, least_bytes
    from benchmarks.textbook import Textbook
    from benchmarks.textbook_methods import compared
    from models.stack.stack import Stack

    def made(count: int) -> list[Any]:
        return workload(model, count, batch_size=batch, precision=precision, **METHODS[method])[0]

    convolutional, affine = model in CONVOLUTIONAL, model in MODELS
    batch = args.batch or (128 if affine else 32)
    stacks = args.stacks or (STACKS if affine else CONVOLUTIONAL_STACKS if convolutional else AUTOREGRESSIVE_STACKS)
    (one,), data = workload(model, 1, batch_size=batch, precision=precision, **METHODS[method])
    size = cell_size(one)
    usual_loop = f"nn.{_MODULES.get(one.network, 'Linear')}, DataLoader, torch.optim.Adam"
    print(compared(one, data))
    floors, floor_of, counted = _floors(one, stacks)
    copy, copied = copier()
    advances: dict[str, tuple[int, Callable[[int], object]]] = {usual_loop: (1, Textbook(one, data).train), **floors}
    skipped = []
    for count in stacks:
        if count * size.memory_bytes > 0.5 * psutil.virtual_memory().available:
            skipped.append(f"a stack of {count} needs {count * size.memory_bytes / 1e9:.1f} GB: not run")
            continue
        stack = Stack(made(count), data)
        advances[f"a stack of {count}"] = count, lambda steps, stack=stack: stack.train(stack.step + steps)

    steps = {}
    for name, (_, advance) in advances.items():
        advance(1)
        begun = time.thread_time()
        advance(2)
        steps[name] = max(1, round(2 * args.seconds / (time.thread_time() - begun)))
    candidates = {name: lambda name=name: advances[name][1](steps[name]) for name in advances}
    times = interleaved(candidates | {COPY: copy}, args.repeats)

    def per_cell_step(name: str) -> Times:
        each, work = times[name], steps[name] * advances[name][0]
        return Times([s / work for s in each.wall], [s / work for s in each.cpu])

    usual = per_cell_step(usual_loop)
    bandwidth = copied / statistics.median(times[COPY].cpu)
    moved_s = least_bytes(one) / bandwidth
    rows = []
    for name in advances:
        own = per_cell_step(name)
        floor = per_cell_step(name if name in floors else floor_of[advances[name][0]])
        seconds = statistics.median(own.cpu)
        least = [max(products_s, moved_s) for products_s in floor.cpu]
        rows.append(
            [
                name,
                f"{1 / statistics.median(own.wall):.1f}",
                f"{1e3 * seconds:.3f}",
                ratio(usual.wall, own.wall),
                ratio(usual.cpu, own.cpu),
                f"{size.flops / seconds / 1e9:.1f}",
                ratio(own.cpu, least),
                f"{100 * statistics.median(a / b for a, b in zip(floor.cpu, own.cpu, strict=True)):.0f} %",
            ]
        )
    print(
        f"Batch {batch}. {size.flops / 1e6:.0f} million operations and {least_bytes(one) / 1e6:.1f} MB per cell-step;",
        end=" ",
    )
    if counted < size.flops:
        print(f"{1 - counted / size.flops:.0%} of the operations are in no product that the floor counts;", end=" ")
    print(f"copies at {bandwidth / 1e9:.1f} GB/s, so {1e3 * moved_s:.2f} ms of bytes.", *skipped, sep="\n")
    print()
    header = [
        "cell-steps per second",
        "CPU ms per cell-step",
        "× textbook (wall)",
        "× textbook (CPU)",
        "GFLOP/s",
        "÷ floor",
    ]
    title = f"{model} {method}" if precision == "float32" and not convolutional else f"{model} {method} {precision}"
    table([title, *header, f"of the {'products' if PRODUCTS in floors else 'convolutions'}' rate"], rows)
