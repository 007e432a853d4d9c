"""A VAE of one layer whose p(x|z) is a gated PixelCNN (Gulrajani et al. 2017; as in He et al. 2019, B.3, and Dieng et
al. 2019, 4.1).

    log p(x|z) = Σ_i log p(x_i | x_{<i}, z), pixels in raster order;   q(z|x) = N(μ, σ²)

`models.networks.pixel_decoder` has p(x|z). q is a perceptron, of the image or (`encoder: resnet`) of what residual
convolutions make of it, at half the height and width as long as these are even and more than 4. One layer: q(z|x) sees
x alone, so the analytic KL is the expectation of log q − log p.

Shapes: C cells, S samples, B batch, D pixels, N of z; rows R = S B.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.activations import elu
from models.kernels.convolution import stacked, unstacked
from models.kernels.perceptron import Perceptron
from models.likelihoods.likelihood import Likelihood
from models.networks.bottom_up import BottomUp
from models.networks.network import Numbers, Params
from models.networks.pixel_decoder import PixelDecoder
from models.networks.pixelcnn_spec import PixelcnnOptions
from models.networks.residual import StackedConv, through
from models.parameters import Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

_PERCEPTRON = 1 << 12  # place of the perceptron's draws, after those of convolutions: never renumbered
_ACTIVATIONS = 1 << 23  # numbers of the widest activation at a time, of each cell, where no gradient needs them all


class PixelEncoder:
    """q(z|x): see `models.networks.bottom_up.Map`."""

    def __init__(self, options: PixelcnnOptions, shape: ImageShape, flow: int):
        self.shape = shape
        self.convs = [
            StackedConv(f"inference.1.{number}", each, 1, 2 * number, "inference")
            for number, each in enumerate(options.encoder_convs(shape))
        ]
        sizes = options.encoded(shape).units, *options.hidden_sizes[0], options.latent_sizes[0]
        self.perceptron = Perceptron(
            "inference.perceptron", sizes, options.activation, 1, _PERCEPTRON, "inference", flow=flow
        )

    def parameters(self) -> Iterator[Parameter]:
        """Of the convolutions in order, then of the perceptron."""
        for each in self.convs:
            yield from each.parameters()
        yield from self.perceptron.parameters()

    def mean(self, params: Params, x: Tensor, average: bool = False) -> Tensor:
        """μ alone: (C, S, B, D) → (C, S, B, N)."""
        return self.perceptron.mean(params, self._features(params, x), average)

    def gaussian(self, params: Params, x: Tensor, average: bool = False) -> Numbers:
        """μ and σ."""
        return self.perceptron.gaussian(params, self._features(params, x), average)

    def gaussian_and_flow(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean, deviation and the outputs for a flow."""
        return self.perceptron.gaussian_and_flow(params, self._features(params, x))

    def _features(self, params: Params, x: Tensor) -> Tensor:
        """What the perceptron is given, (C, S, B, ·)."""
        if not self.convs:
            return x
        h = elu(through(self.convs, params, stacked(x, self.shape.height, self.shape.width)))
        return unstacked(h, *x.shape[:2])[0]


class PixelCnn(BottomUp):
    """See `models.networks.network.Network`. Raises ValueError for images of several channels."""

    twofold = True

    draws_pixels = True

    def __init__(
        self,
        options: PixelcnnOptions,
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
        self.analytic_kl = frozenset({1})
        self.top_inputs = shape.features
        self.inference = [PixelEncoder(options, shape, posterior.outputs(self.latents[0]))]
        self.decoder = PixelDecoder(options, shape, self.latents[0], likelihood.first_bias(mean_pixel))
        convs = [each.outputs * each.positions for each in options.encoder_convs(shape)]
        self.widest = max(self.decoder.widest, *convs, *options.hidden_sizes[0])

    def parameters(self) -> list[Parameter]:
        """Parameters of q(z|x), then of p(x|z), then the posterior's own and the prior's."""
        found = [*self.inference[0].parameters(), *self.decoder.parameters()]
        found += self.posterior.parameters(self.latents[0])
        return found + self.prior.parameters(self.top_inputs, images=True)

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`. None: p(x|z) goes through the pixels before."""
        return None

    def image(
        self,
        params: Params,
        noise: Sequence[Tensor],
        z: Tensor | None = None,
        above: Sequence[Tensor] = (),
        uniform: Tensor | None = None,
    ) -> Tensor:
        """Of each pixel the mean given z and those drawn before it, (C, S, B, D); pixels are drawn by `uniform`, of
        that shape. See `models.networks.network.Network`."""
        if z is None:
            z = self.prior.sample(params, noise[0], self._top(params))
        return self.likelihood.mean(drawn(self.decoder, params, self.decoder.maps_of(params, z), uniform))

    def _log_px(self, params: Params, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), (C, S, B), of x (C, 1, B, D)."""
        return log_px(self.decoder, self.likelihood, params, x, z)


def log_px(decoder: PixelDecoder, likelihood: Likelihood, params: Params, x: Tensor, z: Tensor) -> Tensor:
    """log p(x|z), (C, S, B), of x (C, 1, B, D) and z (C, S, B, N); without a gradient some images at a time."""
    samples, batch = z.shape[1:3]
    some = batch if torch.is_grad_enabled() else max(1, _ACTIVATIONS // (samples * decoder.widest))
    found = []
    for first in range(0, batch, some):
        here = slice(first, first + some)
        pixels, of_z = x[:, :, here], z[:, :, here]
        maps = stacked(pixels.expand(-1, samples, -1, -1), decoder.shape.height, decoder.shape.width)
        logits = decoder(params, maps, decoder.maps_of(params, of_z))
        found.append(likelihood.log_prob(pixels, unstacked(logits, len(x), samples)[0]))
    return found[0] if len(found) == 1 else torch.cat(found, 2)


def drawn(decoder: PixelDecoder, params: Params, maps: Sequence[Tensor | None], uniform: Tensor | None) -> Tensor:
    """Logits of pixels that are drawn one after the other, each given those before it: (C, S, B, D).

    A pixel is 1 where its number of `uniform`, (C, S, B, D), lies below its probability. For each a pass through the
    rows that it may depend on: D passes for any number of images.
    """
    if uniform is None:
        raise ValueError("a PixelCNN draws pixel by pixel, which takes a number on [0, 1) for each: `uniform`")
    cells, samples = uniform.shape[:2]
    threshold = stacked(uniform, decoder.shape.height, decoder.shape.width)
    x, logits = torch.zeros_like(threshold), torch.zeros_like(threshold)
    for row in range(decoder.shape.height):
        first = max(0, row - decoder.reach)
        rows = slice(first, row + 1)
        near = [None if each is None else each[:, :, rows] for each in maps]
        for place in range(decoder.shape.width):
            logits[:, :, row, place] = decoder(params, x[:, :, rows], near, first)[:, :, -1, place]
            x[:, :, row, place] = (threshold[:, :, row, place] < logits[:, :, row, place].sigmoid()).to(x)
    return unstacked(logits, cells, samples)[0]
