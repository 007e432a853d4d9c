"""What a trained cell is worth: bounds, KL terms and active units, on images it never saw and never smoothed.

One sweep over whole ancestral chains serves all of it:

- ELBO, reconstruction and the layers' terms: averages over chains and images (the top term analytic);
- importance-weighted bound: log-mean-exp over K chains of sampled log p(x, z) − log q(z|x), with no analytic KL and no
  analytic entropy in the weights, which would make it no bound (Burda et al. 2016, eq. 8). Where only some images have
  K chains, what it adds to the ELBO is averaged over these, and added to the ELBO of all: that differs far less from
  image to image than the bound does;
- what the one binarisation adds: a chain more on a second binarisation of the same images. Half its squared difference
  from the ELBO of the first, less the noise of the chains of both, is the variance between binarisations;
- active units: V = Var_x(e), e(x) the mean of q's mean over whole chains, less what the finite number of chains adds
  (MATHEMATICS §4). One chain per image measures V + W instead, and calls dead units alive; both are returned.

Images and chains are taken in blocks of fixed size and summed in float64, and a few cells at a time, so that memory is
bounded for any K and any stack. A cell's numbers do not depend on the cells evaluated beside it. Noise and
binarisation follow from the settings' seed alone and are the same for all cells. The compiled passes of
`models.kernels.elementwise` are used as in training, where this process has them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.data.dataset import Dataset
from models.draws.draws import Draws, Purpose, draws_on, generator
from models.evaluation.bound import Bound
from models.evaluation.settings import IMAGES, Evaluation
from models.networks.network import Network, Terms
from models.stack.stack import Stack

CHAINS = 10  # a block has so many of each of `IMAGES` images: 1,000 rows per cell
NUMBERS = {"cpu": 1 << 19, "cuda": 1 << 27}  # of the widest activation of a block, over the cells taken at a time
SE_OF_A_DEAD_UNIT = 0.0025  # chains are added until V̂ of a dead unit with W = 1 is known this well


def evaluate(
    stack: Stack, settings: Evaluation, quick: bool = False, between: Callable[[], object] = lambda: None
) -> list[dict[str, Any]]:
    """Evaluate every cell of a stack as it stands.

    Args:
        stack: trained cells; nothing in it is changed.
        settings: split, images, K and the images that have so many chains, seed, threshold.
        quick: take K chains only, too few to tell active from noisy units (then `active_units` is None).
        between: called before every block, about 1,000 rows per cell; what it raises ends the evaluation.

    Returns:
        One dict per cell, keyed by the columns of a results row; nats per image, Python numbers and lists.
    """
    images = evaluated_images(stack.dataset, settings)
    k = settings.importance_samples
    needed = k if quick else chains_needed(len(images))
    weighed = weighed_images(len(images), settings.importance_images)
    again = not quick and stack.dataset.levels > 1
    parts = _parts(stack)
    sums = [_Sums(stack, cells, weighed, k, again) for _, _, cells in parts]
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    with torch.no_grad():
        for first in range(0, len(images), IMAGES):
            x = binarised(stack, images[first : first + IMAGES], source, first)
            weigh = bool(weighed[first])
            averaged, chains = (k, max(k, needed)) if weigh else (min(k, needed), needed)
            for block, chain in enumerate(_blocks(averaged, chains)):
                between()
                noise = [
                    source.normal(Purpose.EVALUATE_LATENT, (len(chain), x.shape[2], units), first, layer, block)
                    for layer, units in enumerate(stack.network.latents, start=1)
                ]
                for (network, params, cells), own in zip(parts, sums, strict=True):
                    terms = network.terms(params, x[:cells], noise)
                    own.add(terms, first, chain, average=chain[0] < averaged, weigh=weigh)
            if again:
                between()
                x = binarised(stack, images[first : first + IMAGES], source, first, Purpose.EVALUATE_BINARISE_AGAIN)
                noise = [
                    source.normal(Purpose.EVALUATE_LATENT_AGAIN, (1, x.shape[2], units), first, layer)
                    for layer, units in enumerate(stack.network.latents, start=1)
                ]
                for (network, params, cells), own in zip(parts, sums, strict=True):
                    own.add_again(network.terms(params, x[:cells], noise), first)
            for own in sums:
                own.end_of_images(first, x.shape[2], averaged, chains, weigh)
    some = len(images) < len(getattr(stack.dataset, settings.split))
    which = {"image_choice": settings.image_choice if some else "all"}
    return [own.row(cell, settings) | which for own in sums for cell in range(own.cells)]


def evaluated_images(dataset: Dataset, settings: Evaluation) -> Any:
    """The images of the split that the settings ask for, in the split's order, as its data set has them."""
    split = getattr(dataset, settings.split)
    if settings.image_choice == "spread" and 0 < settings.images < len(split):
        return split[spread(len(split), settings.images)]
    return split[: settings.images or None]


def spread(images: int, wanted: int) -> npt.NDArray[np.int64]:
    """Places of `wanted` images, ascending: one of each of as many equal parts, at random there but always the same.

    Not every so-manieth: a split may repeat itself, as one sorted by what is drawn and then by who drew it does.
    """
    ends = np.arange(wanted + 1) * images // wanted
    within: npt.NDArray[np.float64] = generator(0, Purpose.EVALUATE_IMAGES).random(wanted)
    places: npt.NDArray[np.int64] = ends[:-1] + (within * np.diff(ends)).astype(np.int64)
    return places


def _parts(stack: Stack) -> list[tuple[Network, dict[str, Tensor], int]]:
    """Network, parameters and number of the cells that are evaluated at a time."""
    cells = len(stack.cells)
    widest = max(param.shape[-1] for param in stack.params.values())
    few = max(1, NUMBERS[stack.device.type] // (IMAGES * CHAINS * widest))
    cuts = [slice(first, first + few) for first in range(0, cells, few)]
    return [(*stack.part(cut), len(stack.cells[cut])) for cut in cuts]


def chains_needed(images: int) -> int:
    """Fewest chains R for which W √(2 / (R (R − 1) images)) ≤ 0.0025 at W = 1."""
    return math.ceil(0.5 + math.sqrt(0.25 + 2.0 / (SE_OF_A_DEAD_UNIT**2 * images)))


def weighed_images(images: int, wanted: int) -> npt.NDArray[np.bool_]:
    """Which images have K chains for the importance-weighted bound: `wanted` (0: all), or fewer by a short last block.

    Blocks are taken whole and spread evenly: the images of a split may be sorted.
    """
    blocks = math.ceil(images / IMAGES)
    chosen = math.ceil(wanted / IMAGES) if wanted else blocks
    return np.repeat(np.arange(blocks) * chosen % blocks < chosen, IMAGES)[:images]


def _blocks(averaged: int, chains: int) -> list[range]:
    """Chains in blocks of `CHAINS`: first those of all averages, then those for the activities alone."""
    cuts = [*range(0, averaged, CHAINS), *range(averaged, chains, CHAINS), chains]
    return [range(a, b) for a, b in pairwise(cuts)]


def binarised(
    stack: Stack, images: Any, source: Draws, first: int, purpose: Purpose = Purpose.EVALUATE_BINARISE
) -> Tensor:
    """Images as the network sees them, binarised once and for all cells alike: (cells, 1, images, features)."""
    rows = torch.tensor(images).to(stack.device)
    x: Tensor = stack.dataset.observe(rows, lambda: source.uniform(purpose, rows.shape, first)[0])
    return x.to(stack.dtype).expand(len(stack.cells), 1, *x.shape)


class _Moments:
    """Mean and variance over images, block by block (Chan, Golub & LeVeque 1983); `zeros` is (cells, units)."""

    def __init__(self, zeros: Tensor):
        self.count, self.mean, self.squares = 0, zeros, torch.zeros_like(zeros)

    def add(self, block: Tensor) -> None:
        """Values of a block of images, (cells, images, units)."""
        n, mean = block.shape[1], block.mean(1)
        total = self.count + n
        shift = mean - self.mean
        self.squares += (block - mean.unsqueeze(1)).square().sum(1) + shift.square() * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total

    def variance(self) -> Tensor:
        """(cells, units), with the count less one."""
        return self.squares / max(self.count - 1, 1)


class _Sums:
    """Running sums over chains, float64, on the stack's device; N images, C cells, L layers.

    `weighed`, (N,): the images that have k chains for the importance-weighted bound; `again`: all are binarised again.
    """

    def __init__(self, stack: Stack, cells: int, weighed: npt.NDArray[np.bool_], k: int, again: bool):
        def zeros(*shape: int, value: float = 0.0) -> Tensor:
            return torch.full((cells, *shape), value, dtype=torch.float64, device=stack.device)

        latents, images = stack.network.latents, len(weighed)
        self.cells, self.images, self.k, self.latents = cells, images, k, latents
        self.weighed, self.others = (torch.tensor(w.nonzero()[0]).to(stack.device) for w in (weighed, ~weighed))
        self.fewest = sys.maxsize  # chains of an image so far
        self.reconstruction = zeros(images)
        self.terms = [zeros(images) for _ in latents]
        self.noise = zeros(images)  # of the ELBO: Σ of its squares over chains, then the variance of its mean over them
        self.top, self.top_per_unit = zeros(latents[-1]), zeros(latents[-1])
        self.bound = Bound(zeros, images, IMAGES, k, float(weighed.mean()))
        self.again = zeros(images) if again else None  # ELBO of one chain on the second binarisation
        self.between = zeros()  # Σ over images of the variance between binarisations
        # of q's mean: Σ over chains for the images of the block, then Σ over images for each unit of W and of W / R
        self.mean = [zeros(IMAGES, units) for units in latents]
        self.mean_squared = [zeros(IMAGES, units) for units in latents]
        self.first_pass = [zeros(IMAGES, units) for units in latents]
        self.within = [zeros(units) for units in latents]
        self.excess = [zeros(units) for units in latents]
        self.moments = [_Moments(zeros(units)) for units in latents]
        self.first_moments = [_Moments(zeros(units)) for units in latents]

    def add(self, terms: Terms, first: int, chain: range, average: bool, weigh: bool) -> None:
        """A block of chains for the images from `first`.

        average: they enter every average, not the activities alone; weigh: and the bound.
        """
        chains, n = terms.log_px.shape[1:]
        here = slice(first, first + n)
        for i, layer in enumerate(terms.layers):
            mean = layer.q_mean.double().expand(-1, chains, -1, -1)
            self.mean[i][:, :n] += mean.sum(1)
            self.mean_squared[i][:, :n] += mean.square().sum(1)
            if chain[0] == 0:
                self.first_pass[i][:, :n] = mean[:, 0]
        if not average:
            return
        elbo = terms.log_px.double()
        self.reconstruction[:, here] += elbo.sum(1)
        for i, layer in enumerate(terms.layers):
            term = layer.term().double().expand(-1, chains, -1)
            self.terms[i][:, here] += term.sum(1)
            elbo = elbo - term
        self.noise[:, here] += elbo.square().sum(1)
        top = terms.layers[-1].kl
        if top is not None:
            self.top += top.double().expand(-1, chains, -1, -1).sum((1, 2))
        if not weigh:
            return
        log_w = terms.log_px.double()
        for layer in terms.layers:
            log_w = log_w + layer.log_p.double() - layer.log_q.double()
        self.bound.add(log_w, elbo, chain, first)

    def add_again(self, terms: Terms, first: int) -> None:
        """One chain for the images from `first`, binarised anew."""
        assert self.again is not None
        elbo = terms.log_px.double()
        for layer in terms.layers:
            elbo = elbo - layer.term().double()
        self.again[:, first : first + elbo.shape[2]] = elbo[:, 0]

    def end_of_images(self, first: int, n: int, averaged: int, chains: int, weigh: bool) -> None:
        """All chains of the n images from `first` were added: sums become means, activities a few numbers a unit."""
        here = slice(first, first + n)
        for sums in (self.reconstruction, *self.terms, self.noise):
            sums[:, here] /= averaged
        elbo = self.reconstruction[:, here] - torch.stack(self.terms)[:, :, here].sum(0)
        self.noise[:, here] = (self.noise[:, here] - elbo.square()).clamp_min(0.0) / max(averaged - 1, 1)
        if self.again is not None:
            squares = (elbo - self.again[:, here]).square() - self.noise[:, here] * (1 + averaged)
            self.between += 0.5 * squares.sum(1)
        if weigh:
            self.bound.end_of_images(first, n)
        self.top_per_unit += self.top / averaged
        self.top.zero_()
        self.fewest = min(self.fewest, chains)
        for i in range(len(self.latents)):
            total, squared = self.mean[i][:, :n], self.mean_squared[i][:, :n]
            within = ((squared - total.square() / chains).clamp_min(0.0) / max(chains - 1, 1)).sum(1)
            self.within[i] += within
            self.excess[i] += within / chains
            self.moments[i].add(total / chains)
            self.first_moments[i].add(self.first_pass[i][:, :n])
            self.mean[i].zero_()
            self.mean_squared[i].zero_()

    def row(self, cell: int, settings: Evaluation) -> dict[str, Any]:
        """The results of one cell."""
        n, k, chains = self.images, self.k, self.fewest
        reconstruction = self.reconstruction[cell]
        terms = torch.stack([t[cell] for t in self.terms])  # (L, N)
        elbo = reconstruction - terms.sum(0)
        bound, share = elbo.clone(), len(self.weighed) / n
        bound[self.weighed] += (self.bound.value(cell, self.weighed) - elbo[self.weighed]) / share
        errors = self.bound.variance[cell, self.weighed].sum() / share**2 + self.noise[cell, self.others].sum()
        layers = terms.mean(1)
        activity = [self._activity(i, cell) for i in range(len(self.latents))]
        threshold = settings.active_threshold
        known = self.again is not None and k > 1  # of a single chain the noise cannot be told
        units = [int((v > threshold).sum()) for v, _, _ in activity] if chains > 1 else None
        return {
            "split": settings.split,
            "images": n,
            "elbo": float(elbo.mean()),
            "elbo_se": _se(elbo),
            "elbo_se_binarisation": float(self.between[cell].clamp_min(0.0).sqrt() / n) if known else None,
            "reconstruction": float(reconstruction.mean()),
            "kl_total": float(layers.sum()),
            "kl_per_layer": layers.tolist(),
            "kl_cumulative": layers.flip(0).cumsum(0).flip(0).tolist(),
            "kl_top": float(layers[-1]),
            "kl_top_se": _se(terms[-1]),
            "kl_top_per_unit": (self.top_per_unit[cell] / n).tolist(),
            "active_units": units,
            "active_units_one_pass": [int((t > threshold).sum()) for _, _, t in activity],
            "relative_activity": units and [u / size for u, size in zip(units, self.latents, strict=True)],
            "activity_variance": [v.tolist() for v, _, _ in activity] if chains > 1 else None,
            "activity_noise": [w.tolist() for _, w, _ in activity] if chains > 1 else None,
            "activity_passes": chains,
            "active_threshold": threshold,
            "iw_bound": float(bound.mean()),
            "iw_samples": k,
            "iw_images": len(self.weighed),
            "iw_se": _se_of_parts(bound, self.weighed, self.others),
            "iw_se_mc": float(errors.sqrt() / n) if k > 1 else None,
        }

    def _activity(self, layer: int, cell: int) -> tuple[Tensor, Tensor, Tensor]:
        """V̂, W and the one-pass T of each unit of a layer."""
        noise = self.within[layer][cell] / self.images
        variance = self.moments[layer].variance()[cell] - self.excess[layer][cell] / self.images
        return variance, noise, self.first_moments[layer].variance()[cell]


def _se(per_image: Tensor) -> float:
    """Standard error of the mean over images (NaN for a single image)."""
    return float(per_image.std() / math.sqrt(len(per_image))) if len(per_image) > 1 else math.nan


def _se_of_parts(per_image: Tensor, *parts: Tensor) -> float:
    """The same where it was fixed beforehand which images are in which part; one alone says nothing of its part."""
    several = [per_image[part] for part in parts if len(part) > 1]
    if len(per_image) == 1 or not several:
        return math.nan
    return math.hypot(*(float(values.std()) * math.sqrt(len(values)) for values in several)) / len(per_image)
