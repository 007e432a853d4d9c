"""The model's own posterior of a scalar z, on a grid: its mean beside that of q, and log p(x) without samples.

    w_k = p(z_k) p(x|z_k),   log p(x) = log h Σ_k w_k,   μ_θ(x) = Σ_k z_k w_k / Σ_k w_k,   h the stride

Plotted against each other, μ_θ and the mean μ_φ of q(z|x) are the posterior-mean space of He, Spokoyny, Neubig &
Berg-Kirkpatrick (2019, figure 2): on the diagonal inference keeps up with the model, on the axis μ_φ = 0 it has
collapsed, at the origin both have. log p(x) is what the importance-weighted bound approaches, and the gap

    KL(q(z|x) ‖ p(z|x)) = E_q[log q(z|x) − log w] + log p(x)

is what the ELBO lacks, with E_q on the same grid. Sums are float64.

On an analytic function a grid that resolves it is right to all digits: for a Gaussian of deviation s the error of the
sum is 2 exp(−2 π² s² / h²), so 5e−9 at h = s, and halving h takes its fourth power. An image's grid begins with `REACH`
on either side of 0 and `STRIDE`, and is halved, which keeps its points, until it is finer than q's deviation and
log p(x), μ_θ and the gap change by no more than `TOLERANCE`, or the stride is `MIN_STRIDE`. It is made twice as wide
where q reaches beyond it or w has not vanished at its ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from models.draws.draws import Purpose, draws_on
from models.evaluation.inputs import binarised, noise_of
from models.evaluation.refined import POSTERIOR, refined
from models.evaluation.settings import IMAGES, Evaluation
from models.evaluation.which import ImageBlock, spread
from models.networks.network import Network, Params
from models.stack.stack import Stack

REACH, MAX_REACH = 8.0, 64.0
STRIDE, MIN_STRIDE = 2.0**-2, 2.0**-9  # powers of 2: points of the grid are exact in float32
TOLERANCE = 1e-4  # of log p(x) and the gap in nats, and of μ_θ; float32 log p(x|z) is not known much better
MAX_EDGE = -25.0  # log of w at an end of the grid, over the sum of all
DEVIATIONS = 8.0  # of q, that a grid holds on either side of its mean
ROWS = 1000  # points × images computed at a time

LogWeight = Callable[[Tensor, Tensor], Tensor]  # of (points,) z and (n,) places of images: log w, (points, n) float64
SCALARS = "nll_exact", "nll_exact_iw", "nll_exact_iw_se", "posterior_gap", "posterior_stride", "posterior_error"
LISTS = "posterior_mean_model", "posterior_mean_inference"


@torch.no_grad()
def posterior_mean(
    stack: Stack, images: Any, settings: Evaluation, places: Sequence[slice], between: Callable[[], object]
) -> list[dict[str, Any]]:
    """The columns of every cell of a stack: `LISTS`, one number per image, and `SCALARS`.

    They are None where z is not one Gaussian variable.

    Args:
        images: those that are evaluated, of which `settings.posterior_mean` are taken, spread over them.
        places: not used: the grids of no two cells are alike, so that each is computed by itself.
        between: called before every block of images and of chains, and before every halving.
    """
    if stack.network.latents != (1,) or not stack.network.posterior.gaussian:
        return [dict.fromkeys((*LISTS, *SCALARS)) for _ in stack.cells]
    wanted = min(settings.posterior_mean, len(images))
    chosen = images[spread(len(images), wanted)]
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    parts = [(slice(cell, cell + 1), *stack.part(slice(cell, cell + 1))) for cell in range(len(stack.cells))]
    found: list[list[OnGrid]] = [[] for _ in parts]
    bounds: list[list[Tensor]] = [[] for _ in parts]
    means: list[list[Tensor]] = [[] for _ in parts]
    for first in range(0, wanted, IMAGES):
        k = settings.importance_samples
        block = ImageBlock(first, min(IMAGES, wanted - first), k, k, True)
        x = binarised(stack, chosen[block.here], source, first, Purpose.POSTERIOR_BINARISE)
        noise = [
            noise_of(stack, source, Purpose.POSTERIOR_LATENT, block, chains, number)
            for number, chains in enumerate(block.chain_blocks())
        ]
        for cell, (here, network, params) in enumerate(parts):
            between()
            given = refined(stack, here, network, params, x[here], source, first, POSTERIOR)
            weights = []
            for each in noise:
                between()
                terms = network.terms(params, x[here], each, given=given)
                (layer,) = terms.layers
                weights.append((terms.log_px.double() + layer.log_p.double() - layer.log_q.double())[0])
            bounds[cell].append(torch.cat(weights).logsumexp(0) - math.log(k))
            mean, deviation = layer.q_mean, layer.q_deviation
            assert deviation is not None  # of a Gaussian
            mean, deviation = (each.double().expand(1, 1, block.count, 1).flatten() for each in (mean, deviation))
            means[cell].append(mean)
            log_weight = _log_weight(network, params, x[here])
            found[cell].append(on_grid(log_weight, mean, deviation, between))
    return [_row(OnGrid.joined(f), torch.cat(m), torch.cat(b)) for f, m, b in zip(found, means, bounds, strict=True)]


def _log_weight(network: Network, params: Params, x: Tensor) -> LogWeight:
    """log p(z) p(x|z) of one cell for images x, (1, 1, images, features): z is what a standard normal q is drawn as."""

    def at(z: Tensor, places: Tensor) -> Tensor:
        seen = x[:, :, places]
        mean = seen.new_zeros(1, 1, len(places), 1)
        found = []
        for some in torch.split(z.to(x.dtype), max(1, ROWS // len(places))):
            noise = some.view(1, -1, 1, 1).expand(1, -1, len(places), 1)
            terms = network.terms(params, seen, [noise], given=[(mean, torch.ones_like(mean))])
            found.append((terms.log_px.double() + terms.layers[0].log_p.double())[0].expand(len(some), len(places)))
        return torch.cat(found)

    return at


@dataclass(frozen=True)
class OnGrid:
    """Of each image, (images,) float64: log p(x), the posterior's mean, KL(q ‖ posterior), the stride it ended with,
    and by how much the last halving changed the most changed of these three (of a gap above 1 nat: its share)."""

    log_px: Tensor
    mean: Tensor
    gap: Tensor
    stride: Tensor
    error: Tensor

    @classmethod
    def joined(cls, parts: Sequence[OnGrid]) -> OnGrid:
        """Of the images of all parts."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def on_grid(
    log_weight: LogWeight, mean: Tensor, deviation: Tensor, between: Callable[[], object] = lambda: None
) -> OnGrid:
    """The posterior of each image on a grid as fine and as wide as it needs.

    Args:
        log_weight: log p(z) p(x|z).
        mean, deviation: of q(z|x), (images,) float64 each. The gap is NaN where q reaches beyond the widest grid.
    """
    whole = OnGrid(*(torch.full_like(mean, math.nan) for _ in fields(OnGrid)))
    rest, needed = torch.arange(len(mean), device=mean.device), mean.abs() + DEVIATIONS * deviation
    reach = REACH
    while len(rest) and reach <= MAX_REACH:
        wider = (needed[rest] > reach) & (reach < MAX_REACH)
        here = rest[~wider]
        if len(here):
            found, edge = _halved(log_weight, here, mean[here], deviation[here], reach, between)
            for field in fields(OnGrid):
                getattr(whole, field.name)[here] = getattr(found, field.name)
            wider[~wider] = edge > MAX_EDGE
        rest, reach = rest[wider], 2 * reach
    whole.gap[needed > MAX_REACH] = math.nan
    return whole


def _halved(
    log_weight: LogWeight,
    images: Tensor,
    mean: Tensor,
    deviation: Tensor,
    reach: float,
    between: Callable[[], object],
) -> tuple[OnGrid, Tensor]:
    """The grid from −reach to reach, halved for each image as often as it needs; and log of the weight at its ends over
    the sum of all, (images,)."""
    stride, rest = STRIDE, torch.arange(len(images), device=images.device)
    points = int(reach / stride)
    z = torch.arange(-points, points + 1, device=images.device, dtype=torch.float64) * stride
    between()
    log_w = log_weight(z, images)  # (points, rest)
    last = _sums(z, log_w, mean, deviation)
    found = OnGrid(*(torch.full_like(mean, math.nan) for _ in fields(OnGrid)))
    edge = log_w[[0, -1]].amax(0) - log_w.logsumexp(0)
    while len(rest):
        stride = stride / 2
        between()
        z_between = z[:-1] + stride
        log_w = _interleaved(log_w, log_weight(z_between, images[rest]))
        z = _interleaved(z, z_between)
        sums = _sums(z, log_w, mean[rest], deviation[rest])
        changed = (sums - last).abs()
        error = torch.maximum(changed[:2].amax(0), changed[2] / sums[2].abs().clamp_min(1.0))
        numbers = *sums, torch.full_like(error, stride), error
        for field, values in zip(fields(OnGrid), numbers, strict=True):
            getattr(found, field.name)[rest] = values
        coarse = (error > TOLERANCE) | (deviation[rest] < stride)  # what is not finite gets no better
        if stride <= MIN_STRIDE:
            break
        rest, log_w, last = rest[coarse], log_w[:, coarse], sums[:, coarse]
    return found, edge


def _interleaved(a: Tensor, b: Tensor) -> Tensor:
    """a₀ b₀ a₁ b₁ … a_n along the first axis."""
    whole = a.new_empty(len(a) + len(b), *a.shape[1:])
    whole[::2], whole[1::2] = a, b
    return whole


def _sums(z: Tensor, log_w: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log p(x), the posterior's mean, KL(q ‖ posterior), of z (points,) and log w (points, images): (3, images).

    q's weights on the grid sum to 1, whatever its stride.
    """
    log_px = log_w.logsumexp(0) + (z[1] - z[0]).log()
    of_model = log_w.softmax(0)
    log_q = -0.5 * ((z[:, None] - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)
    gap = (log_q.softmax(0) * (log_q - log_w)).sum(0) + log_px
    return torch.stack([log_px, (of_model * z[:, None]).sum(0), gap])


def _row(found: OnGrid, of_q: Tensor, bounds: Tensor) -> dict[str, Any]:
    above, gap = found.log_px - bounds, float(found.gap.mean())  # both on average at least 0
    return {
        "posterior_mean_model": found.mean.tolist(),
        "posterior_mean_inference": of_q.tolist(),
        "nll_exact": -float(found.log_px.mean()),
        "nll_exact_iw": -float(bounds.mean()),
        "nll_exact_iw_se": float(above.std() / math.sqrt(len(above))) if len(above) > 1 else None,
        "posterior_gap": gap if math.isfinite(gap) else None,
        "posterior_stride": float(found.stride.min()),
        "posterior_error": float(found.error.max()),
    }
