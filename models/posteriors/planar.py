"""A Gaussian that goes through planar flows, at the top layer (Rezende & Mohamed 2015).

    z_0 ~ N(μ, σ²),   z = z_T = f_T ∘ … ∘ f_1 (z_0),   log q(z) = log N(z_0; μ, σ²) − Σ_t log |det f_t'|

The prior is taken at z. The layers below are Gaussian. u, w, b of the T steps are further outputs of the top layer's
inference map (`amortised`: T (2D + 1) numbers for every image), or parameters that all images share (`global`).

Both start as other weights do, Glorot-uniform, with b = 0 (of amortised flows: the head's bias), as in published code.
A start at the identity is not near: u = 0 is none, because m(0) = log 2 − 1 shrinks z along w by up to 31 %, and with w
near 0 û grows as 1/‖w‖.

q has no mean in closed form. What a layer hands over as its mean is z itself, whose average over an image's chains is
an estimate of E[z|x]: the signal behind active units is then what it is for a Gaussian, the variance over images of
that mean less what the number of chains adds. Their noise contains q's own variance, and so does the count from one
pass, which calls every unit active.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from models.cell import Cell
from models.parameters import Parameter
from models.posteriors.gaussian import Gaussian
from models.posteriors.planar_flow import planar_flow
from models.posteriors.posterior import Drawn, Params

_FLOW = 1010  # place of its draws in the top layer, after those of the inference map's heads: never renumbered


class Planar(Gaussian):
    """See `models.posteriors.posterior.Posterior`."""

    gaussian = False

    def __init__(self, cells: Sequence[Cell], like: Tensor):
        first = cells[0]
        self.steps, self.layer, self.amortised = first.flow_steps, first.depth, first.flow_parameters == "amortised"

    def outputs(self, units: int) -> int:
        """u, w and b of every step, or none."""
        return self.steps * (2 * units + 1) if self.amortised else 0

    def parameters(self, units: int) -> list[Parameter]:
        """Vectors and biases of the flows, where all images share them."""
        if self.amortised:
            return []
        shapes = {"u": (self.steps, units), "w": (self.steps, units), "b": (self.steps,)}
        return [
            Parameter(f"inference.flow.{name}", shape, self.layer, _FLOW + place, group="inference")
            for place, (name, shape) in enumerate(shapes.items())
        ]

    def transform(self, params: Params, drawn: Drawn, outputs: Tensor | None) -> Drawn:
        """z_T from z_0."""
        units = drawn.z.shape[-1]
        if outputs is None:
            u, w = (params[f"inference.flow.{name}"][:, None, None] for name in ("u", "w"))  # (C, 1, 1, T, D)
            b = params["inference.flow.b"][:, None, None]
        else:
            each = outputs.view(*outputs.shape[:-1], self.steps, -1)  # (C, S, B, T, 2 D + 1)
            u, w, b = each[..., :units], each[..., units : 2 * units], each[..., -1]
        z, log_determinant = planar_flow(drawn.z, u, w, b)
        return drawn._replace(z=z, log_determinant=log_determinant)

    def density(self, drawn: Drawn) -> Callable[[Tensor], Tensor] | None:
        """None for a flow: a planar step has no inverse in closed form."""
        return super().density(drawn) if drawn.log_determinant is None else None

    def log_prob(self, drawn: Drawn) -> Tensor:
        """log N(z_0; μ, σ²) less Σ log |det|, where there was a flow."""
        log_prob = super().log_prob(drawn)
        return log_prob if drawn.log_determinant is None else log_prob - drawn.log_determinant
