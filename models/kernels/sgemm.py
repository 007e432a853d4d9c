"""The library's product of float32 matrices that torch itself calls, for compiled functions that give torch's bits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor

from models.kernels import compiled
from models.kernels.vectors import of_torch

_TRIED = [(64, 64, 64), (9, 10, 64), (33, 70, 20), (128, 200, 40), (320, 64, 10), (64, 784, 200), (5, 13, 31)]
BY_TORCH = 400  # multiplications of a product, below which torch adds up in a loop of its own, in another order


@cache
def multiplier() -> int | None:
    """Address of the SGEMM that torch's own products call; None where torch has another or does not show it."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return None
    found = of_torch("sgemm_")
    if found is None:
        return None
    found.restype = None
    return ctypes.cast(found, c_void_p).value if _gives_what_torch_gives(found) else None


def as_torch(x: Tensor, products: Sequence[tuple[int, int, int]]) -> bool:
    """Whether compiled functions can compute what torch computes of x: float32 on a CPU, with a compiler and the
    library, and products (rows, inner, columns) none of which torch adds up by itself."""
    if x.dtype is not torch.float32 or x.device.type != "cpu":
        return False
    if compiled.library() is None or multiplier() is None:
        return False
    if torch._C._len_torch_dispatch_stack():  # whoever counts torch's operations is to see them all
        return False
    return all(1 not in (i, j, k) and i * j * k >= BY_TORCH for i, j, k in products)


def _gives_what_torch_gives(sgemm: Any) -> bool:
    """Whether it takes its arguments as expected, and its last bits are those of torch's products of several cells."""
    one, zero, threads = ctypes.byref(c_float(1.0)), ctypes.byref(c_float(0.0)), torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    try:
        for rows, inner, columns in _TRIED:
            a, b = (torch.randn(2, *size, generator=generator) for size in ((rows, inner), (inner, columns)))
            out = torch.zeros(2, rows, columns)
            m, k, n = (ctypes.byref(c_int(size)) for size in (rows, inner, columns))
            for x, y, into in zip(a, b, out, strict=True):
                addresses = [c_void_p(each.data_ptr()) for each in (y, x, into)]
                sgemm(b"N", b"N", n, m, k, one, addresses[0], n, addresses[1], k, zero, addresses[2], n)
            if not torch.equal(out, torch.bmm(a, b)):
                return False
    finally:
        torch.set_num_threads(threads)
    return True
