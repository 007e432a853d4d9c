"""The ResNet VAE: layers of maps on a grid, inferred from the bottom up, with residual blocks between them.

    q(z|x) = q(z₁|x) Π q(z_{i+1}|z_i)          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)

(Pervez & Gavves 2021, §6.2: 8 maps of 7×7 or 16×16, up to 6 blocks of two convolutions, separate maps up and down; what
the paper leaves open, as kernels, activation and first weights, stands in `residual.py`.) All diagonal Gaussian over
every map and position: a layer's units are its maps, one after the other, and nowhere outside the maps between layers
does anything know of a grid. So the hierarchy, its terms, smoothing and gradients are those of `bottom_up.py`;
smoothing has noise of its own at every map and position, over all of which the degree of a function counts.

With `skip: all` every generative map sees all layers above,

    p(x, z) = p(x|z₁, …, z_L) Π p(z_i|z_{i+1}, …, z_L) p(z_L)

side by side, coarser ones repeated to the grid of the nearest. q is as it was, so all layers but the top one stay
sampled; smoothing goes along the chain (`models.objectives.smoothing`), and p(x|·) is never smoothed.

An image's first convolution is 5 × 5. Every number that the likelihood is given has a bias of its own, which starts at
the data. Deviations are softplus of what a head puts out, 1 at 0 and at least 10⁻⁶, as in all networks here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.cell.latents import MapShape
from models.likelihoods.likelihood import Likelihood
from models.networks.bottom_up import BottomUp
from models.networks.convolution_spec import ENTRY
from models.networks.network import Params
from models.networks.residual import FirstPass, ResidualMap
from models.networks.resnet_spec import ResnetOptions
from models.parameters import Group
from models.posteriors.posterior import Drawn, Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.smoothing import Smoothing

_PLACES: dict[Group, int] = {"inference": 0, "generative": 1 << 16}  # of parameters' draws: never renumbered


class ResNet(BottomUp):
    """See `models.networks.network.Network`. Raises ValueError where the layers' grids do not fit the image."""

    twofold = True

    inference: list[ResidualMap]
    generative: list[ResidualMap]

    def __init__(
        self,
        options: ResnetOptions,
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
        grids, depth = options.latent_grids, len(self.latents)
        self.analytic_kl = frozenset({depth})
        self.top_inputs = options.top_inputs(shape.features)
        self.grids, self.skips = grids, options.skip == "all"
        self.positions = tuple(each.positions for each in grids)
        self.starts_from_data = options.normalization == "weight"

        def between(group: Group, layer: int, given: MapShape, wanted: MapShape, **more: Any) -> ResidualMap:
            name, sizes = f"{group}.{layer}", (options.maps, options.blocks)
            address = layer, _PLACES[group]
            return ResidualMap(name, given, wanted, *sizes, *address, group, normalized=self.starts_from_data, **more)

        image, to_x = MapShape(*shape), MapShape(likelihood.maps, shape.height, shape.width)
        bias = likelihood.first_bias(mean_pixel)
        self.inference = [
            between("inference", 1, image, grids[0], entry=ENTRY),
            *(between("inference", i + 1, grids[i - 1], grids[i]) for i in range(1, depth)),
        ]
        self.generative = [
            between("generative", 1, options.seen_from(0), to_x, deviation=False, bias=bias),
            *(between("generative", i + 1, options.seen_from(i), grids[i - 1]) for i in range(1, depth)),
        ]
        convolutions = [each.shape for made in (*self.inference, *self.generative) for each in made.convs]
        self.widest = max(each.outputs * each.positions for each in convolutions)

    def first_pass(self, params: Params, x: Tensor, noise: Sequence[Tensor]) -> dict[str, Tensor]:
        """Lengths and biases of normalised weights: see `models.networks.network.Network` and `FirstPass`."""
        passing = FirstPass(params)
        self.terms(passing, x, noise)
        return passing.found

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`. With skip connections the top layer's map alone sees no other."""
        return super().down(params, layer, z) if not self.skips or layer == len(self.latents) else None

    def image(
        self, params: Params, noise: Sequence[Tensor], z: Tensor | None = None, above: Sequence[Tensor] = ()
    ) -> Tensor:
        """See `models.networks.network.Network`. Raises ValueError where a map would see layers that are not given."""
        missing = len(self.latents) - len(noise) - 1 - len(above)
        if self.skips and z is not None and missing:
            raise ValueError(
                f"with skip connections an image follows from z of layer {len(noise) + 1} and of all {missing} above it"
            )
        return super().image(params, noise, z, above)

    def _seen(self, z: Sequence[Tensor]) -> Tensor:
        """With skip connections all of these layers, side by side on the grid of the lowest."""
        if not self.skips:
            return z[0]
        grids = self.grids[-len(z) :]
        samples = max(each.shape[1] for each in z)
        parts = [_finer(each, own, grids[0]) for each, own in zip(z, grids, strict=True)]
        return torch.cat([each.expand(-1, samples, -1, -1) for each in parts], -1)

    def _smoothed(self, params: Params, i: int, q: Sequence[Drawn], smoothing: Smoothing) -> Tensor:
        samples = super()._smoothed(params, i, q, smoothing)
        if not self.skips:
            return samples
        above = [partial(each.gaussian, params) for each in self.inference[i:]]
        return self._seen(smoothing.chain(i, samples, [drawn.noise for drawn in q[1:]], above))


def _finer(z: Tensor, own: MapShape, wanted: MapShape) -> Tensor:
    """(C, S, B, units), each number repeated both ways until its maps have the height and width that are wanted."""
    times = wanted.height // own.height
    if times == 1:
        return z
    each = z.reshape(*z.shape[:3], *own).repeat_interleave(times, -1).repeat_interleave(times, -2)
    return each.flatten(3)
