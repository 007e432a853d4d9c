"""The VampPrior: a mixture of the posteriors of pseudo-inputs that are learned (Tomczak & Welling 2018, eq. 9).

    p(z_L) = (1/K) Σ_k q(z_L|u_k)

q's top map is used and trained by both. u_k is what that map is given: an image, where z_L is inferred from x itself,
as with one layer or in the two-level network of the paper; else, on top of a bottom-up chain, a z_{L−1}. Images start
at N(0.05, 0.01²) and, but under a density, are cut to [0, 1] (Hardtanh), both as in the published code; z start at
N(0, 1) and are not cut. The KL of a layer to a mixture has no closed form: the top term is log q − log p at the sample,
of which a batch's mean may be negative. Samples take a component with equal probabilities, not the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cell import Cell, find
from models.parameters import Parameter
from models.priors.mixture import mixture_log_prob, split_noise
from models.priors.prior import Params, Posterior

_PRIOR = 3 << 16  # place of its draws, after those of a network's maps: never renumbered
_IMAGES, _INPUTS = "prior.pseudo_images", "prior.pseudo_inputs"
_FIRST = {_IMAGES: (0.05, 0.01), _INPUTS: (0.0, 1.0)}  # mean and deviation of their first values


class Vamp:
    """See `models.priors.prior.Prior`."""

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        first = cells[0]
        self.count, self.layer = first.pseudo_inputs, first.depth
        self.bounded = not find("likelihood", first.likelihood).density

    def parameters(self, inputs: int, images: bool) -> list[Parameter]:
        """The pseudo-inputs, (K, inputs)."""
        name = _IMAGES if images else _INPUTS
        return [Parameter(name, (self.count, inputs), self.layer, _PRIOR, group="prior", normal=_FIRST[name])]

    def log_prob(self, params: Params, z: Tensor, posterior: Posterior) -> Tensor:
        """log (1/K) Σ_k q(z|u_k)."""
        return mixture_log_prob(z, *self._components(params, posterior))

    def kl(self, mean: Tensor, deviation: Tensor) -> None:
        """None."""
        return None

    def sample(self, params: Params, noise: Tensor, posterior: Posterior) -> Tensor:
        """m_k + s_k ε, k and ε from the noise."""
        mean, deviation = self._components(params, posterior)
        place, noise = split_noise(noise, self.count)
        cells = torch.arange(len(mean), device=mean.device).view(-1, 1, 1)
        return torch.addcmul(mean[cells, place], deviation[cells, place], noise)

    def _components(self, params: Params, posterior: Posterior) -> tuple[Tensor, Tensor]:
        """Means and deviations, each (C, K, D)."""
        inputs = params.get(_INPUTS)
        if inputs is None:
            inputs = params[_IMAGES].clamp(0.0, 1.0) if self.bounded else params[_IMAGES]
        mean, deviation = posterior(inputs.unsqueeze(1))
        return mean.squeeze(1), deviation.squeeze(1)
