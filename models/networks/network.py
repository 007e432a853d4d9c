"""The contract of a network: the terms that it hands to objectives and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.cell import Cell, find
from models.cell.image_shape import ImageShape
from models.cell.sequence_shape import Shape
from models.draws.draws import Draws
from models.likelihoods.likelihood import Likelihood
from models.parameters import Parameter
from models.posteriors.posterior import Posterior
from models.priors.prior import Prior

if TYPE_CHECKING:
    from models.objectives.paths import Paths
    from models.objectives.smoothing import Smoothing

Params = Mapping[str, Tensor]  # trained tensors by name, each (cells, …)
Numbers = tuple[Tensor, Tensor]  # of q: mean and deviation of a layer, each (cells, samples, batch, units)


@dataclass(frozen=True)
class Layer:
    """Terms of one stochastic layer at its sample.

    - `z` and `q_mean`: the sample and the mean of q it was drawn from, (cells, samples, batch, features). Where that
      mean has no closed form, as of a flow, `q_mean` is z itself: over an image's chains both have the same average.
    - `log_q`, `log_p`: log q(z_i|·) and log p(z_i|·) at that sample, summed over features, (cells, samples, batch).
    - `kl`: the analytic KL of each unit, (cells, samples, batch, features), only where it *is* the expectation of
      log q − log p given what q is given (`Network.analytic_kl`) and has a closed form.
    - `q_deviation`: the deviation of that q, of the shape of `q_mean`; None where q is no diagonal Gaussian.
    - `p_mean`, `p_deviation`: of p(z_i|z_{i+1}), smoothed where training smooths it; None where it is no diagonal
      Gaussian, or has no maps, as the prior of the top layer.
    - `positions`: height × width of the layer's maps, whose units lie one map after the other; 0: they lie on no grid.
    - `q_density`: where it is none, `models.posteriors.posterior.Posterior.density` of the layer.
    """

    z: Tensor
    q_mean: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor | None = None
    q_deviation: Tensor | None = None
    p_mean: Tensor | None = None
    p_deviation: Tensor | None = None
    q_density: Callable[[Tensor], Tensor] | None = None
    positions: int = 0

    def term(self) -> Tensor:
        """The layer's term of the ELBO, (cells, samples, batch): the analytic KL where there is one."""
        return self.log_q - self.log_p if self.kl is None else self.kl.sum(-1)

    def unit_term(self) -> Tensor:
        """Each unit's part of the layer's term of the ELBO, (cells, samples, batch, features).

        Raises ValueError where p or q is no product over units, of whose densities it would be made.
        """
        if self.kl is not None:
            return self.kl
        if self.q_deviation is None or self.p_mean is None or self.p_deviation is None:
            raise ValueError("a KL term of each unit needs q and p that are diagonal Gaussians, or an analytic KL")
        of_q, of_p = (self.z - self.q_mean) / self.q_deviation, (self.z - self.p_mean) / self.p_deviation
        return 0.5 * (of_p.square() - of_q.square()) + self.p_deviation.log() - self.q_deviation.log()


@dataclass(frozen=True)
class Terms:
    """All that objectives and metrics may use: log p(x|·), (cells, samples, batch), and the layers from the data up.

    `paths`: as the network was given them; then every density is taken along them, and no `kl` is there.
    """

    log_px: Tensor
    layers: tuple[Layer, ...]
    paths: Paths | None = None


class Network(Protocol):
    """The networks of the cells of one shape. Parameters come in, stacked over cells; it holds none.

    Args of the constructor:
        options: those that its entry in the registry declares.
        shape: of an image.
        mean_pixel: (features,), the mean of the training data.
        likelihood, prior, posterior: of the cells.

    Attributes:
        latents: units of layers 1 … L.
        analytic_kl: the layers at which an analytic KL is the expectation of log q − log p given what q is given.
        likelihood, prior, posterior: as given.

    A network some of whose first values follow from data also has `starts_from_data`, true, and

        first_pass(params, x, noise) → these values by name, each (cells, …)

    of the cells' own first minibatch and noise, as for `terms`, through which it goes once, before step 0. So they are
    a function of seed, data, batch size and architecture alone.

    `draws_pixels`, true of a network that draws an image pixel by pixel: `image` then takes a further argument,
    `uniform`, (cells, samples, batch, features), by which it draws them, and what it puts out is of each pixel the
    mean given those drawn before it (`image_of`). `draws_symbols`, true of one that draws a sequence symbol by symbol:
    `image` then can be given such numbers, and puts out sequences either way.

    `widest`, of a network whose activations are larger than its parameters: numbers of the largest, of one row.
    `twofold`, true of a network of convolutions, which on a CPU compute a cell alone as two.
    """

    latents: tuple[int, ...]
    analytic_kl: frozenset[int]
    likelihood: Likelihood
    prior: Prior
    posterior: Posterior

    def __init__(
        self,
        options: Any,
        shape: ImageShape,
        mean_pixel: npt.NDArray[np.float64],
        likelihood: Likelihood,
        prior: Prior,
        posterior: Posterior,
    ) -> None: ...

    def parameters(self) -> list[Parameter]:
        """Every trained tensor with its group, in a fixed order."""
        ...

    def terms(
        self,
        params: Params,
        x: Tensor,
        noise: Sequence[Tensor],
        smoothing: Smoothing | None = None,
        given: Sequence[Numbers | None] | None = None,
        paths: Paths | None = None,
    ) -> Terms:
        """The terms of a batch.

        A network with dropout has `dropout(draws, step, batch, inner)`, its masks in training, which `terms` then takes
        as a further argument of that name (`masks_of`).

        Args:
            x: (cells, 1, batch, features); symbols as their numbers.
            noise: of each layer, (cells, samples, batch, units).
            smoothing: of the generative maps, and of what else it has noise for; None: they are as they are.
            given: for each layer numbers of q that take the place of the inference network's; None: its own. Of a flow
                those of the Gaussian that it begins with; the flow's parameters are its own.
            paths: of gradients that follow the samples alone: `log_q` is then that of q with its parameters detached;
                None: all gradients are as autograd has them. Asked for by some objectives, of a Gaussian posterior.
        """
        ...

    def down(self, params: Params, layer: int, z: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """What the generative map from a layer, 1 … L, puts out at z, (cells, samples, batch, units), unsmoothed.

        Mean and deviation of p(z_{layer−1}|z), each (cells, samples, batch, units of layer − 1); of layer 1 what the
        likelihood is given, (cells, samples, batch, maps × positions), and None. None alone where the map sees other
        layers too.
        """
        ...

    def image(
        self, params: Params, noise: Sequence[Tensor], z: Tensor | None = None, above: Sequence[Tensor] = ()
    ) -> Tensor:
        """Mean of p(x|z₁), (cells, samples, batch, features), at the end of a way down from `z`, or from the prior.

        noise: of the layers drawn on the way, shapes as for `terms`: 1 … i − 1 for a `z` of layer i, all for the prior.
        above: samples of layers i + 1 … L, where they are known: for a p(x|·) that looks at them too.
        """
        ...


def image_of(network: Network, *way_down: Any, uniform: Callable[[], Tensor] | None = None) -> Tensor:
    """`Network.image`, whose arguments `way_down` are, also of a network that draws pixel by pixel: by `uniform()`,
    numbers on [0, 1), (cells, samples, batch, features)."""
    if uniform is None or not getattr(network, "draws_pixels", False):
        return network.image(*way_down)
    return network.image(*way_down, uniform=uniform())  # type: ignore[call-arg]


def output_of(network: Network, *way_down: Any, uniform: Callable[[], Tensor] | None = None) -> Tensor:
    """What the likelihood is given at the end of the way down of `image_of`, whose arguments these are:
    (cells, samples, batch, maps × positions).

    `image` ends with the likelihood's mean, which cannot be undone where an output holds more than means.
    """
    seen = copy(network)
    seen.likelihood = copy(network.likelihood)
    seen.likelihood.mean = lambda out: out  # type: ignore[method-assign]
    return image_of(seen, *way_down, uniform=uniform)


def refuse(what: str, smoothing: Smoothing | None, paths: Paths | None, unsmoothable: str) -> None:
    """Raise ValueError where `what`, a network that has neither, is asked for smoothing or for a gradient along paths.

    unsmoothable: why it is not smoothed, a clause after "because". Cells that ask for either are refused before.
    """
    if smoothing is not None:
        raise ValueError(f"{what} is not smoothed, because {unsmoothable}")
    if paths is not None:
        raise ValueError(f"{what} has the plain gradient estimator alone")


def masks_of(network: Network, draws: Draws, step: int | Tensor, batch: int, inner: int = 0) -> dict[str, Any]:
    """What `terms` is given in training for dropout: `{"dropout": masks}`, or nothing of a network that has none.

    inner: the number of an inner update or refinement step within the training step, whose masks are its own.
    """
    made = network.dropout(draws, step, batch, inner) if hasattr(network, "dropout") else None
    return {} if made is None else {"dropout": made}


def network_of(cells: Sequence[Cell], shape: Shape, mean_pixel: npt.NDArray[np.float64], like: Tensor) -> Network:
    """The network of cells of one shape, with the parts that they name; their numbers are tensors such as `like`."""
    first = cells[0]
    likelihood = find("likelihood", first.likelihood).load()(cells, shape, like)
    parts = [find(role, getattr(first, role)).load()(cells, like) for role in ("prior", "posterior")]
    network: Network = find("network", first.network).load()(
        first.options("network"), shape, mean_pixel, likelihood, *parts
    )
    return network
