"""Where operations with a gradient of their own find tensors, and write the gradient of a parameter."""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_buffer(param: Tensor) -> Tensor:
    """The parameter's place in its block (`models.stack.block`) if that is still free, else new memory.

    A parameter that takes part twice has two gradients, which autograd adds up: the second finds the place taken.
    """
    buffer, param.grad = param.grad, None
    return torch.empty_like(param) if buffer is None else buffer


def address(x: Tensor | None) -> int | None:
    """Where the numbers of x begin in memory, for a compiled function; None for none."""
    return None if x is None else x.data_ptr()


def stride(x: Tensor | None) -> int:
    """How many numbers lie from one cell of x, (C, …), to the next, for a compiled function; 0 for none."""
    return 0 if x is None else x.stride(0)
