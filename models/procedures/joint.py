"""`joint`: inference and generative networks follow one gradient, one minibatch a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.draws import Purpose

if TYPE_CHECKING:
    from models.training import Stack


class Joint:
    """Stochastic gradient ascent on the objective with Adam."""

    def step(self, stack: Stack) -> None:
        """One minibatch. The loss is a sum over cells, so each cell's gradient is its own.

        A cell whose objective or gradient is not finite is *diverged* at this step: it is masked before the update,
        and the others go on unaffected.
        """
        step, draws, batch = stack.step, stack.draws, stack.batch_size
        x = stack.minibatch(step)
        noise = [
            draws.normal(Purpose.LATENT, (stack.samples, batch, units), step, layer)
            for layer, units in enumerate(stack.network.latents, start=1)
        ]
        smoothing = stack.objective.smoothing(draws, step, stack.network.latents, batch)
        terms = stack.network.terms(stack.params, x, noise, smoothing, stack.decoder_variance)
        value = stack.objective.value(terms, step)
        grads = torch.autograd.grad(-value.sum(), list(stack.params.values()))
        norm = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads], dim=1).norm(dim=1)
        stack.mark_diverged(torch.isfinite(value) & torch.isfinite(norm))
        stack.optimizer.update(grads, step, stack.active, norm)
        stack.count(value.detach())
        stack.step += 1
