"""Where the gradient's noise costs the top layer as much as smoothing pays for it: a predicted critical ρ.

What smoothing pays. Take a top unit z that is linked to a unit of the layer below, all Gaussian. The smoothed objective
of such a pair can exceed that of a dead one by up to −½ log c₁ nats, as q's deviation goes to 0. Here c₁(ρ) =
ρ² + (1 − ρ²)/S is what smoothing leaves of the variance that z's own noise brings: p's mean, averaged over S samples,
follows q's mean as before and q's noise less. At ρ = 1, or S = 1, it pays nothing.

What it costs. Near a minimum Adam's step of a parameter i is its gradient over σ_i, the standard deviation that
minibatches give this gradient, times the learning rate η. The noise moves it by about η per step in a random direction,
the curvature h brings it back by η h θ / σ_i: a stationary variance of η σ_i / (2 h), which lowers the objective
by η σ_i / 4 on average, whatever h is. A layer that is used has gradients of more noise than a dead one. So keeping
the top layer costs (η / 4) Σ_i (σ_i alive − σ_i dead) over the parameters of its two maps.

The top layer is expected to be alive where pay exceeds cost. No constant is fitted, but the sum was restricted to the
top layer's two maps after the fact: over all parameters the cost at the onsets that were found is two to three times
the pay. What is left out: units are not linear, layers below the top change as well, steps are finite, and Adam's noise
is not stationary. How well it does is written in docs/transition.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell import Cell
from models.draws.draws import draws_on
from models.evaluation.top_layer import Minibatch, gradient, top_parameters
from models.stack.stack import Stack

MINIBATCHES = 24  # behind an estimate of σ: on average it is 1 % too small


def pay(rho: npt.NDArray[np.float64], cell: Cell) -> npt.NDArray[np.float64]:
    """What smoothing at each ρ pays for the cell's top layer, in nats: −½ log c₁ per pair of units."""
    c1 = rho**2 + (1.0 - rho**2) / cell.smoothing_samples
    pairs = min(cell.latent_sizes[-2:])
    found: npt.NDArray[np.float64] = -0.5 * float(cell.kl_weight) * pairs * np.log(c1)
    return found


def noise_cost(stack: Stack, rho: Sequence[float], smoothing_samples: int, seed: int, batch: int) -> Tensor:
    """(η / 4) Σ σ_i over the parameters of the top layer's maps, in nats, at every ρ of a list: (len(rho),), float64.

    Args:
        stack: one trained cell; nothing in it is changed, and its own ρ has no say. η is its rate at its last step.
        smoothing_samples: S.
        seed, batch: of the draws; every batch is an estimate of its own, from `MINIBATCHES` minibatches of the cell's
            size.
    """
    source, names = draws_on(stack.device, [seed], stack.dtype), top_parameters(stack)
    first = batch * MINIBATCHES
    minibatches = [
        Minibatch(stack, source, number, stack.batch_size, smoothing_samples)
        for number in range(first, first + MINIBATCHES)
    ]
    deviations = []
    for each in rho:
        gradients = torch.stack([gradient(stack, minibatch, each, names) for minibatch in minibatches])
        deviations.append(gradients.double().std(0).sum())
    return torch.stack(deviations) * (stack.optimizer.learning_rate(stack.step)[0] / 4.0)
