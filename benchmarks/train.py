"""How fast training is: stacks of many sizes beside the textbook's loop and beside what the hardware allows.

All take turns in one process. The floor is what a step cannot do without: its matrix products, or its bytes, whichever
takes longer, at rates measured in the same rounds.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from benchmarks.measure import Times, circumstances, interleaved, ratio, table
from benchmarks.workload import MODELS, as_in_a_worker, cells, images
from models.cell import FIELDS, REGISTRIES, cell_size

TEXTBOOK, PRODUCTS, COPY = "nn.Linear, DataLoader, torch.optim.Adam", "matrix products alone", "copy"
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
        "--models", nargs="+", choices=MODELS, default=list(MODELS)[:3], help="[default: 4x40 64-32-16-8 2x10]"
    )
    parser.add_argument(
        "--methods", "--objectives", nargs="+", choices=METHODS, default=list(METHODS), help="[default: all]"
    )
    parser.add_argument("--batch", type=int, default=128, help="batch size  [default: %(default)s]")
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4, 16, 64, 256], help="[default: 1 4 16 64 256]")
    parser.add_argument("--repeats", type=int, default=7, help="rounds  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each in a round, about  [default: %(default)s]")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch  [default: %(default)s]")


def run(args: Namespace) -> None:
    """A table for each model and method."""
    as_in_a_worker(args.threads)
    circumstances(f"Batch {args.batch}, S = 5 under `ou`, {args.threads} thread(s), median of {args.repeats} rounds.")
    for model in args.models:
        for method in args.methods:
            if missing(method):
                print(f"{model} {method}: no {missing(method)} here, skipped.\n")
            else:
                _compare(model, method, args)


def missing(method: str) -> str:
    """The parts and options of a method that are not registered or declared, `objective: iwae`; "" where all are."""
    has = {
        name: value in REGISTRIES[name] if name in REGISTRIES else name in FIELDS
        for name, value in METHODS[method].items()
    }
    return ", ".join(f"{name}: {METHODS[method][name]}" for name, found in has.items() if not found)


def _compare(model: str, method: str, args: Namespace) -> None:
    """Time everything of one model and method."""
    import psutil

    from benchmarks.floor import Products, copier, least_bytes
    from benchmarks.textbook import Textbook
    from benchmarks.textbook_methods import compared
    from models.stack.stack import Stack

    def made(count: int) -> list[Any]:
        return cells(model, count, batch_size=args.batch, **METHODS[method])

    data, one, size = images(model), made(1)[0], cell_size(made(1)[0])
    print(compared(one, data))
    textbook, products, (copy, copied) = Textbook(one, data), Products(one), copier()
    advances: dict[str, tuple[int, Callable[[int], object]]] = {
        TEXTBOOK: (1, textbook.train),
        PRODUCTS: (1, products.run),
    }
    skipped = []
    for count in args.stacks:
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

    floor, usual = per_cell_step(PRODUCTS), per_cell_step(TEXTBOOK)
    bandwidth = copied / statistics.median(times[COPY].cpu)
    moved_s = least_bytes(one) / bandwidth
    rows = []
    for name in advances:
        own = per_cell_step(name)
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
    print(f"{size.flops / 1e6:.0f} million operations and {least_bytes(one) / 1e6:.1f} MB a cell-step;", end=" ")
    if products.flops < size.flops:
        print(
            f"{1 - products.flops / size.flops:.0%} of the operations are in no product that the floor counts;", end=" "
        )
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
    table([f"{model} {method}", *header, "of the products' rate"], rows)
