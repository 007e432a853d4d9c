"""A training step as one CUDA graph: launched once by the host instead of kernel by kernel.

A step of small networks is some five hundred short kernels, whose launches take the host longer than they take a GPU.
Here they are recorded once for a stack and replayed: draws, minibatch, gradient, update and masks; the host only says
which step it is, and once per epoch in which order the images come.

No GPU could be had when this was written: `python -m benchmarks gpu` measures it, tests marked `gpu` compare it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.stack.stack import Stack

WARM_UP = 3  # runs before the recording, so that libraries have what they allocate when first used
AHEAD = 16  # steps between the host's waits: at most twice as many are under way, so that progress and stops are prompt


class Captured:
    """The graph of a stack's step.

    Args:
        stack: on a GPU; its tensors must stay where they are (`block` says whether they did).
        advance: the step's computation, given its number as a tensor; reads nothing back to the host.

    Raises RuntimeError where it cannot be recorded, with the stack as it was.
    """

    def __init__(self, stack: Stack, advance: Callable[[Stack, Tensor], None]):
        self.block = stack.block
        self.step = torch.full((), stack.step, dtype=torch.int64, device=stack.device)
        self.graph = torch.cuda.CUDAGraph()
        self.reached = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        active, stream, side = stack.active.clone(), torch.cuda.current_stream(), _side()
        stack.shuffle()
        stack.active.zero_()  # while no cell is active a step changes nothing
        try:
            side.wait_stream(stream)
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    advance(stack, self.step)
            stream.wait_stream(side)
            stack.forget_draws()
            with torch.cuda.graph(self.graph, stream=side):
                advance(stack, self.step)
        finally:
            torch.cuda.set_stream(stream)  # a recording that fails when it ends leaves its own
            stack.forget_draws()
            stack.active.copy_(active)

    def run(self, stack: Stack) -> None:
        """Replay it for the stack's present step."""
        if stack.step % AHEAD == 0:
            self.reached.synchronize()
            self.reached.record()
        stack.shuffle()
        self.step.fill_(stack.step)
        self.graph.replay()


@cache
def _side() -> torch.cuda.Stream:
    """One stream for all that is recorded: libraries keep working memory for each stream they have seen."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
