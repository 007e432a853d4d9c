"""The ELBO and its terms: means over images and chains, with their errors.

Sampled terms and those with an analytic KL (`Layer.term`) are averaged alike, over every image's averaged chains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.evaluation.accumulators import Accumulator, ChainBlock, Sizes
from models.evaluation.which import ImageBlock


class Means(Accumulator):
    """Of each image the means over its chains: of log p(x|·), of the layers' terms, and of their sum, the ELBO.

    No metric of its own: what those of the ELBO and its terms are made of. Attributes, once an image has ended:
        reconstruction: (cells, N).
        terms: (L, cells, N).
        variance: (cells, N), of the image's mean ELBO, its chains drawn anew.
    """

    def __init__(self, sizes: Sizes):
        self.reconstruction, self.variance = sizes.zeros(sizes.images), sizes.zeros(sizes.images)
        self.terms = sizes.zeros(len(sizes.latents), sizes.images).transpose(0, 1).contiguous()

    def add(self, block: ChainBlock) -> None:
        """Sums over chains; `variance` holds that of the squares of the ELBO."""
        if not block.averaged:
            return
        here = block.images.here
        self.reconstruction[:, here] += block.log_px.sum(1)
        for i, term in enumerate(block.layer_terms):
            self.terms[i, :, here] += term.sum(1)
        self.variance[:, here] += block.elbo.square().sum(1)

    def end_of_images(self, images: ImageBlock) -> None:
        """Sums become means, the squares' a variance."""
        here, chains = images.here, images.averaged
        for sums in (self.reconstruction, self.variance, *self.terms):
            sums[:, here] /= chains
        squares = self.variance[:, here] - self.elbo(slice(None), here).square()
        self.variance[:, here] = squares.clamp_min(0.0) / max(chains - 1, 1)

    def elbo(self, cells: int | slice, images: slice = slice(None)) -> Tensor:
        """The mean ELBO of each image, of one cell (images,) or of several (cells, images)."""
        return self.reconstruction[cells, images] - self.terms[:, cells, images].sum(0)


@dataclass
class Elbo(Accumulator):
    """The evidence lower bound, and its standard error over images."""

    means: Means

    def row(self, cell: int) -> dict[str, Any]:
        """`elbo`, `elbo_se`."""
        elbo = self.means.elbo(cell)
        return {"elbo": float(elbo.mean()), "elbo_se": standard_error(elbo)}


class BinarisationError(Accumulator):
    """What the one binarisation of the images adds to the error of the ELBO.

    Half the squared difference of an image's ELBO on two binarisations, less the noise of the chains of both, is the
    variance between binarisations.

    known: whether there is a second binarisation, and more than one chain: of one its noise cannot be told.
    """

    def __init__(self, sizes: Sizes, means: Means, known: bool):
        self.means, self.images, self.known = means, sizes.images, known
        self.variance = sizes.zeros()  # Σ over images of the variance between binarisations

    def add(self, block: ChainBlock) -> None:
        """The one chain on the second binarisation, kept until the images end."""
        if block.again:
            self.elbo = block.elbo[:, 0]

    def end_of_images(self, images: ImageBlock) -> None:
        """Both binarisations' ELBOs of these images, compared."""
        if not self.known:
            return
        here = images.here
        difference = self.means.elbo(slice(None), here) - self.elbo
        noise = self.means.variance[:, here] * (1 + images.averaged)  # of one chain, and of the mean of all others
        self.variance += 0.5 * (difference.square() - noise).sum(1)

    def row(self, cell: int) -> dict[str, Any]:
        """`elbo_se_binarisation`, None where it is not known."""
        error = float(self.variance[cell].clamp_min(0.0).sqrt() / self.images) if self.known else None
        return {"elbo_se_binarisation": error}


@dataclass
class Reconstruction(Accumulator):
    """E log p(x|·)."""

    means: Means

    def row(self, cell: int) -> dict[str, Any]:
        """`reconstruction`."""
        return {"reconstruction": float(self.means.reconstruction[cell].mean())}


@dataclass
class LayerTerms(Accumulator):
    """The layers' terms of the ELBO, each, summed from the top, and all; the top layer's with its error over images.
    Those of the top layer are 0 where there are no layers.

    Where a layer has an analytic KL its term is that, else the mean of log q − log p at the samples.
    """

    means: Means

    def row(self, cell: int) -> dict[str, Any]:
        """`kl_total`, `kl_per_layer`, `kl_cumulative`, `kl_top`, `kl_top_se`."""
        terms = self.means.terms[:, cell]  # (L, N)
        layers = terms.mean(1)
        return {
            "kl_total": float(layers.sum()),
            "kl_per_layer": layers.tolist(),
            "kl_cumulative": layers.flip(0).cumsum(0).flip(0).tolist(),
            "kl_top": float(layers[-1]) if len(layers) else 0.0,
            "kl_top_se": standard_error(terms[-1]) if len(layers) else 0.0,
        }


class TopUnits(Accumulator):
    """The analytic KL of the top layer unit by unit; None where that layer has no analytic KL."""

    def __init__(self, sizes: Sizes):
        self.images, units = sizes.images, sizes.latents[-1] if sizes.latents else 0
        self.of_block, self.total = sizes.zeros(units), sizes.zeros(units)  # Σ over chains, means over chains
        self.analytic = True

    def add(self, block: ChainBlock) -> None:
        """Sums over chains and images."""
        if not block.averaged:
            return
        kl = block.terms.layers[-1].kl if block.terms.layers else None
        if kl is None:
            self.analytic = False
        else:
            self.of_block += kl.double().expand(-1, len(block.chains), -1, -1).sum((1, 2))

    def end_of_images(self, images: ImageBlock) -> None:
        """Sums over chains become means."""
        self.total += self.of_block / images.averaged
        self.of_block.zero_()

    def row(self, cell: int) -> dict[str, Any]:
        """`kl_top_per_unit`."""
        return {"kl_top_per_unit": (self.total[cell] / self.images).tolist() if self.analytic else None}


def standard_error(per_image: Tensor) -> float:
    """Standard error of the mean over images (NaN for a single image)."""
    return float(per_image.std() / math.sqrt(len(per_image))) if len(per_image) > 1 else math.nan
