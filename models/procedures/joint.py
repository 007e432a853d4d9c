"""`joint`: inference and generative networks follow one gradient, one minibatch per step."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.cell import Cell
from models.draws.draws import Purpose
from models.networks.network import Numbers
from models.procedures import halving
from models.stack.cuda_graph import Captured

if TYPE_CHECKING:
    from models.stack.stack import Stack


class Joint:
    """Stochastic gradient ascent on the objective. See `models.procedures.procedure.Procedure`."""

    captures = True  # until one recording has failed in this process: what that leaves behind is not for another

    def __init__(self) -> None:
        self._captured: Captured | None = None

    def state(self, cells: Sequence[Cell], device: torch.device) -> dict[str, Tensor]:
        """What halving its rate needs."""
        return halving.state(cells, device)

    def refine(self, *_: Any) -> list[Numbers] | None:
        """None: q's numbers are the inference network's."""
        return None

    def _given(self, stack: Stack, x: Tensor, step: int | Tensor) -> list[Numbers] | None:
        """Numbers of q for a training step, which take the place of the inference network's; None: its own."""
        return None

    def step(self, stack: Stack) -> None:
        """One minibatch; on a GPU as one captured graph."""
        captured = self._graph(stack) if stack.device.type == "cuda" and Joint.captures else None
        if captured is None:
            self.advance(stack, stack.step)
        else:
            captured.run(stack)
        stack.step += 1
        halving.after_step(stack)

    def _graph(self, stack: Stack) -> Captured | None:
        """The graph of the stack's step, recorded if its tensors are others than before; None where that fails."""
        if self._captured is None or self._captured.block is not stack.block:
            self._captured = None  # the memory of the old one first
            try:
                self._captured = Captured(stack, self.advance)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as fault:
                Joint.captures = False
                warnings.warn(f"a step launches its kernels one by one, slower: no CUDA graph ({fault})", stacklevel=3)
        return self._captured

    def advance(self, stack: Stack, step: int | Tensor) -> None:
        """The computation of a step: nothing in it waits for a GPU. The loss is a sum over cells, whose gradients so
        are their own.

        A cell whose objective or gradient is not finite is *diverged* at this step: it is masked before the update,
        and the others go on unaffected.
        """
        draws, batch = stack.draws, stack.batch_size
        x = stack.minibatch(step)
        noise = [
            draws.normal(Purpose.LATENT, (stack.samples, batch, units), step, layer)
            for layer, units in enumerate(stack.network.latents, start=1)
        ]
        smoothing = stack.objective.smoothing(draws, step, stack.network.latents, batch)
        paths = stack.objective.paths()
        more: dict[str, Any] = {} if paths is None else {"paths": paths}
        if given := self._given(stack, x, step):
            more["given"] = given
        more |= stack.masks(step)
        terms = stack.network.terms(stack.params, x, noise, smoothing, **more)
        value = stack.objective.value(terms, step)
        gradient = stack.block.differentiate(-value.sum())
        norm = torch.linalg.vector_norm(gradient, dim=1)
        value = value.detach()
        stack.mark_diverged(torch.isfinite(value + norm), step)  # a sum is finite only where both are
        stack.optimizer.update(gradient, step, stack.active, norm)
        stack.count(value)
