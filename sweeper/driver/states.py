"""The state of a cell in training as arrays: out of a stack for a checkpoint, one cell's to be kept, and back again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from models.stack.stack import Stack


def arrays_of(stack: Stack) -> dict[str, np.ndarray]:
    """The whole state, each array (cells, …)."""
    return _arrays(stack.tensors())


def arrays_to_keep(stack: Stack, i: int, keep: str) -> dict[str, np.ndarray]:
    """What is kept of the stack's cell `i` (no axis of cells); `keep`: `full`, or `weights` for no moments."""
    wanted = ("param/",) if keep == "weights" else ("",)
    own = {k: t[i : i + 1] for k, t in stack.tensors().items() if k.startswith(wanted) or k in stack.state}
    return {name: array[0] for name, array in _arrays(own).items()}


def as_stack_of_one(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A kept state as a checkpoint of the cell alone would have it, each array (1, …)."""
    return {name: array[None] for name, array in kept.items()}


def can_be_trained(state: Mapping[str, np.ndarray]) -> bool:
    """Whether the optimiser's moments are there."""
    return any(name.startswith(("adam.m/", "sgd.updates")) for name in state)


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
