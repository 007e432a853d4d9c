"""`semi_amortized`: each image's numbers of q are refined by gradient ascent, from where the inference network begins.

    λ₀ = inference network(x),   v_k = γ v_{k−1} + ∇_λ F(λ_k; ε_k),   λ_{k+1} = λ_k + η v_k,   k = 0 … K − 1

with λ = (μ, log σ²) of every layer, and trained is the objective at λ_K, with noise of its own (Kim, Wiseman, Miller,
Sontag & Rush, ICML 2018, Algorithm 1). F is the image's own ELBO at one fresh sample, its KL terms weighed by β,
without free bits and never smoothed: the refinement is part of inference, and the same in training and evaluation. So η
is the step of an image, and does not depend on the batch; the published code takes the mean over the batch, which makes
it 1/32 or 1/50.

`full`: θ and φ follow the gradient through all K steps, by autograd, of second order. (The published backward pass
takes differences of float32 gradients, which are off by 8 to 53 %.) `first_order`: the steps' gradients count as
constants, so θ has its gradient at a fixed λ_K, and φ that of λ_K as if it were λ₀.

In a hierarchy λ has numbers for every layer, those of layer 2 … L from one ancestral chain of the image: refined, q is
a product over layers. The noise of that chain and of the steps is independent of the samples at λ_K, so the bounds that
evaluation computes there are bounds. Nothing of it is recorded as a graph on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.cell import Cell
from models.draws.draws import Purpose
from models.kernels.twice import twice_differentiable
from models.networks.network import Network, Numbers, Params
from models.parameters import column
from models.procedures.joint import Joint

if TYPE_CHECKING:
    from models.stack.cuda_graph import Captured
    from models.stack.stack import Stack


class SemiAmortized(Joint):
    """`joint`, at refined numbers. See `models.procedures.procedure.Procedure`."""

    def refine(
        self,
        cells: Sequence[Cell],
        network: Network,
        params: Params,
        x: Tensor,
        noise: Callable[[int], Sequence[Tensor]],
        kl_weight: Tensor,
    ) -> list[Numbers]:
        """See `Procedure.refine`."""
        with torch.no_grad():
            first = network.terms(params, x, noise(0))
        fixed = {name: param.detach() for name, param in params.items()}
        return refined(cells, network, fixed, x, _numbers(first.layers), noise, kl_weight, full=False)

    def _given(self, stack: Stack, x: Tensor, step: Any) -> list[Numbers]:
        """λ_K of a training batch, with its graph."""
        shape = 1, stack.batch_size

        def noise(inner: int) -> list[Tensor]:
            layers = enumerate(stack.network.latents, start=1)
            return [stack.draws.normal(Purpose.REFINE_LATENT, (*shape, n), step, i, inner) for i, n in layers]

        full = stack.cells[0].svi_gradient == "full"
        params = stack.params if full else stack.block.apart(())
        first = _numbers(stack.network.terms(stack.params, x, noise(0)).layers)
        weight = stack.objective.kl_weight.at(step)
        return refined(
            stack.cells, stack.network, params, x, first, noise, weight, full, lambda inner: stack.masks(step, inner)
        )

    def _graph(self, stack: Stack) -> Captured | None:
        """None."""
        return None


def refined(
    cells: Sequence[Cell],
    network: Network,
    params: Params,
    x: Tensor,
    first: Sequence[Numbers],
    noise: Callable[[int], Sequence[Tensor]],
    kl_weight: Tensor,
    full: bool,
    masks: Callable[[int], dict[str, Any]] | None = None,
) -> list[Numbers]:
    """λ_K as mean and deviation of each layer, (cells, 1, batch, units), with a graph back to `first`, λ₀.

    Args:
        noise: of pass n through the network: 1 … K are those of the steps.
        full: with a graph through the steps too, which needs that of `params`; else these should have none.
        masks: of dropout, of step n of the refinement in training; None: nothing is dropped.
        Others as of `Procedure.refine`.
    """
    rate, momentum = (column([getattr(c, name) for c in cells], x, 4) for name in ("svi_rate", "svi_momentum"))
    weight = kl_weight.view(-1, 1, 1)
    numbers = [each for mean, deviation in first for each in (mean, 2.0 * deviation.log())]
    speed: list[Tensor] = [torch.zeros_like(each) for each in numbers]
    for n in range(1, cells[0].svi_steps + 1):
        with torch.enable_grad():
            # Nodes of their own: λ of layer 2 was computed from that of layer 1, which ∂F/∂λ does not go through.
            at = [each.view_as(each) if full else each.detach().requires_grad_() for each in numbers]
            slope = _slope(network, params, x, at, noise(n), weight, full, {} if masks is None else masks(n))
        speed = [momentum * before + now for before, now in zip(speed, slope, strict=True)]
        numbers = [each + rate * now for each, now in zip(numbers, speed, strict=True)]
    return _given(numbers)


def _slope(
    network: Network, params: Params, x: Tensor, numbers: Sequence[Tensor], noise: Sequence[Tensor], weight: Tensor,
    full: bool, masks: dict[str, Any],
) -> Sequence[Tensor]:  # fmt: skip
    """∂F/∂λ of each image, shapes as of `numbers`."""
    if not full:
        terms = network.terms(params, x, noise, given=_given(numbers), **masks)
        return torch.autograd.grad(_elbo(terms, weight), numbers)
    with twice_differentiable():
        terms = network.terms(params, x, noise, given=_given(numbers), **masks)
        return torch.autograd.grad(_elbo(terms, weight), numbers, create_graph=True)


def _elbo(terms: Any, weight: Tensor) -> Tensor:
    """Σ over cells and images of log p(x|z₁) − β Σ_i term_i, a mean over samples: of a sum each image has its own
    gradient."""
    each = terms.log_px
    for layer in terms.layers:
        each = each - weight * layer.term()
    total: Tensor = each.mean(1).sum()
    return total


def _numbers(layers: Sequence[Any]) -> list[Numbers]:
    return [(layer.q_mean, layer.q_deviation) for layer in layers]


def _given(numbers: Sequence[Tensor]) -> list[Numbers]:
    """Mean and deviation from μ and log σ², layer by layer."""
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [(mean, (0.5 * log_variance).exp()) for mean, log_variance in pairs]
