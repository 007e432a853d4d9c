"""Procedures: how a stack is trained. Each is a few phase functions that a host loop calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from models.stack.stack import Stack


class Procedure(Protocol):
    """One way to train. Its counters and stop reasons, if any, are per-cell tensors in `Stack.tensors`."""

    def step(self, stack: Stack) -> None:
        """One training step of every active cell: update `stack` in place and raise `stack.step` by one."""
        ...
