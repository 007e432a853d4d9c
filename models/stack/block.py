"""The trained tensors of a stack in one block of memory, and their gradient in another.

A cell's numbers lie together, so that its norm is one operation and its update one call however many tensors it has.
Every tensor begins at a multiple of 16 numbers and a cell takes a multiple of 16: what a vector instruction does to a
number is the same for the first cell of a stack as for the last.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

ALIGNED = 16  # numbers


class Block:
    """Tensors by name as views of one: `values` (cells, P), and `gradient` of the same shape.

    Args:
        tensors: first values, each (cells, …).
        groups: of each tensor, by its name; those without a name here are in none.

    Attributes:
        ranges: of each group, the columns that are its own, in as few slices as there are.
    """

    def __init__(self, tensors: Mapping[str, Tensor], groups: Mapping[str, str] | None = None):
        self.shapes = {name: tensor.shape[1:] for name, tensor in tensors.items()}
        self.groups = dict(groups or {})
        self.ranges: dict[str, list[slice]] = {}
        first = 0
        for name, shape in self.shapes.items():
            last = first + _padded(shape)
            own = self.ranges.setdefault(self.groups.get(name, ""), [])
            if own and own[-1].stop == first:
                own[-1] = slice(own[-1].start, last)
            else:
                own.append(slice(first, last))
            first = last
        like = next(iter(tensors.values()))
        width = sum(_padded(shape) for shape in self.shapes.values())
        self.values = torch.zeros(len(like), width, dtype=like.dtype, device=like.device)
        self.gradient = torch.zeros_like(self.values)
        for name, view in self.views(self.values).items():
            view.copy_(tensors[name])
        self.params = {name: view.requires_grad_() for name, view in self.views(self.values).items()}
        self._buffers = self.views(self.gradient)

    def views(self, block: Tensor) -> dict[str, Tensor]:
        """The tensors in a block of this layout, (cells, P)."""
        found, first = {}, 0
        for name, shape in self.shapes.items():
            found[name] = block[:, first : first + math.prod(shape)].view(len(block), *shape)
            first += _padded(shape)
        return found

    def apart(self, groups: Collection[str]) -> dict[str, Tensor]:
        """The tensors by name, those of other groups detached: of these a network then makes no gradient."""
        return {name: p if self.groups.get(name, "") in groups else p.detach() for name, p in self.params.items()}

    def differentiate(self, loss: Tensor, groups: Collection[str] | None = None) -> Tensor:
        """The gradient of a loss, (cells, P), overwriting the last one; of `groups` alone, others' columns stay.

        During this `param.grad` is where a parameter's gradient belongs: an operation with a gradient of its own may
        take that tensor (`models.kernels.buffers`) and return it filled. What comes back elsewhere is copied.
        """
        wanted = [name for name in self.params if groups is None or self.groups.get(name, "") in groups]
        params, buffers = [self.params[name] for name in wanted], [self._buffers[name] for name in wanted]
        for param, buffer in zip(params, buffers, strict=True):
            param.grad = buffer
        try:
            for buffer, found in zip(buffers, torch.autograd.grad(loss, params), strict=True):
                if found.data_ptr() != buffer.data_ptr():
                    buffer.copy_(found)
        finally:
            for param in params:
                param.grad = None
        return self.gradient

    def norm(self, groups: Collection[str] | None = None) -> Tensor:
        """The norm of the gradient, or of the part of it that is of `groups`, (cells,)."""
        if groups is None or set(groups) == set(self.ranges):
            whole: Tensor = torch.linalg.vector_norm(self.gradient, dim=1)
            return whole
        columns = [each for group in self.ranges if group in groups for each in self.ranges[group]]
        parts = [torch.linalg.vector_norm(self.gradient[:, each], dim=1) for each in columns]
        found: Tensor = torch.linalg.vector_norm(torch.stack(parts, dim=1), dim=1)
        return found


def _padded(shape: Sequence[int]) -> int:
    return -(-math.prod(shape) // ALIGNED) * ALIGNED
