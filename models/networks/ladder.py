"""The Ladder VAE of perceptrons: deterministic features upward, inference and generation downward together.

    d_0 = x,   d_i = MLP(d_{i−1}),   μ̂_i, σ̂_i = heads of d_i                                          (up, no noise)
    q(z_L|x) = N(μ̂_L, σ̂_L²)
    q(z_i|x, z_{i+1}) = N(μ̂_i, σ̂_i²) × N(t_i, s_i²), normalised,   t_i, s_i a map of z_{i+1}        (down, i < L)
    p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)

(Sønderby et al. 2016, eqs. 7 to 11 and figure 1.) Precisions add, and the mean is weighed by them:

    1/σ_q² = 1/σ̂² + 1/s²,   μ_q = σ_q² (μ̂/σ̂² + t/s²)

What feeds the next layer upward are the features d_i, as in the paper's figure, not the means μ̂_i. There is no batch
normalisation: it would make an image's terms depend on the batch, and couple the samples of an importance weight.

`shared_top_down: yes` is the paper's model: t, s are the mean and deviation of p(z_i|z_{i+1}), one map for both, so q
lies near p wherever the image says little. `no`: t, s come from a map of the same sizes with parameters of its own,
and p(z_i|z_{i+1}) enters the bound alone, as in the default of the paper's published code.

q(z_i|x, z_{i+1}) and p(z_i|z_{i+1}) have the same z_{i+1}, so at *every* layer the analytic KL is the expectation of
log q − log p given what is above; importance weights take the sampled logarithms. q(z_L|x) has no noise in its
condition: the KL of the top layer is information about x alone, and where it is 0 the layer has collapsed. In a
bottom-up chain z_{L−1}'s noise may be what the top layer describes, so the two are not the same order parameter. Below
the top a unit with KL 0 may be active: its mean follows p's, and with it z_{i+1}.

Shapes: C cells, S samples, B batch, D features of an image, H_i of d_i, N_i units of layer i.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.features import FeaturePerceptron
from models.kernels.merge import merged
from models.kernels.perceptron import Perceptron
from models.likelihoods.likelihood import Likelihood
from models.networks.ladder_spec import LadderOptions
from models.networks.mlp import HierarchicalMLP
from models.networks.network import Numbers, Params
from models.networks.top_down import TopDown
from models.parameters import Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

_UP, _DOWN_OF_Q = 0, 1 << 17  # places of parameters' draws: never renumbered


class Ladder(TopDown[Numbers], HierarchicalMLP):
    """p is that of the hierarchical MLP, maps and parameters; see `models.networks.network.Network`."""

    def __init__(
        self,
        options: LadderOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        super().__init__(options, shape, mean_pixel, likelihood, prior, posterior)
        depth, hidden, act = len(self.latents), options.hidden_sizes, options.activation
        self.analytic_kl = frozenset(range(1, depth + 1))
        inputs = (shape.features, *(sizes[-1] for sizes in hidden))  # of the way up: x, then d_1 … d_{L−1}
        self.up = [
            FeaturePerceptron(
                f"inference.{i + 1}", (inputs[i], *hidden[i], self.latents[i]), act, i + 1, _UP, "inference"
            )
            for i in range(depth)
        ]
        # The map from z_{i+1} to t_i and s_i; of layer 1 no map but p(x|z₁) goes down.
        self.down_of_q = self.generative[1:]
        if options.shared_top_down == "no":
            self.down_of_q = [
                Perceptron(f"inference_down.{p.layer}", p.sizes, act, p.layer, _DOWN_OF_Q, "inference")
                for p in self.generative[1:]
            ]

    def parameters(self) -> list[Parameter]:
        """Parameters of the maps up, then of p's, from the data up, then q's own way down, then the prior's."""
        own = [] if self.down_of_q == self.generative[1:] else self.down_of_q
        maps = [*(each for pair in zip(self.up, self.generative, strict=True) for each in pair), *own]
        found = [parameter for each in maps for parameter in each.parameters()]
        return found + self.prior.parameters(self.shape.features, images=True)

    def _way_up(self, params: Params, x: Tensor) -> list[Numbers]:
        """μ̂ and σ̂ of layers 1 … L, each (C, S, B, N_i), of images (C, S, B, D)."""
        d, found = x, []
        for each in self.up:
            d = each.features(params, d)  # (C, S, B, H_i)
            found.append(each.heads(params, d))
        return found

    def _top_numbers(self, params: Params, from_below: Numbers) -> Numbers:
        """Numbers of q(z_L|·): those of layer L on the way up, as they are."""
        return from_below

    def _given_above(
        self, params: Params, i: int, from_below: Numbers, above: Tensor
    ) -> tuple[Numbers, Callable[[], Numbers]]:
        """p's numbers, and those of q, merged."""
        p = self.generative[i + 1].gaussian(params, above)  # (C, S, B, N_i)
        shared = self.down_of_q[i] is self.generative[i + 1]

        def q() -> Numbers:
            return merged(*from_below, *(p if shared else self.down_of_q[i].gaussian(params, above)))

        return p, q
