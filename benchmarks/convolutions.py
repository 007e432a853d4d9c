"""Ways to compute the convolutions of a stack, on this device: grouped, by vmap, as matrix products, one after another.

A step's convolutions of C cells and nothing else, forward and both gradients, from operands that are in place and of
the precision asked for. `grouped` is what stacks do (`models.kernels.convolution`), in the layout that they have on a
CPU (`channels_last`) and on a GPU. On a GPU the times are the wall's, with the device waited for at both ends.
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measure import circumstances, interleaved, ratio, table
from benchmarks.workload import CONVOLUTIONAL, as_in_a_worker, cells

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.floor import Kernel


class Way(NamedTuple):
    """What is done once to the operands of all cells, and what is timed."""

    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    compute: Callable[[Tensor, Tensor, Kernel, int], Tensor]


USUAL = {"cpu": "grouped, maps within positions", "cuda": "grouped"}  # what stacks do, by the name of its `Way`


def options(parser: ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--models", nargs="+", choices=CONVOLUTIONAL, default=list(CONVOLUTIONAL))
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4, 13], help="cells  [default: 1 4 13]")
    parser.add_argument("--batch", type=int, default=32, help="batch size  [default: %(default)s]")
    parser.add_argument(
        "--precisions", nargs="+", choices=["float32", "tf32", "bfloat16"], default=["float32", "bfloat16"]
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="[default: a GPU if any]")
    parser.add_argument("--repeats", type=int, default=5, help="rounds  [default: %(default)s]")


def run(args: Namespace) -> None:
    """A table for each model and precision."""
    import torch

    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    as_in_a_worker()
    where = torch.cuda.get_device_name() if device == "cuda" else "One thread"
    circumstances(f"{where}, batch {args.batch}, S = 5, median of {args.repeats} rounds.")
    for model in args.models:
        for precision in args.precisions:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            _compare(model, precision, device, args)


def _compare(model: str, precision: str, device: str, args: Namespace) -> None:
    import torch

    from benchmarks.floor import kernels_of

    one = cells(model, 1, batch_size=args.batch)[0]
    kernels = Counter(kernels_of(one))
    rows = []
    for count in args.stacks:
        candidates = {name: _step(way, kernels, count, precision, device) for name, way in WAYS.items()}
        found = interleaved(candidates, args.repeats)
        clock = {name: times.wall if device == "cuda" else times.cpu for name, times in found.items()}
        for name, seconds in clock.items():
            ms = 1e3 * statistics.median(seconds) / count
            rows.append([f"{count}, {name}", ratio(seconds, clock[USUAL[device]]), f"{ms:.3f}"])
    if device == "cuda":
        torch.cuda.empty_cache()
    table([f"{model}, {precision}: cells", "time ÷ that of stacks (lowest–highest)", "ms per cell-step"], rows)


def _step(way: Way, kernels: Counter[Kernel], count: int, precision: str, device: str) -> Callable[[], None]:
    """All convolutions of a step of so many cells, each as often as it occurs, and their gradients."""
    import torch

    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    operands: list[tuple[Kernel, int, tuple[Tensor, Tensor], list[Tensor], Tensor]] = []
    for kernel, times in kernels.items():
        sides = [kernel.stride * kernel.side + (0 if kernel.zeros else size - 1) for size in kernel.size]
        x = torch.randn(count, kernel.rows, kernel.inputs, *sides, dtype=kind, device=device)
        w = torch.randn(count, kernel.outputs, kernel.inputs, *kernel.size, dtype=kind, device=device)
        x, w = way.prepare(x, w)
        asked = [each for each, fixed in ((x, kernel.of_data), (w, kernel.fixed)) if not fixed]
        for each in asked:
            each.requires_grad_()
        operands.append((kernel, times, (x, w), asked, torch.randn_like(way.compute(x, w, kernel, count))))

    def run() -> None:
        for kernel, times, given, asked, of_out in operands:
            for _ in range(times):
                torch.autograd.grad(way.compute(*given, kernel, count), asked, of_out)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


# Of x (C, R, I, H, W) and w (C, O, I, K, K), what a way begins with.


def _as_they_are(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return x, w


def _side_by_side(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """(R, C I, H, W) and (C O, I, K, K), as inside a stack's networks."""
    return x.transpose(0, 1).flatten(1, 2).contiguous(), w.flatten(0, 1)


def _within_positions(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    x, w = _side_by_side(x, w)
    return x.contiguous(memory_format=torch.channels_last), w.contiguous(memory_format=torch.channels_last)


def _grouped(x: Tensor, w: Tensor, kernel: Kernel, cells: int) -> Tensor:
    import torch

    return torch.conv2d(x, w, None, kernel.stride, kernel.zeros, groups=cells)


def _by_vmap(x: Tensor, w: Tensor, kernel: Kernel, cells: int) -> Tensor:
    import torch

    found: Tensor = torch.vmap(lambda a, b: torch.conv2d(a, b, None, kernel.stride, kernel.zeros))(x, w)
    return found


def _as_products(x: Tensor, w: Tensor, kernel: Kernel, cells: int) -> Tensor:
    """What each place sees as a column (im2col), times the weights of its cell: (C, R, O, places)."""
    from torch.nn import functional as F

    columns = F.unfold(x.flatten(0, 1), kernel.size, padding=kernel.zeros, stride=kernel.stride)
    return w.flatten(2).unsqueeze(1) @ columns.unflatten(0, x.shape[:2])


def _one_after_another(x: Tensor, w: Tensor, kernel: Kernel, cells: int) -> Tensor:
    import torch

    return torch.stack([torch.conv2d(a, b, None, kernel.stride, kernel.zeros) for a, b in zip(x, w, strict=True)])


WAYS = {
    USUAL["cuda"]: Way(_side_by_side, _grouped),
    USUAL["cpu"]: Way(_within_positions, _grouped),
    "vmap": Way(_as_they_are, _by_vmap),
    "as matrix products": Way(_as_they_are, _as_products),
    "one after another": Way(_as_they_are, _one_after_another),
}
