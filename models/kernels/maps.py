"""The affine maps of a perceptron as its compiled functions take them (`map.h`)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p

from torch import Tensor

from models.kernels.buffers import address, stride


class MapOfCells(ctypes.Structure):
    """`Map` of `map.h`."""

    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "of_weight", "of_bias", "out")),
        *((name, c_int64) for name in ("weight_stride", "bias_stride", "of_weight_stride", "of_bias_stride")),
        *((name, c_int64) for name in ("inputs", "outputs")),
    ]


def maps_of(
    tensors: Sequence[Tensor], outs: Sequence[Tensor], found: Sequence[Tensor | None] | None = None
) -> ctypes.Array[MapOfCells]:
    """A `Map` per weight (C, I, O) and bias (C, O), which come in turn.

    outs: what each puts out. found: where the gradients of `tensors` go, None for one that is not asked for.
    The memory of all of them must outlive the call that they are for.
    """
    made = []
    for i, out in enumerate(outs):
        weight, bias = tensors[2 * i : 2 * i + 2]
        of_weight, of_bias = (None, None) if found is None else found[2 * i : 2 * i + 2]
        made.append(
            MapOfCells(
                weight.data_ptr(),
                bias.data_ptr(),
                address(of_weight),
                address(of_bias),
                out.data_ptr(),
                weight.stride(0),
                bias.stride(0),
                stride(of_weight),
                stride(of_bias),
                *weight.shape[1:],
            )
        )
    return (MapOfCells * len(made))(*made)
