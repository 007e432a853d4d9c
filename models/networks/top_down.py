"""The terms of a ladder, whatever its maps are: features go up, inference and generation come down together.

    q(z|x) = q(z_L|x) Π q(z_i|x, z_{i+1})          p(x, z) = p(x|z₁) Π p(z_i|z_{i+1}) p(z_L)

q(z_i|x, z_{i+1}) and p(z_i|z_{i+1}) have the same z_{i+1}, so at *every* layer the analytic KL is the expectation of
log q − log p given what is above; importance weights take the sampled logarithms. q(z_L|x) has no noise in its
condition: the KL of the top layer is information about x alone, and where it is 0 the layer has collapsed. With skip
connections both have all layers above in place of z_{i+1}.

Shapes: C cells, S samples, B batch, D features of an image, N_i units of layer i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor

from models.kernels.densities import normal_log_prob
from models.kernels.merge import normal_kl_between
from models.networks.bottom_up import BottomUp
from models.networks.ladder_spec import UNSMOOTHABLE
from models.networks.network import Layer, Numbers, Params, Terms, refuse

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing

FromBelow = TypeVar("FromBelow")  # what the way up leaves at a layer


class TopDown(BottomUp, Generic[FromBelow]):
    """`terms` of a network whose p is `BottomUp`'s, and whose q draws the top layer first."""

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
    ) -> Terms:
        """One way up, and one ancestral pass down. What is `given` takes the place of q's merged numbers.

        Raises ValueError where smoothing, or a gradient along `paths`, is asked for.
        """
        refuse("a ladder", smoothing, paths, UNSMOOTHABLE)
        given = given or [None] * len(noise)
        from_below = self._way_up(params, x)  # what the way up leaves at layers 1 … L

        layers: list[Layer] = []  # from the top down
        for i in reversed(range(len(noise))):
            numbers = given[i]
            kl: Tensor | None
            if layers:
                above = self._seen([each.z for each in layers[::-1]])
                p, q = self._given_above(params, i, from_below[i], above)
                drawn = self.posterior.draw(*(q() if numbers is None else numbers), noise[i])  # (C, S, B, N_i)
                log_p = normal_log_prob(drawn.z, *p)  # (C, S, B)
                kl = normal_kl_between(drawn.mean, drawn.deviation, *p)  # (C, S, B, N_i)
            else:
                top = self._top_numbers(params, from_below[i]) if numbers is None else numbers
                drawn = self.posterior.draw(*top, noise[i])  # (C, S, B, N_L)
                log_p = self.prior.log_prob(params, drawn.z, self._top(params))  # (C, S, B)
                kl = self.prior.kl(drawn.mean, drawn.deviation)  # (C, 1, B, N_L)
            log_q = self.posterior.log_prob(drawn)  # (C, S, B)
            positions = self.positions[i] if self.positions else 0
            layers.append(Layer(drawn.z, drawn.mean, log_q, log_p, kl, drawn.deviation, positions=positions))
        layers.reverse()
        return Terms(self._log_px(params, x, self._seen([each.z for each in layers])), tuple(layers))

    def _way_up(self, params: Params, x: Tensor) -> Sequence[FromBelow]:
        """What q is given of images (C, S, B, D) at layers 1 … L."""
        raise NotImplementedError

    def _top_numbers(self, params: Params, from_below: FromBelow) -> Numbers:
        """Mean and deviation of q(z_L|x), each (C, S, B, N_L)."""
        raise NotImplementedError

    def _given_above(
        self, params: Params, i: int, from_below: FromBelow, above: Tensor
    ) -> tuple[Numbers, Callable[[], Numbers]]:
        """Mean and deviation of p(z_{i+1}|z_{i+2}), and a function to those of q(z_{i+1}|x, z_{i+2}), each (C, S, B,
        N_{i+1}); `i` from 0, `above` is z_{i+2}, or with skip connections all layers from there up."""
        raise NotImplementedError

    def _top(self, params: Params) -> Callable[[Tensor], Numbers]:
        """q(z_L|·), of images, as a prior that looks at it is given it."""
        return lambda images: self._top_numbers(params, self._way_up(params, images)[-1])
