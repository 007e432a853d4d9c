"""A mixture of discretised logistics for each pixel, its channels conditioned on one another (Salimans et al. 2017).

    log p(x) = Σ_pixels log Σ_k π_k Π_c P(n_c; μ_kc, s_kc)
    μ_k,green = m_k,green + tanh(r_k0) x_red,   μ_k,blue = m_k,blue + tanh(r_k1) x_red + tanh(r_k2) x_green

with x on [−1, 1]. The mixture is over whole pixels: one component for all channels of one. Of K components a network
puts out the maps, in this order, each K of them: logits of π; m of each channel; log s of each channel; and r of each
pair of channels, 10 K maps in colour and 3 K in grey.

Shapes: C cells, S samples, B batch, Ch channels, P positions, K components.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.likelihoods import discretised_logistic
from models.likelihoods.likelihood import Drawn
from models.likelihoods.logistic import FIRST_LOG_SCALE

# Where components start, of which equal ones would have equal gradients for ever: means this far below and above the
# mean pixel, on [0, 1], and log scales this far around the first one.
MEANS, LOG_SCALES = 0.1, 0.1


class LogisticMixture:
    """See `models.likelihoods.likelihood.Likelihood`. K is the option `components`."""

    def __init__(self, cells: Sequence[Cell], shape: ImageShape, like: Tensor):
        self.shape, self.components, self.maps = shape, cells[0].components, cells[0].output_maps(shape)

    def first_bias(self, mean_pixel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Equal weights, means around the mean pixel, scales around one, channels that do not look at one another."""
        ranks = np.linspace(-1.0, 1.0, self.components) if self.components > 1 else np.zeros(1)
        pixel = mean_pixel.reshape(self.shape.channels, 1, self.shape.positions)  # (Ch, 1, P)
        log_scale = FIRST_LOG_SCALE + LOG_SCALES * (-1.0) ** np.arange(self.components)[:, None]  # (K, 1)
        location = discretised_logistic.location_of(pixel + MEANS * ranks[:, None], log_scale)  # (Ch, K, P)
        others = (self.maps - 2 * self.shape.channels * self.components) * self.shape.positions
        weights = self.components * self.shape.positions
        scales = np.broadcast_to(log_scale, location.shape).ravel()
        return np.concatenate([np.zeros(weights), location.ravel(), scales, np.zeros(others - weights)])

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """x on [0, 1]: level / 255."""
        logits, location, log_scale, weight = self._read(out)
        level = self._split(discretised_logistic.levels_of(x), self.shape.channels, 1)  # (C, 1, B, Ch, 1, P)
        seen = discretised_logistic.centred(level).unbind(-3)
        component = logits  # (C, S, B, K, P)
        for channel, scale in enumerate(log_scale):
            moved = self._moved(location[channel], weight, seen, channel)
            component = component + discretised_logistic.log_prob(level[..., channel, :, :], moved, scale)
        return (component.logsumexp(-2) - logits.logsumexp(-2)).sum(-1)

    def mean(self, out: Tensor) -> Tensor:
        """In [0, 1], each channel given the means of those before it under the same component."""
        logits, location, log_scale, weight = self._read(out)
        means: list[Tensor] = []  # under every component, (C, S, B, K, P)
        for channel, scale in enumerate(log_scale):
            moved = self._moved(location[channel], weight, [2.0 * mean - 1.0 for mean in means], channel)
            means.append(discretised_logistic.mean(moved, scale))
        share = logits.softmax(-2)
        return torch.stack([(share * mean).sum(-2) for mean in means], -2).flatten(-2)

    def sample(self, out: Tensor, uniform: Drawn, normal: Drawn) -> Tensor:
        """Level / 255: a component for each pixel, then its channels in turn."""
        logits, location, log_scale, weight = self._read(out)
        channels, positions = self.shape.channels, self.shape.positions
        numbers = self._split(uniform((*out.shape[1:-1], (1 + channels) * positions)), 1 + channels)
        below = logits.softmax(-2).cumsum(-2)[..., :-1, :]  # what the components up to each weigh, but the last
        chosen = (numbers[..., :1, :] >= below).sum(-2, keepdim=True)  # (C, S, B, 1, P)

        def of_chosen(maps: Sequence[Tensor]) -> list[Tensor]:
            return [each.gather(-2, chosen) for each in maps]

        own, scales, own_weight = of_chosen(location), of_chosen(log_scale), of_chosen(weight)
        levels: list[Tensor] = []
        for channel in range(channels):
            seen = [discretised_logistic.centred(level) for level in levels]
            moved = self._moved(own[channel], own_weight, seen, channel)
            levels.append(discretised_logistic.draw(moved, scales[channel], numbers[..., channel + 1 : channel + 2, :]))
        return torch.cat(levels, -1).squeeze(-2) / discretised_logistic.LEVELS

    def _read(self, out: Tensor) -> tuple[Tensor, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        """Logits, then locations and log scales of each channel, and weights of pairs of channels: (C, S, B, K, P)."""
        channels = self.shape.channels
        logits, *rest = self._split(out, -1, self.components).unbind(-3)
        return logits, rest[:channels], rest[channels : 2 * channels], [each.tanh() for each in rest[2 * channels :]]

    def _split(self, numbers: Tensor, *maps: int) -> Tensor:
        """The last axis as (*maps, P)."""
        return numbers.reshape(*numbers.shape[:-1], *maps, self.shape.positions)

    @staticmethod
    def _moved(location: Tensor, weight: Sequence[Tensor], seen: Sequence[Tensor], channel: int) -> Tensor:
        """Where a channel's logistic is, given the channels before it, on [−1, 1]."""
        first = channel * (channel - 1) // 2
        for before in range(channel):
            location = location + weight[first + before] * seen[before]
        return location
