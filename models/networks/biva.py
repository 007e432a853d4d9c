"""The bidirectional-inference VAE: two variables at every level, one inferred on the way up and one on the way down.

    up:    d_i = blocks(d_{i−1} + c(z^bu_{i−1})),   z^bu_i ~ q(z^bu_i|x, z^bu_{<i}),  heads of d_i           (i < L)
           z_L ~ q(z_L|x, z^bu_{<L}),  heads of d_L
    down:  g_i = blocks(g_{i+1} + c(z_{i+1})),      z^td_i ~ q(z^td_i|x, z^bu_{<i}, z_{>i}),  d_i and g_i merged
    p:     p(z^bu_i|z_{>i}) p(z^td_i|z_{>i}),  heads of g_i;    p(x|z_1, …, z_L),  from g_0;    z_i = (z^bu_i, z^td_i)

(Maaløe et al. 2019, §3; blocks, merge and first weights: `residual.py`, `residual_path.py`.) Features go both ways
beside the variables, which enter them by one convolution c each, so that nothing has to pass through a variable; going
down they carry every level above. Both variables of a level are independent given all above them.

**Order of the variables**, 2 L − 1 in all, as every list of layers has them: level by level from the data up, in each
the bottom-up variable first; the last is the one of level L. A layer below is: z^bu_1, z^td_1, z^bu_2, z^td_2, …, z_L.

**KL.** q(z^td_i|·) has all of z_{>i} in its condition, as p has: its analytic KL is the expectation of log q − log p.
So is that of z_L. Of z^bu_i it is not: z_{>i}, which p's density of it is given, are drawn from q *after* z^bu_i, given
it; its term is sampled, and can be negative. The KL of z_L is not information about x alone, as a ladder's is: the
noise of the bottom-up variables is in the condition of q(z_L|·), and may be what it describes.

Published sizes are 15 levels and 96 maps, with weight normalisation, dropout and gated blocks; its code makes σ a
softplus of what is then read as a log variance, so that no deviation is below 1: here σ itself is the softplus.

Shapes: C cells, S samples, B batch, N units of a variable; rows S B, or B before the first draw; M hidden maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.convolution import stacked, unstacked
from models.kernels.densities import normal_log_prob
from models.kernels.merge import normal_kl_between
from models.likelihoods.likelihood import Likelihood
from models.networks.biva_spec import UNSMOOTHABLE, BivaOptions, biva_convs
from models.networks.convolution_spec import Conv
from models.networks.network import Layer, Numbers, Params, Terms, refuse
from models.networks.residual import FirstPass, StackedConv, through
from models.networks.residual_path import Merge, numbers_of, path_of, plus
from models.parameters import Group, Parameter
from models.posteriors.posterior import Drawn, Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing

# Places of parameters' draws: never renumbered.
_UP, _HEAD, _ENTER, _MERGE, _DOWN, _BIAS = 0, 1 << 13, 1 << 15, 1 << 17, 1 << 16, (1 << 16) + (1 << 15)


class Biva:
    """See `models.networks.network.Network`. Raises ValueError where the levels' grids do not fit the image."""

    twofold = True

    def __init__(
        self,
        options: BivaOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        for misfit in options.misfits(shape).values():
            raise ValueError(misfit)
        self.latents, self.shape = options.latent_sizes, shape
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        self.grids, self.levels = options.latent_grids, len(options.latent_grids)
        count = len(self.latents)
        self.analytic_kl = frozenset({*range(2, count, 2), count})
        self.starts_from_data = options.normalization == "weight"
        self.positions = tuple(self.grids[min(place // 2, self.levels - 1)].positions for place in range(count))
        convs = biva_convs(options, shape, likelihood.maps)
        self.widest = max(each.outputs * each.positions for level in convs.every() for each in level)

        def paths(name: str, all: Sequence[Sequence[Conv]], place: int, group: Group) -> list[list[StackedConv]]:
            return [
                path_of(f"{name}.{level}", each, level, place, group, self.starts_from_data)
                for level, each in enumerate(all, start=1)
            ]

        self.up = paths("inference", convs.up, _UP, "inference")
        self.heads = [head for (head,) in paths("inference_head", convs.heads, _HEAD, "inference")]
        self.enter = [enter for (enter,) in paths("inference_enter", convs.enter, _ENTER, "inference")]
        self.merges = [Merge(each) for each in paths("inference_merge", convs.merges, _MERGE, "inference")]
        self.down_paths = paths("generative", convs.down, _DOWN, "generative")
        bias = likelihood.first_bias(mean_pixel)
        self.output_bias = Parameter("generative.1.bias", (likelihood.maps * shape.positions,), 1, _BIAS, bias)

    def parameters(self) -> list[Parameter]:
        """Parameters of q by kind, then of p, each from the data up, the bias of every output, and the prior's."""
        up = [conv for path in self.up for conv in path]
        down = [conv for path in self.down_paths for conv in path]
        kinds: tuple[Sequence[Any], ...] = (up, self.heads, self.enter, self.merges, down)
        found = [parameter for kind in kinds for each in kind for parameter in each.parameters()]
        return [*found, self.output_bias, *self.prior.parameters(self.shape.features, images=True)]

    def first_pass(self, params: Params, x: Tensor, noise: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `models.networks.network.Network` and `models.networks.residual.FirstPass`."""
        passing = FirstPass(params)
        self.terms(passing, x, noise)
        return passing.found

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
    ) -> Terms:
        """One way up and one down, both ancestral. Raises ValueError where smoothing, or a gradient along `paths`, is
        asked for."""
        refuse("a bidirectional network", smoothing, paths, UNSMOOTHABLE)
        given = given or [None] * len(noise)
        d, up = self._way_up(params, x, noise, given)
        top = up[-1]
        log_p, log_q = self.prior.log_prob(params, top.z, _no_top), self.posterior.log_prob(top)  # (C, S, B)
        kl, positions = self.prior.kl(top.mean, top.deviation), self.positions[-1]  # (C, S, B, N_L)
        layers = [Layer(top.z, top.mean, log_q, log_p, kl, top.deviation, positions=positions)]  # from the top down
        g, z = None, top.z  # from all levels above, and the level's variables, (C, S, B, N)
        for i in reversed(range(self.levels - 1)):
            place, (cells, samples) = 2 * i, z.shape[:2]
            g = self._features(params, i + 1, z, g)  # (S B, C M, H, W)
            p_of_bu, p_of_td = self._p(params, i, g, cells, samples)  # (C, S, B, N)
            numbers = given[place + 1]
            if numbers is None:
                numbers = self.merges[i](params, d[i], g, cells, samples)
            bu, td = up[i], self.posterior.draw(*numbers, noise[place + 1])
            layers.append(self._layer(place + 1, td, p_of_td, analytic=True))
            layers.append(self._layer(place, bu, p_of_bu, analytic=False))
            z = torch.cat([bu.z, td.z], -1)  # (C, S, B, N_bu + N_td)
        return Terms(self.likelihood.log_prob(x, self._output(params, z, g)), tuple(layers[::-1]))

    def _way_up(
        self, params: Params, x: Tensor, noise: Sequence[Tensor], given: Sequence[Numbers | None]
    ) -> tuple[list[Tensor], list[Drawn]]:
        """d_1 … d_L, (S B, C M, H, W), and what is drawn from q upon them: z^bu_1, …, z_L."""
        cells, samples = x.shape[:2]
        h, d, drawn = stacked(x, self.shape.height, self.shape.width), [], []
        for i, path in enumerate(self.up):
            h = through(path, params, h)
            numbers = given[2 * i]
            if numbers is None:
                numbers = numbers_of(self.heads[i], params, h, cells, samples)  # (C, S, B, N)
            d.append(h)
            drawn.append(self.posterior.draw(*numbers, noise[2 * i]))
            if i + 1 < self.levels:
                z, grid = drawn[i].z, self.grids[i]
                samples = z.shape[1]
                h = plus(self.enter[i](params, stacked(z, grid.height, grid.width)), h)
        return d, drawn

    def _features(self, params: Params, i: int, z: Tensor, above: Tensor | None) -> Tensor:
        """g of the level below, (S B, C M, H, W), of the variables of place i from 0 and g of their own level."""
        (first, *others, _), grid = self.down_paths[i], self.grids[i]
        h = first(params, stacked(z, grid.height, grid.width))
        return through(others, params, h if above is None else h + above)

    def _p(self, params: Params, i: int, g: Tensor, cells: int, samples: int) -> list[Numbers]:
        """Mean and deviation of p(z^bu|·) and of p(z^td|·) of the level of place i, each (C, S, B, N)."""
        numbers = numbers_of(self.down_paths[i + 1][-1], params, g, cells, samples)
        units = list(self.latents[2 * i : 2 * i + 2])
        both = zip(*(torch.split(each, list(units), -1) for each in numbers), strict=True)
        return [(mean.contiguous(), deviation.contiguous()) for mean, deviation in both]

    def _layer(self, place: int, drawn: Drawn, p: Numbers, analytic: bool) -> Layer:
        log_q, log_p = self.posterior.log_prob(drawn), normal_log_prob(drawn.z, *p)  # (C, S, B)
        kl = normal_kl_between(drawn.mean, drawn.deviation, *p) if analytic else None
        positions = self.positions[place]
        return Layer(drawn.z, drawn.mean, log_q, log_p, kl, drawn.deviation, *p, positions=positions)

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`. None: every map sees all levels above, or two variables."""
        return None

    def image(
        self, params: Params, noise: Sequence[Tensor], z: Tensor | None = None, above: Sequence[Tensor] = ()
    ) -> Tensor:
        """See `models.networks.network.Network`; layers are variables, in their order. Raises ValueError for a `z`
        without all of the variables above it."""
        if z is None:
            *noise, top = noise
            z = self.prior.sample(params, top, _no_top)
        missing = len(self.latents) - len(noise) - 1 - len(above)
        if missing:
            raise ValueError(
                f"an image follows from z of layer {len(noise) + 1} and of all {missing} above it, which p sees as "
                f"well: from z of layer {len(self.latents)} alone"
            )
        known: list[Tensor | None] = [*[None] * len(noise), z, *above]
        g, z = None, known[-1]
        assert z is not None
        for i in reversed(range(self.levels - 1)):
            g = self._features(params, i + 1, z, g)
            pair = []
            for place, numbers in enumerate(self._p(params, i, g, *z.shape[:2]), start=2 * i):
                there = known[place]
                pair.append(torch.addcmul(*numbers, noise[place]) if there is None else there)
            z = torch.cat(pair, -1)
        return self.likelihood.mean(self._output(params, z, g))

    def _output(self, params: Params, z: Tensor, above: Tensor | None) -> Tensor:
        """What the likelihood is given, (C, S, B, outputs × positions)."""
        h = self._features(params, 0, z, above)
        (out,) = unstacked(self.down_paths[0][-1](params, h, of_elu=True), *z.shape[:2])
        return out + params[self.output_bias.name][:, None, None]


def _no_top(below: Tensor) -> Numbers:
    """For priors that look at q(z_L|·)."""
    raise ValueError("q of the top variable is not known from an image alone: it sees the variables below")
