"""The affine maps of a perceptron as its compiled functions take them (`map.h`)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from torch import Tensor

from models.kernels.buffers import address, stride

_MAP = "5P6q"  # `Map` of `map.h`: addresses, then strides and sizes


def maps_of(tensors: Sequence[Tensor], outs: Sequence[Tensor], found: Sequence[Tensor | None] | None = None) -> bytes:
    """A `Map` per weight (C, I, O) and bias (C, O), which come in turn; bytes, because they are made in a microsecond.

    outs: what each puts out. found: where the gradients of `tensors` go, None for one that is not asked for.
    The memory of all of them must outlive the call that they are for.
    """
    numbers: list[int] = []
    for i, out in enumerate(outs):
        weight, bias = tensors[2 * i : 2 * i + 2]
        of_weight, of_bias = (None, None) if found is None else found[2 * i : 2 * i + 2]
        numbers += (
            weight.data_ptr(),
            bias.data_ptr(),
            address(of_weight) or 0,
            address(of_bias) or 0,
            out.data_ptr(),
            weight.stride(0),
            bias.stride(0),
            stride(of_weight),
            stride(of_bias),
            *weight.shape[1:],
        )
    return struct.pack(_MAP * len(outs), *numbers)
