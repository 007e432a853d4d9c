"""Variance of the training gradient over its noise, parameters and batch fixed (Pervez & Gavves 2021, figure 4).

    g_n = −∂ loss_n / ∂ μ₁(x_n),     the number: (1/B) Σ_n Σ_units Var(g_n)

The loss of an image, nats, is what the cell's objective makes of it at the present step; μ₁ the mean that the first
inference map puts out. The variance is of each image's own gradient, summed over units and averaged over the images of
one batch, which is binarised once: not the variance of a batch's mean gradient, which is smaller by the batch's size.

Noise has two sources, that of the samples z and that of smoothing, and by the law of total variance

    Var g = E[Var(g | noise of z)] + Var(E[g | noise of z])

the first term is what smoothing's own samples add at fixed noise of z, the second what the noise of z does to the
average over them. Every draw of the noise of z so comes with two of smoothing's, whose difference gives the first term.
The same noise of z without smoothing gives the plain variance. Where the objective smooths nothing, all is plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.draws.draws import Draws, Purpose, draws_on
from models.evaluation.inputs import binarised
from models.evaluation.settings import Evaluation
from models.evaluation.which import spread
from models.networks.network import Numbers
from models.objectives.smoothing import Smoothing
from models.stack.stack import Stack

COLUMNS = "gradient_variance", "gradient_variance_latent", "gradient_variance_smoothing", "gradient_variance_plain"


def gradient_variance(
    stack: Stack, images: Any, settings: Evaluation, places: Sequence[slice], between: Callable[[], object]
) -> list[dict[str, Any]]:
    """The columns of every cell of a stack: `COLUMNS`, `gradient_draws`, `gradient_images`.

    Variances are None where q(z₁|x) is no Gaussian of a mean that follows from x alone.

    Args:
        images: those that are evaluated, of which as many as a training batch has are taken, spread over them.
        places: not used: the stack is computed as in training; `between`: called before every draw.
    """
    chosen = images[spread(len(images), min(stack.batch_size, len(images)))]
    source = draws_on(stack.device, [settings.seed] * len(stack.cells), stack.dtype)
    x = binarised(stack, chosen, source, 0, Purpose.GRADIENT_BINARISE)
    batch = _Batch(stack, x, source)
    numbers = batch.first_numbers()
    common = {"gradient_draws": settings.gradient_variance, "gradient_images": len(chosen)}
    if numbers is None:
        return [dict.fromkeys(COLUMNS) | common for _ in stack.cells]
    plain, first, second = _Moments(), _Moments(), _Moments()
    within: Tensor | float = 0.0  # Σ over draws of the variance between smoothing's draws
    for draw in range(settings.gradient_variance):
        between()
        noise = batch.noise(draw)
        plain.add(batch.gradient(noise, None, numbers))
        pair = [batch.smoothing(draw, which) for which in range(2)]
        if pair[0] is not None:
            a, b = (batch.gradient(noise, each, numbers) for each in pair)
            first.add(a)
            second.add(b)
            within = within + 0.5 * (a - b).square()
    unsmoothed = plain.variance()
    trained = 0.5 * (first.variance() + second.variance()) if first.count else unsmoothed
    smoothing = within / plain.count if isinstance(within, Tensor) else torch.zeros_like(trained)
    measured = [each.sum(-1).mean(-1).tolist() for each in (trained, trained - smoothing, smoothing, unsmoothed)]
    return [dict(zip(COLUMNS, values, strict=True)) | common for values in zip(*measured, strict=True)]


class _Batch:
    """The loss of a fixed batch x, (cells, 1, batch, features), as a function of its noise and of q(z₁|x)'s numbers."""

    def __init__(self, stack: Stack, x: Tensor, source: Draws):
        self.stack, self.x, self.source = stack, x, source
        self.params = {name: param.detach() for name, param in stack.params.items()}

    def noise(self, draw: int) -> list[Tensor]:
        """Of every layer, (cells, samples, batch, units)."""
        shape = self.stack.samples, self.x.shape[2]
        layers = enumerate(self.stack.network.latents, start=1)
        return [self.source.normal(Purpose.GRADIENT_LATENT, (*shape, units), draw, layer) for layer, units in layers]

    def smoothing(self, draw: int, which: int) -> Smoothing | None:
        """What the objective smooths, with noise of its own; None: nothing."""
        stack = self.stack
        draws = _Readdressed(self.source, 2 * draw + which)
        return stack.objective.smoothing(draws, stack.step, stack.network.latents, self.x.shape[2])

    def first_numbers(self) -> Numbers | None:
        """Mean and deviation of q(z₁|x), each (cells, 1, batch, units); None where they are not what x alone gives."""
        if not self.stack.network.latents:
            return None
        with torch.no_grad():
            found = [self.stack.network.terms(self.params, self.x, self.noise(draw)).layers[0] for draw in range(2)]
        mean, deviation = found[0].q_mean, found[0].q_deviation
        if deviation is None or mean.shape[1] != 1 or not torch.equal(mean, found[1].q_mean):
            return None
        return mean, deviation

    def gradient(self, noise: Sequence[Tensor], smoothing: Smoothing | None, numbers: Numbers) -> Tensor:
        """g of each image, (cells, batch, units), float64."""
        mean, others = numbers[0].detach().requires_grad_(), [None] * (len(noise) - 1)
        with torch.enable_grad():
            terms = self.stack.network.terms(self.params, self.x, noise, smoothing, given=[(mean, numbers[1]), *others])
            value = self.stack.objective.value(terms, self.stack.step)  # a mean over the batch
        (found,) = torch.autograd.grad(value.sum(), mean)
        return found[:, 0].double() * self.x.shape[2]


class _Moments:
    """Running mean and variance of tensors of one shape (Welford 1962)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, value: Tensor) -> None:
        """One more."""
        self.count += 1
        shift = value - self.mean
        self.mean = self.mean + shift / self.count
        self.squares = self.squares + shift * (value - self.mean)

    def variance(self) -> Tensor:
        """With the count less one."""
        return self.squares / max(self.count - 1, 1)


class _Readdressed(Draws):
    """Draws for an objective's smoothing at addresses of this measurement, whatever purpose and step it asks with."""

    def __init__(self, source: Draws, number: int):
        self.source, self.number = source, number

    def normal(self, purpose: Purpose, shape: Sequence[int], step: Any = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """See `Draws.normal`."""
        return self.source.normal(Purpose.GRADIENT_SMOOTH, shape, self._step(purpose), layer, inner)

    def uniform(self, purpose: Purpose, shape: Sequence[int], step: Any = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """See `Draws.uniform`."""
        return self.source.uniform(Purpose.GRADIENT_SMOOTH, shape, self._step(purpose), layer, inner)

    def _step(self, purpose: Purpose) -> int:
        return self.number << 7 | int(purpose)  # purposes are below 128
