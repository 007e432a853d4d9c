"""Where a transition is to be expected, from two trained cells: their smoothed objectives at every ρ, without training.

    F_θ(ρ) = E_q log p_θ(x|z₁) − β Σ_i E_q[log q(z_i|z_{i−1}) − log p(z_i|U_ρ μ_i, U_ρ σ_i)]

is what training at ρ maximises, with the β that its warm-up ends at and without free bits. The weights θ of a cell well
below the critical ρ use the top layer, those of a cell trained at ρ = 1 have lost it. Near ρ = 1 the latter score
higher, further down the former: where the two cross, the optimum changes hands, and near there the critical ρ is found.

F comes in batches, each an estimate of its own: the plain objective F(1) from `CHAINS` chains per image, and what
smoothing takes away from it, F(ρ) − F(1), from one of them. Most of the noise is in the former, most of the work in the
latter, which is done at every ρ. A batch has binarisations and noise that no other batch has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.draws.draws import Draws, Purpose, draws_on, generator
from models.evaluation.settings import IMAGES
from models.networks.network import Terms
from models.objectives.smoothing import Smoothing
from models.stack.stack import Stack

CHAINS = 10  # an image of the plain objective, in a batch


def noise_seed(evaluation_seed: int, cell_seed: int) -> int:
    """The seed of the draws behind F for cells of one seed: so the estimates of several seeds err independently."""
    return int(generator(evaluation_seed, Purpose.PREDICT_SEED, step=cell_seed).integers(2**63 - 1))


def smoothed_objective(
    stack: Stack, images: Any, rho: Sequence[float], smoothing_samples: int, seed: int, batch: int, ratio: bool = False
) -> Tensor:
    """One batch's estimate of F(ρ) of every cell of a stack at every ρ of a list, nats per image.

    Args:
        stack: trained cells; nothing in it is changed, and their own ρ has no say.
        images: as the stack's data set has them, (images, features).
        rho: in [0, 1].
        smoothing_samples, ratio: S and the parameterisation, as the cells of the transition are trained.
        seed, batch: of the draws, which are the same for all cells and ρ, so that differences between these are far
            surer than the values.

    Returns:
        (cells, len(rho)), float64.
    """
    source = draws_on(stack.device, [seed], stack.dtype)
    total = torch.zeros(len(stack.cells), len(rho), dtype=torch.float64, device=stack.device)
    with torch.no_grad():
        for first in range(0, len(images), IMAGES):
            total += _of_images(
                stack, images[first : first + IMAGES], rho, smoothing_samples, source, (first, batch), ratio
            )
    return total / len(images)


def _of_images(
    stack: Stack,
    images: Any,
    rho: Sequence[float],
    smoothing_samples: int,
    source: Draws,
    address: tuple[int, int],
    ratio: bool,
) -> Tensor:
    """Σ over some images of F(ρ), (cells, len(rho)); `address`: first image and batch."""
    first, batch = address
    n, cells, network = len(images), len(stack.cells), stack.network
    beta = stack.objective.kl_weight.end.view(-1, 1, 1)

    def value(terms: Terms) -> Tensor:
        return (terms.log_px - beta * sum(layer.term() for layer in terms.layers)).double()

    rows = torch.tensor(images).to(stack.device).repeat(CHAINS, 1)  # chains one after the other, each binarised anew
    x = stack.dataset.observe(rows, lambda: source.uniform(Purpose.PREDICT_BINARISE, rows.shape, first, 0, batch)[0])
    x = x.to(stack.dtype).expand(cells, 1, *x.shape)
    noise = [
        source.normal(Purpose.PREDICT_LATENT, (1, len(x[0, 0]), units), first, layer, batch)
        for layer, units in enumerate(network.latents, start=1)
    ]
    smooth = [
        source.normal(Purpose.PREDICT_SMOOTH, (smoothing_samples, n, units), first, layer, batch)
        for layer, units in enumerate(network.latents[1:], start=2)
    ]
    plain = value(network.terms(stack.params, x, noise))
    one, of_one = x[:, :, :n], [each[:, :, :n] for each in noise]
    found = []
    for each in rho:
        smoothing = Smoothing(x.new_full((cells, 1, 1, 1), each), smooth, ratio)
        taken = value(network.terms(stack.params, one, of_one, smoothing)) - plain[:, :, :n]
        found.append(taken.sum((1, 2)) + plain.sum((1, 2)) / CHAINS)
    return torch.stack(found, 1)
