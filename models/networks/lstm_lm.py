"""The language model that is the LSTM VAE's decoder without its z: L = 0.

    log p(x) = Σ_t log p(x_t | x_{<t}), t = 1 … T + 1

Its ELBO and importance-weighted bound are log p(x) itself, for any number of chains; it has no KL.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell.sequence_shape import SequenceShape
from models.likelihoods.likelihood import Likelihood
from models.networks.lstm_decoder import Dropout, LstmDecoder, decoder_parameters
from models.networks.lstm_spec import UNSMOOTHABLE, LanguageModelOptions
from models.networks.network import Numbers, Params, Terms, refuse
from models.objectives.paths import Paths
from models.objectives.smoothing import Smoothing
from models.parameters import Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior


class LanguageModel(LstmDecoder):
    """See `models.networks.network.Network`. Its chains are one: log p(x) has no samples."""

    latents: tuple[int, ...]
    analytic_kl: frozenset[int]

    def __init__(
        self,
        options: LanguageModelOptions,
        shape: SequenceShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        self.options, self.shape, self.latents = options, shape, ()
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        self.analytic_kl, self.bias = frozenset(), likelihood.first_bias(mean_pixel)

    def parameters(self) -> list[Parameter]:
        """Parameters of a decoder that no z is given to."""
        return [each for each in decoder_parameters(self.options, self.shape, self.bias) if 0 not in each.shape]

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
        dropout: Dropout | None = None,
    ) -> Terms:
        """log p(x), (C, 1, B), and no layers."""
        refuse("a language model", smoothing, paths, UNSMOOTHABLE)
        nothing = next(iter(params.values())).new_zeros(*x.shape[:3], 0)
        return Terms(self._log_px(params, x.long().squeeze(1), nothing, dropout), ())

    def _of_latent(self, params: Params, z: Tensor) -> Tensor:
        return z.new_zeros(*z.shape[:-1], 1)

    def _first_state(self, params: Params, z: Tensor) -> tuple[None, None]:
        return None, None

    def image(
        self,
        params: Params,
        noise: Sequence[Tensor],
        z: Tensor | None = None,
        above: Sequence[Tensor] = (),
        uniform: Tensor | None = None,
    ) -> Tensor:
        """The likeliest symbol after the other, the same for all, (C, 1, 1, L); or sequences drawn by `uniform`,
        numbers on [0, 1), (C, S, B, L)."""
        own = next(iter(params.values()))
        rows = (1, 1) if uniform is None else uniform.shape[1:3]
        return self._sequences(params, own.new_zeros(len(own), *rows, 0), uniform)
