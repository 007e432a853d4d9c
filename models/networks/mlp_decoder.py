"""A VAE of one layer whose decoder is a perceptron of any depth, with or without skips from z (Dieng, Kim, Rush & Blei
2019, table 3).

    h₀ = U z,   h_l = f(W_l h_{l−1} + V_l z), l = 1 … `decoder_layers`,   logits = W h

`skip: none` has no V_l z. Each map has a bias, that of the logits begins at the data. q(z|x) is a perceptron; the
hierarchy is that of `bottom_up.py`, of one layer.

Shapes: C cells, S samples, B batch, H units of a hidden layer, N of z.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.image_shape import ImageShape
from models.kernels.features import FeaturePerceptron
from models.kernels.perceptron import Perceptron
from models.likelihoods.likelihood import Likelihood
from models.networks.bottom_up import BottomUp
from models.networks.mlp_decoder_spec import MlpDecoderOptions
from models.networks.network import Numbers, Params
from models.parameters import Parameter, affine_parameters
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

_INFERENCE, _GENERATIVE = 0, 1 << 16  # places of parameters' draws: never renumbered


class SkipPerceptron:
    """The decoder: see `models.networks.bottom_up.Map`; it has means alone."""

    def __init__(self, options: MlpDecoderOptions, outputs: int, bias: npt.NDArray[np.float64]):
        (latents,), width, self.skips = options.latent_sizes, options.width, options.skip == "all"
        self.first = Perceptron(
            "generative.1.first", (latents, width), "identity", 1, _GENERATIVE, "generative", deviation=False
        )
        self.layers = [
            FeaturePerceptron(
                f"generative.1.{layer}", (options.seen, width, 0), options.activation, 1, _GENERATIVE, "generative"
            )
            for layer in range(1, options.decoder_layers + 1)
        ]
        self.last = Perceptron(
            "generative.1.last",
            (width, outputs),
            "identity",
            1,
            _GENERATIVE + (1 << 12),
            "generative",
            deviation=False,
            bias=bias,
        )

    def parameters(self) -> Iterator[Parameter]:
        """Of h₀, of every layer, of the logits."""
        yield from self.first.parameters()
        for number, each in enumerate(self.layers, start=1):
            seen, width, _ = each.sizes
            yield from affine_parameters(f"{each.name}.0", seen, width, 1, _GENERATIVE + 2 * number, "generative")
        yield from self.last.parameters()

    def mean(self, params: Params, x: Tensor, average: bool = False) -> Tensor:
        """What the likelihood is given: z (C, S, B, N) → (C, S, B, ·)."""
        h = self.first.mean(params, x)
        for each in self.layers:
            h = each.features(params, torch.cat([h, x], -1) if self.skips else h)
        return self.last.mean(params, h, average)

    def gaussian(self, params: Params, x: Tensor, average: bool = False) -> Numbers:
        """Raises TypeError: a decoder has no deviation."""
        raise TypeError("the decoder has no deviation")

    def gaussian_and_flow(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Raises TypeError."""
        raise TypeError("the decoder has no deviation")


class MlpDecoder(BottomUp):
    """See `models.networks.network.Network`."""

    def __init__(
        self,
        options: MlpDecoderOptions,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        self.latents, self.shape, self.top_inputs = options.latent_sizes, shape, shape.features
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        self.analytic_kl = frozenset({1})
        sizes = shape.features, *options.hidden_sizes[0], self.latents[0]
        flow = posterior.outputs(self.latents[0])
        self.inference = [Perceptron("inference.1", sizes, options.activation, 1, _INFERENCE, "inference", flow=flow)]
        outputs, bias = likelihood.maps * shape.positions, likelihood.first_bias(mean_pixel)
        self.generative = [SkipPerceptron(options, outputs, bias)]
