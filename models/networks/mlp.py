"""The vanilla hierarchical VAE: bottom-up inference, top-down generation, two-hidden-layer MLPs between.

    q(z|x) = q(z₁|x) Π q(z_{i+1}|z_i)          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)

All diagonal Gaussian (Sønderby et al. 2016, "vanilla"; Pervez & Gavves 2021, §5). `bottom_up.py` has the hierarchy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.cell.image_shape import ImageShape
from models.kernels.perceptron import Perceptron
from models.likelihoods.likelihood import Likelihood
from models.networks.bottom_up import BottomUp
from models.networks.mlp_spec import MlpOptions
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

_INFERENCE, _GENERATIVE = 0, 1 << 16  # places of parameters' draws: never renumbered


class HierarchicalMLP(BottomUp):
    """See `models.networks.network.Network`."""

    inference: list[Perceptron]
    generative: list[Perceptron]

    def __init__(
        self,
        options: MlpOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        self.latents, self.shape, features = options.latent_sizes, shape, shape.features
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        depth, hidden, act = len(self.latents), options.hidden_sizes, options.activation
        self.analytic_kl = frozenset({depth})
        below = (features, *self.latents[:-1])
        self.top_inputs = below[-1]
        flows = [0] * (depth - 1) + [posterior.outputs(self.latents[-1])]
        # The maps of layer i: inference from z_{i−1} to z_i, generation from z_i to z_{i−1} (x for i = 1).
        self.inference = [
            Perceptron(
                f"inference.{i + 1}",
                (below[i], *hidden[i], self.latents[i]),
                act,
                i + 1,
                _INFERENCE,
                "inference",
                flow=flows[i],
            )
            for i in range(depth)
        ]
        down = [(self.latents[i], *hidden[i][::-1], below[i]) for i in range(depth)]
        to_x = (*down[0][:-1], likelihood.maps * shape.positions)
        bias = likelihood.first_bias(mean_pixel)
        self.generative = [
            Perceptron("generative.1", to_x, act, 1, _GENERATIVE, "generative", deviation=False, bias=bias),
            *(
                Perceptron(f"generative.{i + 1}", down[i], act, i + 1, _GENERATIVE, "generative")
                for i in range(1, depth)
            ),
        ]
