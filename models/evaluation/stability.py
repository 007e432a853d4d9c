"""Whether a dead top layer is stable: the largest curvature of the smoothed objective over its maps, at any ρ.

At weights of a cell trained at ρ = 1 the objective, to be maximised, has a Hessian over the parameters of the top
layer's two maps. If its largest eigenvalue λ is above 0, a small change along its eigenvector grows, at a rate in
proportion to λ: the dead state is unstable. In the linear Gaussian hierarchy, with κ the largest eigenvalue of the
correlation matrix of z_{L−1} and c₁ = ρ² + (1 − ρ²)/S, weights a and b of the two maps give the objective
√κ a b − a²/2 − c₁ b²/2 to second order, so

    λ = −(1 + c₁)/2 + √((1 − c₁)²/4 + κ),   above 0 iff κ > c₁

(known answer of the tests). Products with the Hessian are central differences of the gradient in float64 on common
images and noise; the eigenvalue is ARPACK's (Lanczos, SciPy).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from models.draws.draws import draws_on
from models.evaluation.top_layer import Minibatch, gradient, top_parameters
from models.stack.stack import Stack

IMAGES = 2048  # behind a curvature, each with one chain
STEP = 1e-4  # of the central differences, in the norm of all parameters together
TOLERANCE = 1e-2  # of the eigenvalue, relative


def largest_curvature(
    stack: Stack, rho: Sequence[float], smoothing_samples: int, seed: int, batch: int, images: int = IMAGES
) -> npt.NDArray[np.float64]:
    """λ at every ρ of a list, nats per image and unit of squared weight, (len(rho),).

    Args:
        stack: one trained cell in float64; nothing in it is changed, and its own ρ has no say.
        smoothing_samples: S.
        seed, batch: of the images and draws, the same for all ρ: differences between these are surer than the values.

    Raises ValueError for a stack of another precision: central differences would be noise.
    """
    if stack.dtype != torch.float64:
        raise ValueError(f"curvatures need float64, got {stack.dtype}")
    names = top_parameters(stack)
    at = {name: stack.params[name].detach() for name in names}
    sizes = [at[name].numel() for name in names]
    data = Minibatch(stack, draws_on(stack.device, [seed], stack.dtype), batch, images, smoothing_samples)

    def moved(direction: torch.Tensor, length: float) -> dict[str, torch.Tensor]:
        parts = torch.split(direction * length, sizes)
        return {name: at[name] + part.view_as(at[name]) for name, part in zip(names, parts, strict=True)}

    def largest(each: float) -> float:
        def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            direction = torch.from_numpy(vector.reshape(-1)).to(stack.device)
            norm = float(direction.norm())
            ahead, behind = (gradient(stack, data, each, names, moved(direction / norm, s)) for s in (STEP, -STEP))
            return ((ahead - behind) * (norm / (2.0 * STEP))).cpu().numpy()

        hessian = LinearOperator((sum(sizes), sum(sizes)), matvec=product, dtype=np.float64)
        first = np.random.default_rng(0).normal(size=sum(sizes))  # ARPACK's start: fixed, so that results repeat
        return float(eigsh(hessian, k=1, which="LA", v0=first, tol=TOLERANCE, return_eigenvectors=False)[0])

    return np.array([largest(each) for each in rho])
