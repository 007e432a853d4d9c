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


def used_up(saved: Tensor, factor: Tensor) -> Tensor:
    """saved × factor, in an operation's gradient: over `saved` where nobody asks for that gradient again, because new
    memory of the size of all pixels costs more than the product."""
    return saved * factor if _kept() else saved.mul_(factor)


def _kept() -> bool:
    """Whether the graph that is gone through now is kept for another time, or that is not known."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return asked is None or bool(asked())


def address(x: Tensor | None) -> int | None:
    """Where the numbers of x begin in memory, for a compiled function; None for none."""
    return None if x is None else x.data_ptr()


def stride(x: Tensor | None) -> int:
    """How many numbers lie from one cell of x, (C, …), to the next, for a compiled function; 0 for none."""
    return 0 if x is None else x.stride(0)


def row_by_row(x: Tensor) -> bool:
    """Whether the numbers of each cell of x, (C, …, N), lie row after row, as compiled functions read them."""
    return x.stride(-1) == 1 and (x.dim() == 2 or x.stride(-2) == x.shape[-1])
