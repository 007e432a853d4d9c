"""Sentences that an LSTM with a two-dimensional latent variable has drawn (He et al. 2019, appendix B.1; smaller).

    z ~ ¼ Σ N((±2, ±2), I),   h₀ = z A + a,   c₀ = 0,   p(x_t | x_{<t}, z) = softmax([h_t; z] W + b)

Every weight is uniform on (−1, 1), the part of W for z on (−5, 5). In place of the published 1,000 words and 100 units
there are 200 and 50, which train in minutes; ten words per sentence and 16,000 / 2,000 / 2,000 sentences are published.
log p(x|z) of every sentence is known (`Source.draw`), −16.42 on average.

All follows from raw numbers of NumPy's Philox generator, whose stream no version changes, by arithmetic in float64. A
word is the interval of cumulated probabilities that a uniform number falls into, so that last bits matter only where
the number lies right beside an end. None of the 200,000 numbers is nearer to one than 6e-8 (a test measures it), while
sums in another order moved log p(x|z) by 1e-14. So libraries of other makes give the same words; the registered digest
would notice one that does not, and then the data are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.cell.sequence_shape import END, SequenceShape
from models.data.sequences import Sequences, dtype_of

Numbers = npt.NDArray[np.float64]

KEY = 0x5E9CE  # of all draws; which is meant is the other half of the key
SPLIT = 16_000, 2_000, 2_000
BLOCK = 25  # sentences computed at a time: products so small that libraries use one thread, which on a busy machine
# is 20 times as fast as two


def load() -> Sequences:
    """200 words, 50 units, sentences of ten words."""
    source = Source(words=200, units=50)
    return dataset_of("synthetic_text", source, source.draw(sum(SPLIT), length=10), SPLIT)


class Drawn(NamedTuple):
    """Sentences: `words`, (sentences, length) from 0; `z`, (sentences, 2); `log_p`, log p(x|z), (sentences,).

    `gap`: the least distance between a uniform number and an end of the interval that it fell into.
    """

    words: npt.NDArray[np.int64]
    z: Numbers
    log_p: Numbers
    gap: float


@dataclass(frozen=True)
class Source:
    """The distribution: so many words, LSTM units and numbers in a word's embedding [as many as units]."""

    words: int
    units: int
    seed: int = 0

    def draw(self, count: int, length: int) -> Drawn:
        """So many sentences of so many words."""
        hidden = self.units
        embedding = self._weights(0, self.words + 1, hidden)  # the last one is the start symbol's
        of_input, of_state = self._weights(1, hidden, 4 * hidden), self._weights(2, hidden, 4 * hidden)
        bias, first = self._weights(3, 1, 4 * hidden), self._weights(4, 2, hidden)
        first_bias, out = self._weights(5, 1, hidden), self._weights(6, hidden, self.words)
        out_z, out_bias = 5.0 * self._weights(7, 2, self.words), self._weights(8, 1, self.words)
        projected, half = embedding @ of_input + bias, np.array([0.5] * (3 * hidden) + [1.0] * hidden)
        z, uniform = self._latent(count), _uniform(KEY + self.seed, 12, count * length).reshape(length, count)
        words, log_p, gap = np.empty((count, length), np.int64), np.zeros(count), 1.0
        for start in range(0, count, BLOCK):
            here = slice(start, start + BLOCK)
            h, of_z = z[here] @ first + first_bias, z[here] @ out_z + out_bias
            c, rows, last = np.zeros_like(h), np.arange(len(h)), np.full(len(h), self.words)
            for t in range(length):
                gates = np.tanh((projected[last] + h @ of_state) * half)
                i, f, o = (
                    0.5 + 0.5 * gates[:, k * hidden : (k + 1) * hidden] for k in range(3)
                )  # σ(a) = ½ + ½ tanh a/2
                c = f * c + i * gates[:, 3 * hidden :]
                h = o * np.tanh(c)
                logits = h @ out + of_z
                p = np.exp(logits - logits.max(axis=1, keepdims=True))
                ends = np.cumsum(p, axis=1)
                ends /= ends[:, -1:]
                beyond = uniform[t, here, None] - ends[:, :-1]
                last = (beyond >= 0).sum(axis=1)
                words[here, t], gap = last, min(gap, float(np.abs(beyond).min()))
                log_p[here] += np.log(p[rows, last] / p.sum(axis=1))
        return Drawn(words, z, log_p, gap)

    def _latent(self, count: int) -> Numbers:
        """z of so many sentences, (count, 2)."""
        corner, radius, angle = (_uniform(KEY + self.seed, 9 + i, count) for i in range(3))
        which = (4 * corner).astype(np.int64)
        centre = np.stack([2.0 - 4.0 * (which & 1), 2.0 - 4.0 * (which >> 1)], axis=1)
        away = np.sqrt(-2.0 * np.log1p(-radius))  # Box & Muller 1958
        z: Numbers = centre + np.stack([away * np.cos(2 * np.pi * angle), away * np.sin(2 * np.pi * angle)], axis=1)
        return z

    def _weights(self, place: int, inputs: int, outputs: int) -> Numbers:
        """Uniform on (−1, 1), (inputs, outputs)."""
        return 2.0 * _uniform(KEY + self.seed, 100 + place, inputs * outputs).reshape(inputs, outputs) - 1.0


def dataset_of(name: str, source: Source, drawn: Drawn, split: tuple[int, int, int]) -> Sequences:
    """What a source has drawn: so many sentences for training, validation and test."""
    count, length = drawn.words.shape
    shape = SequenceShape(length + 1, source.words + 1)
    rows = np.full((count, length + 1), END, dtype_of(shape.vocabulary))
    rows[:, :length] = drawn.words + 1
    train, validation, test = np.split(rows, np.cumsum(split)[:-1])
    symbols = tuple(f"w{number}" for number in range(source.words))
    return Sequences(name, train, validation, test, levels=0, shape=shape, symbols=symbols)


def _uniform(key: int, stream: int, count: int) -> Numbers:
    """On [0, 1), float64 of 53 bits, as NumPy makes them of raw words."""
    raw = np.random.Philox(key=np.array([key, stream], dtype=np.uint64)).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
