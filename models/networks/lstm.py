"""The VAE of a sequence between two LSTMs (Bowman et al. 2016), as in He et al. 2019, B.2, and Kim et al. 2018.

    log p(x|z) = Σ_t log p(x_t | x_{<t}, z), t = 1 … T + 1, the last one the end;   q(z|x) = N(μ, σ²)

The encoder reads start, x₁ … x_T, end; μ and σ are affine in its h after the end, wherever in the row that is. The
decoder reads start, x₁ … x_T, each with z beside its embedding, and z begins its state as `initial_state` says. Its
logits are an affine map of h, with `skip: all` of h and z (Dieng et al. 2019, one layer). Dropout is on the decoder's
embeddings and on its h before the logits, alike for all chains of a sequence. Encoder and decoder have embeddings of
their own.

One layer: q(z|x) sees x alone, so the analytic KL is the expectation of log q − log p.

Weights and the LSTMs' biases start uniform on a small range, embeddings on ±0.1, as published. A softplus makes the
deviation, as in all networks here, in place of the published logarithm of the variance. What the LSTMs put out has
biases, of the logits one that starts at the shares of the training symbols; with `output_bias: none` there are none, as
in He et al. 2019. It decides whether aggressive inference helps (results/reference/inner_updates). We
believe that without a bias h alone can make the shares of symbols and the numbers of q, so that what it says of x and
of z grows with it; that was not measured.

Shapes: C cells, S samples, B batch, L positions of a row, E of an embedding, H units, N of z, V symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cell.sequence_shape import END, SequenceShape
from models.draws.draws import Draws, Purpose
from models.kernels.densities import normal_log_prob, sigma
from models.kernels.plain import lstm_step
from models.kernels.recurrent import lstm
from models.likelihoods.categorical import scored
from models.likelihoods.likelihood import Likelihood
from models.networks.lstm_spec import UNSMOOTHABLE, LanguageModelOptions, LstmOptions
from models.networks.network import Layer, Numbers, Params, Terms, refuse
from models.parameters import Group, Parameter, affine_parameters
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing

_PLACES: dict[Group, int] = {"inference": 0, "generative": 1 << 16}  # of parameters' draws: never renumbered
_EMBEDDING_RANGE = 0.1
_LOGITS = 1 << 24  # at a time, of each cell, where no gradient needs them all


@dataclass(frozen=True)
class Dropout:
    """Factors, 0 or 1 / (1 − p): of the decoder's embeddings, (C, B, L, E), and of its states, (C, B, L, H)."""

    inputs: Tensor
    outputs: Tensor


class Lstm:
    """See `models.networks.network.Network`."""

    options: LstmOptions | LanguageModelOptions
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
        """Those of q(z|x), then those of p(x|z), then the posterior's own and the prior's."""
        own, units, first = self.options, self.options.units, _PLACES["inference"]
        shapes = {
            "embedding": (self.shape.vocabulary + 1, own.embedding), "lstm.input": (own.embedding, 4 * units),
            "lstm.recurrent": (units, 4 * units), "lstm.bias": (4 * units,),
        }  # fmt: skip
        found = _uniform("inference", shapes, own.initial_range)
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

    def dropout(self, draws: Draws, step: int | Tensor, batch: int, inner: int = 0) -> Dropout | None:
        """The masks of a training step, or of an inner update or refinement step within it; None without dropout."""
        share = self.options.dropout
        if not share:
            return None
        rows = (batch, self.shape.length)
        masks = [
            (draws.uniform(purpose, (*rows, units), step, 1, inner) >= share) * (1.0 / (1.0 - share))
            for purpose, units in (
                (Purpose.DROPOUT_INPUT, self.options.embedding),
                (Purpose.DROPOUT_OUTPUT, self.options.units),
            )
        ]
        return Dropout(*(mask.to(draws.dtype) for mask in masks))

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
            log_q = self.posterior.log_prob(drawn)
        else:  # q sees x alone: its numbers, detached, are those of detached parameters
            drawn = drawn._replace(z=paths.along(drawn.z))
            log_q = normal_log_prob(drawn.z, drawn.mean.detach(), drawn.deviation.detach())
        log_p = self.prior.log_prob(params, drawn.z, self._top(params))
        q_mean, q_deviation = drawn.moments()
        density = None if q_deviation is not None else self.posterior.density(drawn)
        layer = Layer(drawn.z, q_mean, log_q, log_p, kl, q_deviation, q_density=density)
        return Terms(self._log_px(params, tokens, drawn.z, dropout), (layer,), paths)

    def _encoded(self, params: Params, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean and deviation of q(z|x), each (C, 1, B, N), and what a flow is given; tokens (C, B, L)."""
        start = torch.full_like(tokens[..., :1], self.shape.vocabulary)
        read = torch.cat([start, tokens], -1)
        inputs = _affine(
            _embedded(params["inference.embedding"], read),
            params["inference.lstm.input"],
            params["inference.lstm.bias"],
        )
        states = lstm(inputs, params["inference.lstm.recurrent"])  # (C, B, L + 1, H)
        last = scored(tokens).sum(-1)[..., None, None].expand(-1, -1, 1, states.shape[-1])  # the end, after the start
        state = states.gather(2, last).squeeze(2)  # (C, B, H)
        outputs = {
            head: _sum_of_products(state, params[f"inference.{head}.weight"], params.get(f"inference.{head}.bias"))[
                :, None
            ]
            for head, size in self.heads.items()
            if size
        }
        return outputs["mean"], sigma(outputs["deviation"]), outputs.get("flow")

    def _top(self, params: Params) -> Callable[[Tensor], Numbers]:
        """q(z|·), as a prior that looks at it is given it."""
        return lambda x: self._encoded(params, x.long().squeeze(1))[:2]

    def _log_px(self, params: Params, tokens: Tensor, z: Tensor, dropout: Dropout | None) -> Tensor:
        """log p(x|z), (C, S, B); tokens (C, B, L), z (C, S, B, N).

        Without a gradient some sequences at a time, so that the logits of all are never there.
        """
        batch = z.shape[2]
        rows = z.shape[1] * self.shape.length * self.shape.vocabulary
        some = batch if torch.is_grad_enabled() else max(1, _LOGITS // rows)
        found = []
        for first in range(0, batch, some):
            here = slice(first, first + some)
            out = self._output(params, tokens[:, here], z[:, :, here], dropout)
            found.append(self.likelihood.log_prob(tokens[:, None, here], out))
        return found[0] if len(found) == 1 else torch.cat(found, 2)

    def _output(self, params: Params, tokens: Tensor, z: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Logits of each position given those before it, (C, S, B, L V); tokens (C, B, L), z (C, S, B, N)."""
        cells, samples, batch, _ = z.shape
        start = torch.full_like(tokens[..., :1], END)  # which no decoder reads: its place is the start symbol's
        embedded = _embedded(params["generative.embedding"], torch.cat([start, tokens[..., :-1]], -1))  # (C, B, L, E)
        if dropout is not None:
            embedded = embedded * dropout.inputs
        inputs = self._of_symbols(params, embedded).unsqueeze(1) + self._of_latent(params, z).unsqueeze(3)
        states = lstm(
            inputs.flatten(1, 2), params["generative.lstm.recurrent"], *self._first_state(params, z.flatten(1, 2))
        )  # (C, S B, L, H)
        if dropout is not None:
            states = (states.view(cells, samples, *dropout.outputs.shape[1:]) * dropout.outputs.unsqueeze(1)).flatten(
                1, 2
            )
        return self._logits(params, states, z.flatten(1, 2)).view(cells, samples, batch, -1)

    def _of_symbols(self, params: Params, embedded: Tensor) -> Tensor:
        """What embeddings give to the decoder's gates, (C, B, L, E) → (C, B, L, 4 H)."""
        return _affine(embedded, params["generative.lstm.input"], params["generative.lstm.bias"])

    def _of_latent(self, params: Params, z: Tensor) -> Tensor:
        """What z gives to them at every step, (C, S, B, N) → (C, S, B, 4 H)."""
        return _sum_of_products(z.flatten(1, 2), params["generative.lstm.latent"]).view(*z.shape[:-1], -1)

    def _first_state(self, params: Params, z: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """h₀ and c₀, each (C, R, H) or None for 0; z (C, R, N)."""
        weight = params["generative.initial.weight"]
        if self.options.initial_state == "cell":
            c = _sum_of_products(z, weight)
            return c.tanh(), c
        h = _sum_of_products(z, weight, params["generative.initial.bias"])
        return h, torch.zeros_like(h)

    def _logits(self, params: Params, states: Tensor, z: Tensor) -> Tensor:
        """(C, R, L, H) and (C, R, N) → (C, R, L, V)."""
        bias = params.get("generative.output.bias")
        base = None if bias is None else bias.unsqueeze(1)
        if self.options.skip == "all":
            base = _sum_of_products(z, params["generative.output.skip"], bias)  # (C, R, V)
            base = base.unsqueeze(2).expand(-1, -1, states.shape[2], -1).flatten(1, 2)
        of_states = states.flatten(1, 2), params["generative.output.weight"]
        logits = torch.bmm(*of_states) if base is None else torch.baddbmm(base, *of_states)
        return logits.view(*states.shape[:-1], -1)

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`. None: p(x|z) goes through the symbols before."""
        return None

    def image(
        self, params: Params, noise: Sequence[Tensor], z: Tensor | None = None, above: Sequence[Tensor] = ()
    ) -> Tensor:
        """A sequence for each z, (C, S, B, L): at every position the likeliest symbol, given those before it.

        It stands for the mean of p(x|z), which symbols have not. After its end there are only ends.
        """
        if z is None:
            z = self.prior.sample(params, noise[0], self._top(params))
        cells, samples, batch, _ = z.shape
        rows = z.flatten(1, 2)
        (h, c), of_latent = self._first_state(params, rows), self._of_latent(params, z).flatten(1, 2)
        last = torch.full(rows.shape[:2], END, dtype=torch.long, device=z.device)
        ended, found = torch.zeros_like(last, dtype=torch.bool), []
        for _ in range(self.shape.length):
            embedded = _embedded(params["generative.embedding"], last).unsqueeze(2)  # (C, R, 1, E)
            gates = self._of_symbols(params, embedded).squeeze(2) + of_latent
            if h is not None:
                gates = torch.baddbmm(gates, h, params["generative.lstm.recurrent"])
            h, c = lstm_step(gates, c)
            last = self._logits(params, h.unsqueeze(2), rows).squeeze(2).argmax(-1).masked_fill(ended, END)
            ended = ended | (last == END)
            found.append(last)
        return torch.stack(found, -1).view(cells, samples, batch, -1).to(z)


def decoder_parameters(
    own: LstmOptions | LanguageModelOptions, shape: SequenceShape, bias: npt.NDArray[np.float64]
) -> list[Parameter]:
    """All that a decoder can have: where it is given no z, with an axis of 0."""
    latents, symbols, units = sum(own.latent_sizes), shape.vocabulary, own.units
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (symbols, own.embedding), "lstm.input": (own.embedding, 4 * units),
        "lstm.latent": (latents, 4 * units), "lstm.recurrent": (units, 4 * units), "lstm.bias": (4 * units,),
        "initial.weight": (latents, units), "initial.bias": (units * (latents > 0),), "output.weight": (units, symbols),
        "output.skip": (latents, symbols),
    }  # fmt: skip
    found = _uniform("generative", shapes, own.initial_range)
    if own.output_bias != "none":
        found.append(Parameter("generative.output.bias", (symbols,), 1, _PLACES["generative"] + 100, bias))
    return found


def _uniform(group: Group, shapes: Mapping[str, tuple[int, ...]], width: float) -> list[Parameter]:
    """Parameters that start uniform on ± this width, or on that of embeddings."""
    return [
        Parameter(
            f"{group}.{name}", shape, 1, _PLACES[group] + place, group=group,
            uniform=_EMBEDDING_RANGE if name == "embedding" else width,
        )
        for place, (name, shape) in enumerate(shapes.items(), start=1)
    ]  # fmt: skip


def _embedded(table: Tensor, tokens: Tensor) -> Tensor:
    """The rows of each cell's table, (C, V, E), for its symbols, (C, …) → (C, …, E)."""
    cells, symbols, units = table.shape
    first = torch.arange(cells, device=tokens.device).mul_(symbols).view(-1, *(1,) * (tokens.dim() - 1))
    return F.embedding(tokens + first, table.reshape(-1, units))


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b: (C, B, L, I) → (C, B, L, O)."""
    return torch.baddbmm(bias.unsqueeze(1), x.flatten(1, 2), weight).view(*x.shape[:3], -1)


def _sum_of_products(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W, and b where there is one: (C, R, I), (C, I, O) → (C, R, O).

    Of one input or one output, as for a scalar z, it is no matrix product: that of a column has other last bits alone
    than in a batch of several.
    """
    if weight.shape[1] == 1:
        found = x * weight
    elif weight.shape[2] == 1:
        found = (x * weight.mT).sum(-1, keepdim=True)
    elif bias is not None:
        return torch.baddbmm(bias.unsqueeze(1), x, weight)
    else:
        return torch.bmm(x, weight)
    return found if bias is None else found + bias.unsqueeze(1)
