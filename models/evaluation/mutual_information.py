"""Mutual information between an image and each layer's latent variables, over the aggregate posterior of N images.

    Î_i = (1/N) Σ_n [log q̃(z_i^n|x_n) − log (1/N) Σ_m q̃(z_i^n|x_m)],   z_i^n ~ q(z_i|x_n)

An image's own term is among the N of the sum, so every bracket is at most log N, which is the cap: of images told apart
without doubt that is what comes out, whatever they carry. For any density q̃ that z_i^n had no part in, Î_i is on
average at most I_q(x; z_i) (InfoNCE with a critic that is given; Poole et al. 2019, §2.3), and with q̃ = q(z_i|x) it is
the mutual information between z_i and which of these N images it came from.

**q̃ at layer 1** of bottom-up inference is q(z₁|x) itself. **Above**, q(z_i|x) = E[q(z_i|z_{i−1})|x] is a mixture that
no network puts out. q̃ is then the diagonal Gaussian of its mean and variance, unit by unit, from `CHAINS` ancestral
chains of the image, of which z_i^n is none: a layer that hands noise upward without a word on the image gets 0, though
its KL is large. With the chains' own q(z_i|z_{i−1}) as a mixture in place of their Gaussian, 30 chains do not meet the
sample where that KL is more than a few nats, and with one chain, z_i^n's own, noise passes for information. What a few
chains leave open of an image's mean and variance is drawn towards all images' (James & Stein 1961, the factors from
the scatter between chains), or noise alone would cost up to 1/30 nat per unit. What keeps Î_i below I_q(x; z_i) is so
the cap, up to 1/30 nat for each unit that is alive, and what q(z_i|x) is beside a diagonal Gaussian.

Noise: with E[log q̃(z_i^n|x_n) − log r(z_i^n)], known in closed form for the Gaussian r of the aggregate's mean and
variance, as control variate. Its factor follows from the images: 1 near collapse, where Î_i is then a mean of analytic
KLs less their log ratios (as Dieng et al. 2019 compute it), and 0 at the cap, where the bracket is exact.

**An upper bound** beside it leaves an image's own term out of the sum: the mean of

    log q̃(z_i^n|x_n) − log (1/(N − 1)) Σ_{m≠n} q̃(z_i^n|x_m)

is on average at least I_q(x; z_i) where q̃ is q(z_i|x) itself (Poole et al. 2019, §2.2, with all other images as
samples). That it is at layer 1 of bottom-up inference, at the top of a top-down one, and with a single layer; other
layers have NaN. Of images told apart without doubt it has no finite variance, and comes out as large as they lie apart.

Where q is not Gaussian, q̃ is the mixture over the chains of `Posterior.density`, without a control variate. A layer of
which there is no density has NaN, and the columns are None where no layer has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.draws.draws import Draws, Purpose, draws_on
from models.evaluation.aggregate_posterior import controlled, gaussian_terms, means_of, moments_of
from models.evaluation.inputs import binarised, noise_of
from models.evaluation.refined import INFORMATION, refined
from models.evaluation.settings import IMAGES, Evaluation
from models.evaluation.which import ImageBlock, spread
from models.networks.network import Layer
from models.stack.stack import Stack

CHAINS = 30  # of an image behind q̃, besides the one that its sample is from
POINTS = 50  # samples whose densities under all images are computed at a time, of other than Gaussians

Density = Callable[[Tensor], Tensor]


def mutual_information(
    stack: Stack, images: Any, settings: Evaluation, places: Sequence[slice], between: Callable[[], object]
) -> list[dict[str, Any]]:
    """The columns of every cell of a stack: `mutual_information`, `mi_se`, `mi_upper`, `mi_samples`, `mi_cap`,
    `kl_aggregate`.

    Args:
        images: those that are evaluated, of which `settings.mutual_information` are taken, spread over them.
        places: which cells are computed at a time; `between`: called before every block of chains.
    """
    wanted = min(settings.mutual_information, len(images))
    chosen = images[spread(len(images), wanted)]
    source = draws_on(stack.device, [settings.seed], stack.dtype)

    def observed(first: int, count: int) -> Tensor:
        return binarised(stack, chosen[first : first + count], source, first, Purpose.INFORMATION_BINARISE)

    found = _gather(stack, wanted, observed, source, Purpose.INFORMATION_LATENT, places, between)
    chains = _chains(stack)
    rows = []
    for layers, here in zip(found, places, strict=True):
        for cell in range(len(stack.cells[here])):
            between()
            rows.append(_row([own.found(cell, chains) for own in layers], wanted))
    return rows


def information_of_top(
    stack: Stack, images: int, observed: Callable[[int, int], Tensor], source: Draws, purpose: Purpose
) -> Tensor:
    """Mutual information between so many images and the top layer, of every cell, (cells,) float64, nats.

    observed: of the number of the first and how many, these images as each cell sees them, (cells, 1, images,
    features); source, purpose: of the noise, of each cell its own. NaN where there is no density at other samples.
    """
    (layers,) = _gather(stack, images, observed, source, purpose, [slice(None)], lambda: None, Purpose.VALIDATE_REFINE)
    found = [layers[-1].found(cell, _chains(stack)) for cell in range(len(stack.cells))]
    values = [math.nan if each is None else float(each.terms.mean()) for each in found]
    return torch.tensor(values, dtype=torch.float64, device=stack.device)


def _chains(stack: Stack) -> int:
    """Of an image behind q̃: q(z₁|x) of a single layer is known from any."""
    return CHAINS if len(stack.network.latents) > 1 else 1


def _gather(
    stack: Stack,
    images: int,
    observed: Callable[[int, int], Tensor],
    source: Draws,
    purpose: Purpose,
    places: Sequence[slice],
    between: Callable[[], object],
    refining: Purpose = Purpose.EVALUATE_REFINE,
) -> list[list[_Gathered]]:
    """What is kept of each layer, for the cells of each of `places`; other arguments as of `information_of_top`."""
    parts = [stack.part(here) for here in places]
    gathered = [[_Gathered() for _ in stack.network.latents] for _ in places]
    with torch.no_grad():
        for first in range(0, images, IMAGES):
            block = ImageBlock(first, min(IMAGES, images - first), 1 + _chains(stack), 1, False)
            x = observed(first, block.count)
            given = [
                refined(stack, here, *part, x[here], source, first, INFORMATION, refining)
                for part, here in zip(parts, places, strict=True)
            ]
            for number, these in enumerate(block.chain_blocks()):
                between()
                noise = noise_of(stack, source, purpose, block, these, number)
                for (network, params), layers, here, numbers in zip(parts, gathered, places, given, strict=True):
                    own = [each if len(each) == 1 else each[here] for each in noise]
                    terms = network.terms(params, x[here], own, given=numbers)
                    for kept, layer in zip(layers, terms.layers, strict=True):
                        kept.add(layer, len(these), is_sample=number == 0)
    return gathered


@dataclass(frozen=True)
class _Found:
    """Of a layer and a cell, per image: the estimate's terms, those of the upper bound, NaN where there is none, and
    log (1/N) Σ q̃ − log p at the sample; (N,) each."""

    terms: Tensor
    upper: Tensor
    aggregate: Tensor


def _row(layers: Sequence[_Found | None], images: int) -> dict[str, Any]:
    known = any(found is not None for found in layers)
    values = [(float(f.terms.mean()), _error(f.terms)) if f is not None else (math.nan, math.nan) for f in layers]
    top = layers[-1] if layers else None
    return {
        "mutual_information": [value for value, _ in values] if known else None,
        "mi_se": [error for _, error in values] if known else None,
        "mi_upper": [float(f.upper.mean()) if f is not None else math.nan for f in layers] if known else None,
        "mi_samples": images,
        "mi_cap": math.log(images),
        "kl_aggregate": float(top.aggregate.mean()) if top is not None else None,
    }


def _error(terms: Tensor) -> float:
    return float(terms.std() / math.sqrt(len(terms)))


@dataclass
class _Gathered:
    """What is kept of a layer, block after block of images: of the first chain its sample and what it was drawn from,
    of the others sums over chains; everything (cells, images, units), float64.

    - `samples`: z, and the mean and deviation of its q.
    - `log_p`, `excess`: at the sample, and what log q − log p is there above its mean over q, the analytic KL (0 where
      there is none); (cells, images).
    - `sums`: of q's mean, of its square, and of q's variance.
    - `densities`: of other than Gaussian q, those of each block's chains.
    """

    samples: list[tuple[Tensor, ...]] = field(default_factory=list)
    log_p: list[Tensor] = field(default_factory=list)
    excess: list[Tensor] = field(default_factory=list)
    sums: list[list[Tensor]] = field(default_factory=list)
    densities: list[list[Density]] = field(default_factory=list)
    known: bool = True

    def add(self, layer: Layer, chains: int, is_sample: bool) -> None:
        """Some chains of the images of a block: `is_sample`, the first; a new block begins with it."""
        mean, deviation = layer.q_mean.double(), layer.q_deviation
        shape = len(layer.z), chains, *layer.z.shape[2:]
        self.known &= deviation is not None or layer.q_density is not None
        if is_sample:
            numbers = [layer.z, *([mean, deviation] if deviation is not None else [])]
            self.samples.append(tuple(each.double().expand(shape)[:, 0] for each in numbers))
            excess = torch.zeros_like(layer.log_p) if layer.kl is None else layer.log_q - layer.log_p - layer.term()
            for kept, each in ((self.log_p, layer.log_p), (self.excess, excess)):
                kept.append(each.double().expand(shape[:3])[:, 0])
            self.sums.append([])
            self.densities.append([])
        elif deviation is not None:
            parts = [each.expand(shape) for each in (mean, mean.square(), deviation.double().square())]
            sums = self.sums[-1] or [torch.zeros_like(each[:, 0]) for each in parts]
            for chain in range(chains):  # in this order for every stack, which a sum over the axis does not promise
                sums = [so_far + each[:, chain] for so_far, each in zip(sums, parts, strict=True)]
            self.sums[-1] = sums
        elif layer.q_density is not None:
            self.densities[-1].append(layer.q_density)

    def found(self, cell: int, chains: int) -> _Found | None:
        """The layer's terms of a cell; None where its density at other samples is not known."""
        if not self.known:
            return None
        z, *numbers = (torch.cat([block[cell] for block in each]) for each in zip(*self.samples, strict=True))
        log_p, excess = (torch.cat([block[cell] for block in each]) for each in (self.log_p, self.excess))
        if numbers:
            means, squares, variances = (
                torch.cat([block[cell] for block in each]) for each in zip(*self.sums, strict=True)
            )
            q, exact = moments_of(means, squares, variances, chains)
            terms, upper, aggregate = gaussian_terms(z, numbers[0], numbers[1], q)
        else:
            each, exact = self._under_mixtures[cell], chains == 1
            own, (aggregate, others) = each.diagonal(), means_of(each.clone(), 0)
            terms, upper = own - aggregate, own - others
        return _Found(terms, upper if exact else upper * math.nan, controlled(aggregate - log_p, excess))

    @cached_property
    def _under_mixtures(self) -> Tensor:
        """log q̃ of every sample under every image, q̃ the mixture over the image's chains, (cells, N, N)."""
        points = torch.cat([sample for (sample,) in self.samples], dim=1)  # (cells, N, units)
        found = []
        for some in torch.split(points, POINTS, dim=1):
            of_blocks = [torch.cat([density(some) for density in block], dim=2) for block in self.densities]
            found.append(torch.cat([each.logsumexp(2) - math.log(each.shape[2]) for each in of_blocks], dim=2))
        return torch.cat(found, dim=1)
