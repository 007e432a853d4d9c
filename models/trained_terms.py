"""What a trained cell hands out of a pass through q: its distributions and samples, and the terms of the bound.

S samples of each of n images, layers 1 … L. A network's own terms are `models.networks.network.Terms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy.typing as npt
from torch import Tensor

from models.networks.network import Terms

Values = TypeVar("Values", npt.NDArray[Any], Tensor)


@dataclass(frozen=True)
class Encoded(Generic[Values]):
    """An ancestral pass through q, one entry per layer: q's `mean` and `deviation` and the sample `z` drawn from it,
    each (S, n, units). Bottom-up layer i is encoded from the sample of layer i − 1: above layer 1 means differ from
    chain to chain. Top-down (`ladder`, `ladder_resnet`) it is encoded from the image and the sample of layer i + 1:
    below layer L. Of `biva` layers are its variables, in the order of its module.
    Where q is a flow, `mean` is the sample itself and `deviation` None (`models.networks.network.Layer`)."""

    mean: tuple[Values, ...]
    deviation: tuple[Values | None, ...]
    z: tuple[Values, ...]


@dataclass(frozen=True)
class BoundTerms(Generic[Values]):
    """Terms of the bound at S samples of each image, nats.

    - `log_px`: log p(x|z₁), (S, n).
    - `log_q`, `log_p`: log q(z_i|·) and log p(z_i|z_{i+1}) at the samples, (S, n) for each layer.
    - `kl`: each layer's term of the ELBO, (S, n): their difference, or the analytic KL where the network has one (of
      the top layer; of every layer with `ladder` and `ladder_resnet`; with `biva` of all but bottom-up variables).
    - `kl_top_per_unit`: that, unit by unit, (S, n, units of layer L); None where it has no closed form.
    """

    log_px: Values
    log_q: tuple[Values, ...]
    log_p: tuple[Values, ...]
    kl: tuple[Values, ...]
    kl_top_per_unit: Values | None

    @property
    def elbo(self) -> Values:
        """log p(x|z₁) − Σ_i kl_i, (S, n): its mean over chains and images is the ELBO."""
        return self.log_px - sum(self.kl)

    @property
    def log_weight(self) -> Values:
        """log p(x, z) − log q(z|x), (S, n): the log of its mean weight over chains is the importance-weighted bound."""
        return self.log_px + sum(self.log_p) - sum(self.log_q)


def of_the_way_up(terms: Terms) -> list[Tensor]:
    """Mean and sample of every layer, then the deviation of those that have one."""
    found = [getattr(layer, name) for name in ("q_mean", "z", "q_deviation") for layer in terms.layers]
    return [each for each in found if each is not None]


def encoded(found: list[Values], depth: int) -> Encoded[Values]:
    """What `of_the_way_up` took."""
    deviation: list[Any] = [*found[2 * depth :], None]  # the top layer may have none
    return Encoded(tuple(found[:depth]), tuple(deviation[:depth]), tuple(found[depth : 2 * depth]))


def of_the_bound(terms: Terms) -> list[Tensor]:
    """log p(x|z₁), the top layer's KL by unit where it is analytic, then log q, log p and the term of every layer."""
    layers, top = terms.layers, terms.layers[-1].kl if terms.layers else None
    log_q, log_p = [layer.log_q for layer in layers], [layer.log_p for layer in layers]
    return [terms.log_px, *([] if top is None else [top]), *log_q, *log_p, *(layer.term() for layer in layers)]


def bound_terms(found: list[Values]) -> BoundTerms[Values]:
    """What `of_the_bound` took."""
    log_px, *analytic = found[: len(found) % 3]  # 3 L more follow
    log_q, log_p, kl = _by_threes(found[1 + len(analytic) :])
    per_unit: Any = analytic[0] if analytic else None
    return BoundTerms(log_px, log_q, log_p, kl, per_unit)


def _by_threes(found: list[Values]) -> list[tuple[Values, ...]]:
    """Three quantities, each of every layer."""
    depth = len(found) // 3
    return [tuple(found[i * depth : (i + 1) * depth]) for i in range(3)]
