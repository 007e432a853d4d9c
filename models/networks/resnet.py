"""The ResNet VAE: layers of maps on a grid, inferred from the bottom up, with residual blocks between them.

    q(z|x) = q(z₁|x) Π q(z_{i+1}|z_i)          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)

(Pervez & Gavves 2021, §6.2: 8 maps of 7×7 or 16×16, up to 6 blocks of two convolutions, separate maps up and down; what
the paper leaves open, as kernels, activation and first weights, stands in `residual.py`.) All diagonal Gaussian over
every map and position: a layer's units are its maps, one after the other, and nowhere outside the maps between layers
does anything know of a grid. So the hierarchy, its terms, smoothing and gradients are those of `bottom_up.py`;
smoothing has noise of its own at every map and position, over all of which the degree of a function counts.

An image's first convolution is 5 × 5. Every number that the likelihood is given has a bias of its own, which starts at
the data. Deviations are softplus of what a head puts out, 1 at 0 and at least 10⁻⁶, as in all networks here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.cell.image_shape import ImageShape
from models.cell.latents import MapShape
from models.likelihoods.likelihood import Likelihood
from models.networks.bottom_up import BottomUp
from models.networks.residual import ResidualMap
from models.networks.resnet_spec import ENTRY, ResnetOptions
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

_INFERENCE, _GENERATIVE = 0, 1 << 16  # places of parameters' draws: never renumbered


class ResNet(BottomUp):
    """See `models.networks.network.Network`. Raises ValueError where the layers' grids do not fit the image."""

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
        sizes = options.maps, options.blocks
        below = (MapShape(*shape), *grids[:-1])
        self.inference = [
            ResidualMap(
                f"inference.{i + 1}",
                below[i],
                grids[i],
                *sizes,
                i + 1,
                _INFERENCE,
                "inference",
                entry=3 if i else ENTRY,
            )
            for i in range(depth)
        ]
        to_x = MapShape(likelihood.maps, shape.height, shape.width)
        bias = likelihood.first_bias(mean_pixel)
        self.generative = [
            ResidualMap(
                "generative.1", grids[0], to_x, *sizes, 1, _GENERATIVE, "generative", deviation=False, bias=bias
            ),
            *(
                ResidualMap(f"generative.{i + 1}", grids[i], below[i], *sizes, i + 1, _GENERATIVE, "generative")
                for i in range(1, depth)
            ),
        ]
