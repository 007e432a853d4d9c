"""The VAE of a sequence between two LSTMs (Bowman et al. 2016), as in He et al. 2019, B.2, and Kim et al. 2018.

    log p(x|z) = Σ_t log p(x_t | x_{<t}, z), t = 1 … T + 1, the last one the end;   q(z|x) = N(μ, σ²)

The encoder reads start, x₁ … x_T, end; μ and σ are affine in its h after the end, wherever in the row that is. The
decoder is `models.networks.lstm_decoder`. Encoder and decoder have embeddings of their own.

One layer: q(z|x) sees x alone, so the analytic KL is the expectation of log q − log p.

Weights and the LSTMs' biases start uniform on a small range, embeddings on ±0.1, as published. A softplus makes the
deviation, as in all networks here, in place of the published logarithm of the variance. What the LSTMs put out has
biases, of the logits one that starts at the shares of the training symbols; with `output_bias: none` there are none, as
in He et al. 2019. It decides whether aggressive inference helps (results/reference/inner_updates). We
believe that without a bias h alone can make the shares of symbols and the numbers of q, so that what it says of x and
of z grows with it; that was not measured.

Shapes: C cells, S samples, B batch, L positions of a row, H units, N of z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.sequence_shape import SequenceShape
from models.kernels.densities import normal_log_prob, sigma
from models.kernels.recurrent import lstm
from models.likelihoods.categorical import scored
from models.likelihoods.likelihood import Likelihood
from models.networks.lstm_decoder import Dropout, LstmDecoder, decoder_parameters
from models.networks.lstm_maps import PLACES, affine, embed, sum_of_products, uniform_parameters
from models.networks.lstm_spec import UNSMOOTHABLE, LstmOptions
from models.networks.network import Layer, Numbers, Params, Terms, refuse
from models.parameters import Parameter, affine_parameters
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing


class Lstm(LstmDecoder):
    """See `models.networks.network.Network`."""

    options: LstmOptions
    latents: tuple[int, ...]
    analytic_kl: frozenset[int]

    def __init__(
        self,
        options: LstmOptions,
        shape: SequenceShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ):
        self.options, self.shape, self.latents = options, shape, options.latent_sizes
        self.likelihood, self.prior, self.posterior = likelihood, prior, posterior
        self.analytic_kl = frozenset({1})
        self.bias = likelihood.first_bias(mean_pixel)
        (units,) = self.latents
        self.heads = {"mean": units, "deviation": units, "flow": posterior.outputs(units)}

    def parameters(self) -> list[Parameter]:
        """Parameters of q(z|x), then of p(x|z), then the posterior's own and the prior's."""
        own, units, first = self.options, self.options.units, PLACES["inference"]
        shapes = {
            "embedding": (self.shape.vocabulary + 1, own.embedding), "lstm.input": (own.embedding, 4 * units),
            "lstm.recurrent": (units, 4 * units), "lstm.bias": (4 * units,),
        }  # fmt: skip
        found = uniform_parameters("inference", shapes, own.initial_range)
        for place, (head, outputs) in enumerate(self.heads.items()):
            if outputs:
                weight, bias = affine_parameters(
                    f"inference.{head}", units, outputs, 1, first + 100 + 2 * place, "inference"
                )
                found += [replace(weight, uniform=own.initial_range), *[bias] * (own.output_bias != "none")]
        found += decoder_parameters(own, self.shape, self.bias)
        absent = {
            "generative.initial.bias": own.initial_state == "cell", "generative.output.skip": own.skip == "none",
        }  # fmt: skip
        found = [each for each in found if not absent.get(each.name)]
        found += self.posterior.parameters(self.latents[0])
        return found + self.prior.parameters(self.shape.features, images=True)

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
        """z from x, and x from z. Raises ValueError where smoothing is asked for.

        dropout: in training, of `dropout`.
        """
        refuse("the LSTM network", smoothing, None, UNSMOOTHABLE)
        tokens = x.long().squeeze(1)  # (C, B, L)
        numbers, flow = (given[0] if given is not None else None), None
        if numbers is None or not self.posterior.gaussian:
            mean, deviation, flow = self._encoded(params, tokens)  # (C, 1, B, N)
            numbers = (mean, deviation) if numbers is None else numbers
        drawn = self.posterior.draw(*numbers, noise[0])  # (C, S, B, N)
        if not self.posterior.gaussian:
            drawn = self.posterior.transform(params, drawn, flow)
        kl = self.prior.kl(drawn.mean, drawn.deviation) if self.posterior.gaussian and paths is None else None
        if paths is None:
            log_q = self.posterior.log_prob(drawn)  # (C, S, B)
        else:  # q sees x alone: its numbers, detached, are those of detached parameters
            drawn = drawn._replace(z=paths.along(drawn.z))
            log_q = normal_log_prob(drawn.z, drawn.mean.detach(), drawn.deviation.detach())
        log_p = self.prior.log_prob(params, drawn.z, self._top(params))  # (C, S, B)
        q_mean, q_deviation = drawn.moments()
        density = None if q_deviation is not None else self.posterior.density(drawn)
        layer = Layer(drawn.z, q_mean, log_q, log_p, kl, q_deviation, q_density=density)
        return Terms(self._log_px(params, tokens, drawn.z, dropout), (layer,), paths)

    def _encoded(self, params: Params, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean and deviation of q(z|x), each (C, 1, B, N), and what a flow is given; tokens (C, B, L)."""
        start = torch.full_like(tokens[..., :1], self.shape.vocabulary)
        read = torch.cat([start, tokens], -1)
        inputs = affine(
            embed(params["inference.embedding"], read),
            params["inference.lstm.input"],
            params["inference.lstm.bias"],
        )
        states = lstm(inputs, params["inference.lstm.recurrent"])  # (C, B, L + 1, H)
        last = scored(tokens).sum(-1)[..., None, None].expand(-1, -1, 1, states.shape[-1])  # the end, after the start
        state = states.gather(2, last).squeeze(2)  # (C, B, H)
        outputs = {
            head: sum_of_products(state, params[f"inference.{head}.weight"], params.get(f"inference.{head}.bias"))[
                :, None
            ]
            for head, size in self.heads.items()
            if size
        }
        return outputs["mean"], sigma(outputs["deviation"]), outputs.get("flow")

    def _top(self, params: Params) -> Callable[[Tensor], Numbers]:
        """q(z|·), as a prior that looks at it is given it."""
        return lambda x: self._encoded(params, x.long().squeeze(1))[:2]

    def image(
        self,
        params: Params,
        noise: Sequence[Tensor],
        z: Tensor | None = None,
        above: Sequence[Tensor] = (),
        uniform: Tensor | None = None,
    ) -> Tensor:
        """A sequence for each z, (C, S, B, L): the likeliest, or one drawn by `uniform`, numbers on [0, 1) of that
        shape. Without z, for one that is drawn from the prior."""
        z = self.prior.sample(params, noise[0], self._top(params)) if z is None else z
        return self._sequences(params, z, uniform)
