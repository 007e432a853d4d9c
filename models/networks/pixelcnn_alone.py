"""The gated PixelCNN that is the decoder of `models.networks.pixelcnn` without its z: L = 0.

    log p(x) = Σ_i log p(x_i | x_{<i})

Its ELBO and importance-weighted bound are log p(x) itself, for any number of chains; it has no KL.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.likelihoods.likelihood import Likelihood
from models.networks.network import Numbers, Params, Terms, refuse
from models.networks.pixel_decoder import PixelDecoder
from models.networks.pixelcnn import drawn, log_px
from models.networks.pixelcnn_spec import UNSMOOTHABLE, PixelcnnAloneOptions
from models.objectives.paths import Paths
from models.objectives.smoothing import Smoothing
from models.parameters import Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior


class PixelCnnAlone:
    """See `models.networks.network.Network`. Its chains are one: log p(x) has no samples."""

    twofold = True

    draws_pixels = True

    def __init__(
        self,
        options: PixelcnnAloneOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        for misfit in options.misfits(shape).values():
            raise ValueError(misfit)
        self.latents: tuple[int, ...] = ()
        self.analytic_kl: frozenset[int] = frozenset()
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        self.decoder = PixelDecoder(options, shape, 0, likelihood.first_bias(mean_pixel))
        self.widest = self.decoder.widest

    def parameters(self) -> list[Parameter]:
        """Parameters of p(x)."""
        return [*self.decoder.parameters()]

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
    ) -> Terms:
        """log p(x), (C, 1, B), and no layers."""
        refuse("a PixelCNN without latent variables", smoothing, paths, UNSMOOTHABLE)
        return Terms(log_px(self.decoder, self.likelihood, params, x, x[..., :0]), ())

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """None: there is no layer."""
        return None

    def image(
        self,
        params: Params,
        noise: Sequence[Tensor],
        z: Tensor | None = None,
        above: Sequence[Tensor] = (),
        uniform: Tensor | None = None,
    ) -> Tensor:
        """See `models.networks.pixelcnn`; as many images as `uniform` has."""
        return self.likelihood.mean(drawn(self.decoder, params, [None] * len(self.decoder.layers), uniform))
