"""The decoder of sequences, p(x|z), that `models.networks.lstm` has with a z and `models.networks.lstm_lm` without one.

    log p(x|z) = Σ_t log p(x_t | x_{<t}, z), t = 1 … T + 1, the last one the end

It reads start, x₁ … x_T, each with z beside its embedding, and z begins its state as `initial_state` says. Its logits
are an affine map of h, with `skip: all` of h and z (Dieng et al. 2019, one layer). Dropout is on the embeddings and on
h before the logits, alike for all chains of a sequence.

Shapes: C cells, S samples, B batch, R rows, L positions of a row, E of an embedding, H units, N of z, V symbols.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell.sequence_shape import END, SequenceShape
from models.draws.draws import Draws, Purpose
from models.kernels.plain import lstm_step
from models.kernels.products import multiplied
from models.kernels.recurrent import lstm
from models.likelihoods.categorical import drawn
from models.likelihoods.likelihood import Likelihood
from models.networks.lstm_maps import PLACES, affine, embed, sum_of_products, uniform_parameters
from models.networks.lstm_spec import LanguageModelOptions, LstmOptions
from models.networks.network import Params
from models.parameters import Parameter

_LOGITS = 1 << 24  # at a time, of each cell, where no gradient needs them all


@dataclass(frozen=True)
class Dropout:
    """Factors, 0 or 1 / (1 − p): of the decoder's embeddings, (C, B, L, E), and of its states, (C, B, L, H)."""

    inputs: Tensor
    outputs: Tensor


class LstmDecoder:
    """The decoder's part of a `models.networks.network.Network`: log p(x|z), and sequences, for a z that is given."""

    draws_symbols = True
    options: LstmOptions | LanguageModelOptions
    shape: SequenceShape
    likelihood: Likelihood

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
        embedded = embed(params["generative.embedding"], torch.cat([start, tokens[..., :-1]], -1))  # (C, B, L, E)
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
        return affine(embedded, params["generative.lstm.input"], params["generative.lstm.bias"])

    def _of_latent(self, params: Params, z: Tensor) -> Tensor:
        """What z gives to them at every step, (C, S, B, N) → (C, S, B, 4 H)."""
        return sum_of_products(z.flatten(1, 2), params["generative.lstm.latent"]).view(*z.shape[:-1], -1)

    def _first_state(self, params: Params, z: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """h₀ and c₀, each (C, R, H) or None for 0; z (C, R, N)."""
        weight = params["generative.initial.weight"]
        if self.options.initial_state == "cell":
            c = sum_of_products(z, weight)
            return c.tanh(), c
        h = sum_of_products(z, weight, params["generative.initial.bias"])
        return h, torch.zeros_like(h)

    def _logits(self, params: Params, states: Tensor, z: Tensor) -> Tensor:
        """(C, R, L, H) and (C, R, N) → (C, R, L, V)."""
        bias = params.get("generative.output.bias")
        base = None if bias is None else bias.unsqueeze(1)
        if self.options.skip == "all":
            base = sum_of_products(z, params["generative.output.skip"], bias)  # (C, R, V)
            base = base.unsqueeze(2).expand(-1, -1, states.shape[2], -1).flatten(1, 2)
        logits = multiplied(states.flatten(1, 2), params["generative.output.weight"], base)
        return logits.view(*states.shape[:-1], -1)

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """See `models.networks.network.Network`. None: p(x|z) goes through the symbols before."""
        return None

    def _sequences(self, params: Params, z: Tensor, uniform: Tensor | None) -> Tensor:
        """A sequence for each z, (C, S, B, L), which after its end has only ends.

        uniform: numbers on [0, 1), (C, S, B, L), by which each symbol is drawn given those before it; None: at every
        position the likeliest symbol, which stands for the mean of p(x|z) that symbols have not.
        """
        cells, samples, batch, _ = z.shape
        rows = z.flatten(1, 2)
        (h, c), of_latent = self._first_state(params, rows), self._of_latent(params, z).flatten(1, 2)
        last = torch.full(rows.shape[:2], END, dtype=torch.long, device=z.device)
        ended, found = torch.zeros_like(last, dtype=torch.bool), []
        for place in range(self.shape.length):
            embedded = embed(params["generative.embedding"], last).unsqueeze(2)  # (C, R, 1, E)
            gates = self._of_symbols(params, embedded).squeeze(2) + of_latent
            if h is not None:
                gates = torch.baddbmm(gates, h, params["generative.lstm.recurrent"])
            h, c = lstm_step(gates, c)
            logits = self._logits(params, h.unsqueeze(2), rows).squeeze(2)  # (C, R, V)
            last = logits.argmax(-1) if uniform is None else drawn(logits, uniform[..., place].flatten(1))
            last = last.masked_fill(ended, END)
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
    found = uniform_parameters("generative", shapes, own.initial_range)
    if own.output_bias != "none":
        found.append(Parameter("generative.output.bias", (symbols,), 1, PLACES["generative"] + 100, bias))
    return found
