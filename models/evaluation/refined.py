"""Numbers of q that a procedure refines for each image, in evaluation: what takes the place of the inference network's.

Semi-amortised cells are measured at λ_K, with noise of the refinement that is independent of every sample's: the
importance-weighted bound then has q_{λ_K} as its proposal, and is a bound. All other cells have none.
"""

from __future__ import annotations

from torch import Tensor

from models.draws.draws import Draws, Purpose
from models.networks.network import Network, Numbers, Params
from models.stack.stack import Stack

BOUNDS, AGAIN, INFORMATION, POSTERIOR = range(4)  # what the numbers are for: refinements of their own
_PASSES = 1 << 16  # more than a refinement has


def refined(
    stack: Stack,
    here: slice,
    network: Network,
    params: Params,
    x: Tensor,
    source: Draws,
    first: int,
    use: int = BOUNDS,
    purpose: Purpose = Purpose.EVALUATE_REFINE,
) -> list[Numbers] | None:
    """Mean and deviation of each layer for the cells `here`, (cells, 1, images, units) each; None: the network's own.

    Args:
        network, params, x: of these cells, x (cells, 1, images, features).
        source, purpose: of the noise; first: the place of the first image, which is part of its address.
        use: `BOUNDS`, `AGAIN`, `INFORMATION` or `POSTERIOR`.
    """

    def noise(number: int) -> list[Tensor]:
        layers, inner = enumerate(stack.network.latents, start=1), use * _PASSES + number
        drawn = [source.normal(purpose, (1, x.shape[2], units), first, layer, inner) for layer, units in layers]
        return [each if len(each) == 1 else each[here] for each in drawn]

    weight = stack.objective.kl_weight.at(stack.step)[here]
    return stack.procedure.refine(stack.cells[here], network, params, x, noise, weight)
