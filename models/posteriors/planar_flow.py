"""Planar flows (Rezende & Mohamed 2015, §4.1 and appendix A.1).

    z ← z + û h,   h = tanh(wᵀz + b),   û = u + (m(wᵀu) − wᵀu) w / (‖w‖² + ε),   m(t) = −1 + log(1 + eᵗ)
    log |det ∂z'/∂z| = log(1 + (1 − h²) wᵀû) = log(h² + (1 − h²)(1 + wᵀû))

û makes 1 + wᵀû > 0, without which a step may not be invertible: then the determinant is positive, and no absolute value
is needed. In the last form nothing cancels: 1 + wᵀû is log(1 + eᵗ), but for ε, and in float32 as exact at t = −40,
where wᵀû is rounded to −1. ε keeps w = 0 finite; it stands beside ‖w‖², where it moves û and the determinant alike.

Shapes: u, w (…, T, D) and b (…, T) of T steps; z (…, D).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

EPSILON = 1e-12  # ε
SMALLEST = 1e-12  # of 1 + wᵀû, where ε leaves nothing of it


def invertible(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """û, (…, T, D), and 1 + wᵀû, (…, T), of each step."""
    t, square = (w * u).sum(-1), w.square().sum(-1) + EPSILON
    softplus = -logsigmoid(-t)  # log(1 + eᵗ) in the form whose bits do not depend on their place
    added = (softplus - 1.0 - t) / square
    u_hat = torch.addcmul(u, added.unsqueeze(-1), w)
    return u_hat, (softplus - EPSILON * added).clamp_min(SMALLEST)


def planar_flow(z: Tensor, u: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """z after all steps, (…, D), and Σ log |det| over them, (…)."""
    u_hat, one_and_along = invertible(u, w)
    activations = []
    for each_u, each_w, each_b in zip(u_hat.unbind(-2), w.unbind(-2), b.unbind(-1), strict=True):
        h = torch.tanh((each_w * z).sum(-1) + each_b)  # (…)
        z = torch.addcmul(z, each_u, h.unsqueeze(-1))
        activations.append(h)
    squares = torch.stack(activations, -1).square()  # (…, T)
    return z, torch.lerp(one_and_along, torch.ones_like(squares), squares).log().sum(-1)
