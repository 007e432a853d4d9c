"""Where a transition is to be expected, from two trained cells: their smoothed objectives at every ρ, without training.

    F_θ(ρ) = E_q log p_θ(x|z₁) − β Σ_i E_q[log q(z_i|z_{i−1}) − log p(z_i|U_ρ μ_i, U_ρ σ_i)]

is what training at ρ maximises, with the β that its warm-up ends at and without free bits. The weights θ of a cell well
below the critical ρ use the top layer, those of a cell trained at ρ = 1 have lost it. Near ρ = 1 the latter score
higher, further down the former: where the two cross, the optimum changes hands, and near there the critical ρ is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.draws import Purpose, draws_on
from models.evaluation import binarised
from models.settings import IMAGES, Evaluation
from models.smoothing import Smoothing
from models.training import Stack


def smoothed_objective(
    stack: Stack, rho: Sequence[float], smoothing_samples: int, settings: Evaluation, ratio: bool = False
) -> Tensor:
    """F(ρ) of every cell of a stack at every ρ of a list, nats an image.

    Args:
        stack: trained cells; nothing in it is changed, and their own ρ has no say.
        rho: in [0, 1].
        smoothing_samples, ratio: S and the parameterisation, as the cells of the transition are trained.
        settings: split, images, seed; `importance_samples` chains an image are averaged. Noise and binarisation are the
            same for all cells and ρ, so that differences between them are far surer than the values.

    Returns:
        (cells, len(rho)), float64.
    """
    images = getattr(stack.dataset, settings.split)[: settings.images or None]
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    latents, count = stack.network.latents, len(stack.cells)
    beta = stack.objective.kl_weight.end.view(-1, 1, 1)
    total = torch.zeros(count, len(rho), dtype=torch.float64, device=stack.device)
    with torch.no_grad():
        for first in range(0, len(images), IMAGES):
            x = binarised(stack, images[first : first + IMAGES], source, first)
            for chain in range(settings.importance_samples):
                noise = [
                    source.normal(Purpose.EVALUATE_LATENT, (1, x.shape[2], units), first, layer, chain)
                    for layer, units in enumerate(latents, start=1)
                ]
                smooth = [
                    source.normal(Purpose.EVALUATE_SMOOTH, (smoothing_samples, x.shape[2], units), first, layer, chain)
                    for layer, units in enumerate(latents[1:], start=2)
                ]
                for i, value in enumerate(rho):
                    smoothing = Smoothing(x.new_full((count, 1, 1, 1), value), smooth, ratio)
                    terms = stack.network.terms(stack.params, x, noise, smoothing, stack.decoder_variance)
                    objective = terms.log_px - beta * sum(layer.term() for layer in terms.layers)
                    total[:, i] += objective.double().sum((1, 2))
    return total / (len(images) * settings.importance_samples)
