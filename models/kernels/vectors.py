"""The functions of many numbers that torch's own operations call, for compiled functions that give torch's bits.

eˣ − 1 is that of the library SLEEF inside torch, of as many numbers at a time as the processor's registers hold, and
tanh that of MKL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.kernels import compiled

TANH_ACCURACY = 0x2 | 0x140000 | 0x100  # MKL's VML_HA, VML_FTZDAZ_OFF and VML_ERRMODE_IGNORE, as torch asks for them
_TRIED = 1 << 14  # numbers over all magnitudes of float32, and as many near 0


@cache
def expm1() -> int | None:
    """Address of the function eˣ − 1 that torch calls; None where it is not known, or has other bits."""

    def elu(x: Tensor, out: Tensor, function: int) -> None:
        compiled.required().elu(x.data_ptr(), out.data_ptr(), x.numel(), function)

    def by_torch(x: Tensor) -> Tensor:
        return torch.maximum(x, x.clamp_max(0.0).expm1())

    found = compiled.library()
    numbers = 0 if found is None else found.numbers_of_function()
    return _if_as_torch(of_torch(f"Sleef_expm1f{numbers}_u10"), elu, by_torch) if numbers else None


@cache
def tanh() -> int | None:
    """Address of the function tanh that torch calls; None where it is not known, or has other bits."""

    def value(x: Tensor, out: Tensor, function: int) -> None:
        h, y = torch.stack([x, x.neg()], 1), torch.empty_like(x)
        both = torch.empty_like(h)
        compiled.required().gated_maps(
            h.data_ptr(), None, both.data_ptr(), y.data_ptr(), len(x), 1, function, TANH_ACCURACY
        )  # fmt: skip
        out.copy_(both[:, 0])

    return None if compiled.library() is None else _if_as_torch(of_torch("vmsTanh"), value, torch.tanh)


def of_torch(name: str) -> Any:
    """A function inside torch's library; None where it shows none of that name."""
    try:
        return getattr(ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")), name)
    except (OSError, AttributeError):
        return None


def _if_as_torch(
    found: Any, compute: Callable[[Tensor, Tensor, int], None], by_torch: Callable[[Tensor], Tensor]
) -> int | None:
    """Its address, if what is computed by it has the bits of torch's, of numbers of every magnitude and of none."""
    function = None if found is None else ctypes.cast(found, c_void_p).value
    if function is None:
        return None
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(1 << 31), (1 << 31) - 1, (_TRIED,), generator=generator, dtype=torch.int64).int()
    near = 4.0 * torch.randn(_TRIED - 1, generator=generator)
    x = torch.cat([bits.view(torch.float32), near, torch.tensor([0.0, -0.0, float("inf"), float("-inf")])])
    out = torch.empty_like(x)
    compute(x, out, function)
    expected = by_torch(x)
    same = (out == expected) | (out.isnan() & expected.isnan())
    return function if bool(same.all()) else None
