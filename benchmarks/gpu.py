"""Training on a GPU: stacks beside the textbook's loop and the device's own rate, smoothing's cost in time and memory.

One command for every figure of a GPU; none of them has been measured yet. The time is the wall's, with the
device waited for at both ends.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from benchmarks.measure import Seconds, circumstances, interleaved, ratio, table
from benchmarks.workload import CONVOLUTIONAL, MODELS, cells, images
from models.cell import cell_size

TEXTBOOK = "nn.Linear or nn.Conv2d, DataLoader, torch.optim.Adam"


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    chosen = ["4x40", "2x10", "conv_mnist"]
    parser.add_argument(
        "--models", nargs="+", choices=MODELS | CONVOLUTIONAL, default=chosen, help=f"[default: {' '.join(chosen)}]"
    )
    parser.add_argument("--batch", type=int, default=64, help="batch size  [default: %(default)s]")
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4, 16, 64, 256], help="[default: 1 4 16 64 256]")
    parser.add_argument("--repeats", type=int, default=7, help="rounds  [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each in a round, about  [default: %(default)s]")


def run(args: Namespace) -> None:
    """Three tables per model; ends with exit code 1 where there is no CUDA device."""
    import torch

    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured", file=sys.stderr)
        raise SystemExit(1)
    circumstances(
        f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}.",
        f"Batch {args.batch}, S = 5 under `ou`, float32, median of {args.repeats} rounds.",
    )
    _stack("2x10", 1, args.batch).train(8)  # what libraries allocate when first used is nobody's memory
    for model in args.models:
        _stacks(model, args)
        _smoothing(model, args)
        _ways(model, args)


def _stacks(model: str, args: Namespace) -> None:
    """Cell-steps per second over the number of cells, of the smoothed objective."""
    from benchmarks.floor import Convolutions, Products
    from benchmarks.textbook import Textbook

    one = cells(model, 1, batch_size=args.batch)[0]
    flops = cell_size(one).flops
    candidates: dict[str, tuple[int, Callable[[int], object]]] = {
        TEXTBOOK: (1, Textbook(one, images(model), "cuda").train)
    }
    for count in args.stacks:
        candidates[f"a stack of {count}"] = count, _advance(_stack(model, count, args.batch))
        if model in CONVOLUTIONAL:
            candidates[f"its convolutions alone, {count}"] = count, Convolutions(one, count, "cuda").run
        else:
            candidates[f"its products alone, {count}"] = count, Products(one, cells=count, device="cuda").run
    times, steps = _measure(candidates, args)
    rows = []
    for name, (count, _) in candidates.items():
        each = [seconds / steps[name] / count for seconds in times[name].wall]
        usual = [seconds / steps[TEXTBOOK] for seconds in times[TEXTBOOK].wall]
        seconds = statistics.median(each)
        rows.append([name, ratio(usual, each), f"{1 / seconds:,.0f}", f"{flops / seconds / 1e12:.2f}"])
    table([f"{model}, ou", "× textbook (lowest–highest)", "cell-steps per second", "TFLOP/s"], rows)


def _smoothing(model: str, args: Namespace) -> None:
    """OU against the plain VAE: time and peak memory, at a stack of one and at the largest."""
    import torch

    rows = []
    for count in (1, max(args.stacks)):
        memory, candidates = {}, {}
        for objective in ("vae", "ou"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            stack = _stack(model, count, args.batch, objective=objective)
            stack.train(2)
            memory[objective] = torch.cuda.max_memory_allocated() - before
            candidates[objective] = count, _advance(stack)
        times, steps = _measure(candidates, args)
        each = {name: [seconds / steps[name] for seconds in times[name].wall] for name in candidates}
        work = [cell_size(cells(model, 1, objective=o, batch_size=args.batch)[0]).flops for o in ("ou", "vae")]
        share = f"{memory['ou'] / memory['vae']:.2f}"
        rows.append([f"a stack of {count}", ratio(each["ou"], each["vae"]), f"{work[0] / work[1]:.2f}", share])
    table([f"{model}, ou ÷ vae", "time (lowest–highest)", "operations", "peak memory"], rows)


def _ways(model: str, args: Namespace) -> None:
    """What the captured graph, the generator on the device and TF32 and bfloat16 are worth, at one and at the most."""
    from models.draws.draws import Draws

    rows = []
    for count in (1, max(args.stacks)):
        graph, eager, host = (_stack(model, count, args.batch) for _ in range(3))
        cut = {name: _stack(model, count, args.batch, precision=name) for name in ("tf32", "bfloat16")}
        seeds = [cell.seed for cell in host.cells]
        host.draws, host._own_draws = Draws(seeds, "cuda"), Draws(list(dict.fromkeys(seeds)), "cuda")
        candidates = {
            "captured": (count, _advance(graph)),
            "kernel by kernel": (count, _by_kernels(eager)),
            "kernel by kernel, draws of the host": (count, _by_kernels(host)),
        } | {f"captured, products in {name}": (count, _advance(stack)) for name, stack in cut.items()}
        times, steps = _measure(candidates, args)
        base = [seconds / steps["captured"] for seconds in times["captured"].wall]
        for name in candidates:
            each = [seconds / steps[name] for seconds in times[name].wall]
            rows.append([f"{count}, {name}", ratio(each, base), f"{1e3 * statistics.median(each):.2f}"])
    table([f"{model}, stack", "time ÷ captured (lowest–highest)", "ms per step"], rows)


def _stack(model: str, count: int, batch: int, **fields: Any) -> Any:
    from models.stack.stack import Stack

    return Stack(cells(model, count, batch_size=batch, **fields), images(model), "cuda")


def _advance(stack: Any) -> Callable[[int], None]:
    return lambda steps: stack.train(stack.step + steps)


def _by_kernels(stack: Any) -> Callable[[int], None]:
    """Steps that are launched kernel by kernel."""

    def train(steps: int) -> None:
        for _ in range(steps):
            stack.procedure.advance(stack, stack.step)
            stack.step += 1

    return train


def _measure(
    candidates: dict[str, tuple[int, Callable[[int], object]]], args: Namespace
) -> tuple[Seconds, dict[str, int]]:
    """Rounds of about `--seconds` of each candidate, and how many steps each took in one."""
    import torch

    def waited(advance: Callable[[int], object], steps: int) -> float:
        begun = time.perf_counter()
        advance(steps)
        torch.cuda.synchronize()
        return time.perf_counter() - begun

    steps = {}
    for name, (_, advance) in candidates.items():
        waited(advance, 3)
        steps[name] = max(1, round(5 * args.seconds / waited(advance, 5)))
    calls = {name: lambda name=name: waited(candidates[name][1], steps[name]) for name in candidates}
    return interleaved(calls, args.repeats), steps
