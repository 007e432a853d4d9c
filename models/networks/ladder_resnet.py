"""The convolutional Ladder VAE: a residual path of the image's features goes up, inference and generation come down.

    d_i = blocks(d_{i−1})                                                       (up, no noise; d_1 from the image)
    q(z_L|x) = N(μ̂_L, σ̂_L²), heads of d_L
    q(z_i|x, z_{i+1}): d_i and what comes down from z_{i+1}, merged                                  (i < L)
    p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)                                          as of `resnet.py`, maps and all

(Sønderby et al. 2016, with the maps of `residual.py` in place of perceptrons; terms: `top_down.py`.) `merge` says how:

- `precision`, the paper's: q is the product of N(μ̂_i, σ̂_i²), heads of d_i, and a Gaussian given z_{i+1},
  normalised (`models.kernels.merge`).
- `features`: d_i and the features g_i that the map from z_{i+1} has before its heads, side by side, go through a
  convolution, a residual block and heads. No precisions are combined: published code of deep ladders does so, that of
  Maaløe et al. (2019) among them.

`shared_top_down: yes`: that Gaussian, or g_i, is p's own; `no`: of a map of the same sizes that is q's alone.

There is no normalisation over a batch, and what feeds the next layer upward are features, not means.

Shapes: C cells, S samples, B batch, N_i units of layer i; rows S B, or B on the way up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.convolution import stacked
from models.kernels.merge import merged
from models.likelihoods.likelihood import Likelihood
from models.networks.convolution_spec import Conv
from models.networks.ladder_resnet_spec import LadderResnetOptions, head, merge_convs, path_up
from models.networks.network import Numbers, Params
from models.networks.residual import ResidualMap, StackedConv, through
from models.networks.residual_path import Merge, features, numbers_of, path_of
from models.networks.resnet import ResNet
from models.networks.top_down import TopDown
from models.parameters import Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

_UP, _JOIN, _DOWN_OF_Q = 0, 1 << 13, 1 << 17  # places of parameters' draws: never renumbered


class Features(NamedTuple):
    """Of images (C, S, B, D): d_i, (S B, C M, H, W), with C and S."""

    d: Tensor
    cells: int
    samples: int


class LadderResNet(TopDown[Features], ResNet):
    """p is that of the ResNet VAE, maps and parameters; see `models.networks.network.Network`."""

    down_of_q: list[ResidualMap]
    generative: list[ResidualMap]

    def __init__(
        self,
        options: LadderResnetOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        super().__init__(options, shape, mean_pixel, likelihood, prior, posterior)
        self.analytic_kl = frozenset(range(1, len(self.latents) + 1))
        self.by_precision, self.shared = options.merge == "precision", options.shared_top_down == "yes"
        maps, layers, normalized = options.maps, dict(enumerate(options.latent_grids, start=1)), self.starts_from_data

        def path(name: str, convs: Sequence[Conv], i: int, place: int) -> list[StackedConv]:
            return path_of(f"{name}.{i}", convs, i, place, "inference", normalized)

        self.up = [path("inference", convs, i, _UP) for i, convs in enumerate(path_up(options, shape), start=1)]
        # Of all layers, or of the top one alone, and then what merges those below it.
        self.heads = {
            i: path("inference_head", [head(maps, grid.maps, grid)], i, _JOIN)[0]
            for i, grid in layers.items()
            if self.by_precision or i == len(layers)
        }
        self.merges = {
            i: Merge(path("inference_merge", merge_convs(maps, grid), i, _JOIN))
            for i, grid in layers.items()
            if i not in self.heads
        }
        self.down_of_q = self.generative[1:]
        if not self.shared:
            self.down_of_q = [
                ResidualMap(
                    f"inference_down.{p.layer}", p.given, p.wanted, maps, options.blocks, p.layer, _DOWN_OF_Q,
                    "inference", normalized=normalized,
                )
                for p in self.generative[1:]
            ]  # fmt: skip
            for each in () if self.by_precision else self.down_of_q:
                each.convs.pop()  # a merge takes features, not those of a head

    def parameters(self) -> list[Parameter]:
        """Parameters of the path up, p's maps, heads, merges and q's own way down, then the prior's."""
        own = [] if self.shared else self.down_of_q
        up = [conv for path in self.up for conv in path]
        found = [
            parameter
            for group in (up, self.generative, self.heads.values(), self.merges.values(), own)
            for each in group
            for parameter in each.parameters()
        ]
        return found + self.prior.parameters(self.shape.features, images=True)

    def _way_up(self, params: Params, x: Tensor) -> list[Features]:
        """d_1 … d_L of images (C, S, B, D)."""
        h, found = stacked(x, self.shape.height, self.shape.width), []
        for path in self.up:
            h = through(path, params, h)
            found.append(Features(h, *x.shape[:2]))
        return found

    def _top_numbers(self, params: Params, from_below: Features) -> Numbers:
        """Heads of d_L."""
        return numbers_of(self.heads[len(self.latents)], params, *from_below)

    def _given_above(
        self, params: Params, i: int, from_below: Features, above: Tensor
    ) -> tuple[Numbers, Callable[[], Numbers]]:
        """p's numbers, and those of q, merged."""
        down, own, (cells, samples) = self.generative[i + 1], self.down_of_q[i], above.shape[:2]
        if self.by_precision:
            p = down.gaussian(params, above)  # (C, S, B, N_i)

            def q() -> Numbers:
                hat = numbers_of(self.heads[i + 1], params, *from_below)  # (C, 1, B, N_i)
                return merged(*hat, *(p if self.shared else own.gaussian(params, above)))

            return p, q

        g = features(down, params, above)  # (S B, C M, H, W)

        def q_of_features() -> Numbers:
            beside = g if self.shared else through(own.convs, params, stacked(above, *own.given[1:]))
            return self.merges[i + 1](params, from_below.d, beside, cells, samples)

        return numbers_of(down.convs[-1], params, g, cells, samples), q_of_features
