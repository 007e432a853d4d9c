"""What an LSTM network's encoder and decoder share: how parameters start, and the maps of all cells of a stack at once.

Shapes: C cells, B batch, L positions, V symbols, E of an embedding, R rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.products import multiplied
from models.parameters import Group, Parameter

PLACES: dict[Group, int] = {"inference": 0, "generative": 1 << 16}  # of parameters' draws: never renumbered
_EMBEDDING_RANGE = 0.1


def uniform_parameters(group: Group, shapes: Mapping[str, tuple[int, ...]], width: float) -> list[Parameter]:
    """Parameters that start uniform on ± this width, or on that of embeddings."""
    return [
        Parameter(
            f"{group}.{name}", shape, 1, PLACES[group] + place, group=group,
            uniform=_EMBEDDING_RANGE if name == "embedding" else width,
        )
        for place, (name, shape) in enumerate(shapes.items(), start=1)
    ]  # fmt: skip


def embed(table: Tensor, tokens: Tensor) -> Tensor:
    """The rows of each cell's table, (C, V, E), for its symbols, (C, …) → (C, …, E)."""
    cells, symbols, units = table.shape
    first = torch.arange(cells, device=tokens.device).mul_(symbols).view(-1, *(1,) * (tokens.dim() - 1))
    return F.embedding(tokens + first, table.reshape(-1, units))


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b: (C, B, L, I) → (C, B, L, O)."""
    return multiplied(x.flatten(1, 2), weight, bias.unsqueeze(1)).view(*x.shape[:3], -1)


def sum_of_products(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W, and b where there is one: (C, R, I), (C, I, O) → (C, R, O).

    Of one input or one output, as for a scalar z, it is no matrix product: that of a column has other last bits alone
    than in a batch of several.
    """
    if weight.shape[1] == 1:
        found = x * weight
    elif weight.shape[2] == 1:
        found = (x * weight.mT).sum(-1, keepdim=True)
    elif bias is not None:
        return torch.baddbmm(bias.unsqueeze(1), x, weight)
    else:
        return torch.bmm(x, weight)
    return found if bias is None else found + bias.unsqueeze(1)
