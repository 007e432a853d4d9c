"""Linear-Gaussian hierarchies planted in the real network, their closed forms, and noise that integrates exactly.

    z_L ~ N(0, 1),   z_i | z_{i+1} ~ N(w_i z_{i+1}, τ_i²),   x | z_1 ~ N(a z_1, γ²);      q: z_i ~ N(b_i z_{i−1}, s_i²)

A hidden layer of units relu(±z) carries an affine map without error, and a head without weights gives a fixed
deviation, so `HierarchicalMLP` itself computes this model. Its objectives are polynomials of degree 2 in the noise:
the corners of a cube, ±1 with equal weights, have the moments of N(0, 1) up to degree 3, and replace Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.kernels.densities import SIGMA_FLOOR
from models.posteriors.gaussian import Gaussian
from models.posteriors.posterior import Drawn, Params
from models.stack.stack import Stack


class Flow(Gaussian):
    """A posterior that says of itself that it is no Gaussian, and has no density elsewhere: z as it was drawn."""

    gaussian = False

    def transform(self, params: Params, drawn: Drawn, outputs: Tensor | None) -> Drawn:
        """A flow of no steps."""
        return drawn._replace(log_determinant=torch.zeros_like(drawn.z[..., 0]))

    def density(self, drawn: Drawn) -> None:
        """None."""


@dataclass(frozen=True)
class LinearGaussian:
    """Scalars of an L-layer hierarchy: `b`, `s` of layers 1 … L; `w`, `tau` of the maps to layers 1 … L − 1."""

    a: float
    gamma: float
    b: tuple[float, ...]
    s: tuple[float, ...]
    w: tuple[float, ...] = ()
    tau: tuple[float, ...] = ()

    def log_p(self, x: float) -> float:
        """log p(x), exactly."""
        variance = 1.0
        for w, tau in zip(reversed(self.w), reversed(self.tau), strict=True):
            variance = w**2 * variance + tau**2
        variance = self.a**2 * variance + self.gamma**2
        return -0.5 * math.log(2 * math.pi * variance) - x**2 / (2 * variance)

    def moments(self, x: float) -> list[float]:
        """E_q z_i² of layers 1 … L."""
        found, below = [], x**2
        for b, s in zip(self.b, self.s, strict=True):
            below = b**2 * below + s**2
            found.append(below)
        return found

    def reconstruction(self, x: float) -> float:
        """E_q log p(x|z₁)."""
        miss = (1 - self.a * self.b[0]) ** 2 * x**2 + self.a**2 * self.s[0] ** 2
        return -0.5 * math.log(2 * math.pi * self.gamma**2) - miss / (2 * self.gamma**2)

    def terms(self, x: float, c1: float = 1.0) -> list[float]:
        """E_q[log q(z_i|z_{i−1}) − log p(z_i|z_{i+1})] of each layer; `c1` damps what z_{i+1} adds of its own."""
        p, found = self.moments(x), []
        for i, (w, tau) in enumerate(zip(self.w, self.tau, strict=True)):
            miss = (1 - w * self.b[i + 1]) ** 2 * p[i] + c1 * w**2 * self.s[i + 1] ** 2
            cross = -0.5 * math.log(2 * math.pi * tau**2) - miss / (2 * tau**2)
            found.append(-0.5 * math.log(2 * math.pi * math.e * self.s[i] ** 2) - cross)
        return [*found, 0.5 * (p[-1] - 1 - math.log(self.s[-1] ** 2))]

    def objective(self, x: float, rho: float = 1.0, samples: int = 1) -> float:
        """The ELBO, or the smoothed training objective with S samples."""
        c1 = rho**2 + (1 - rho**2) / samples
        return self.reconstruction(x) - sum(self.terms(x, c1))

    def wrong(self, x: float) -> float:
        """The ELBO with closed-form KLs below the top: z_i and z_{i+1} taken as independent."""
        lost = zip(self.w, self.b[1:], self.s, self.tau, strict=False)
        return self.objective(x) - sum(w * b * s**2 / tau**2 for w, b, s, tau in lost)

    def exact(self) -> LinearGaussian:
        """The same model with its posterior as q."""
        prior = [1.0]  # variance of z_L, …, z_1
        for w, tau in zip(reversed(self.w), reversed(self.tau), strict=True):
            prior.append(w**2 * prior[-1] + tau**2)
        prior.reverse()
        s_squared = [1 / (1 / prior[0] + self.a**2 / self.gamma**2)]
        b = [s_squared[0] * self.a / self.gamma**2]
        for w, here, above in zip(self.w, prior, prior[1:], strict=False):
            b.append(w * above / here)
            s_squared.append(above - (w * above) ** 2 / here)
        return LinearGaussian(self.a, self.gamma, tuple(b), tuple(v**0.5 for v in s_squared), self.w, self.tau)


# A model of two layers with known answers, and one of three.
TWO = LinearGaussian(a=1.2, gamma=0.5, b=(0.6, 0.7), s=(0.4, 0.5), w=(0.9,), tau=(0.6,))
THREE = LinearGaussian(a=0.8, gamma=0.7, b=(0.9, -0.5, 0.6), s=(0.3, 0.8, 0.6), w=(0.7, -1.1), tau=(0.5, 0.9))


def raw(deviation: float) -> float:
    """What `sigma` maps to `deviation`."""
    return math.log(math.expm1(deviation - SIGMA_FLOOR)) - math.log(math.e - 1)


def stack_of(model: LinearGaussian, images: np.ndarray | None = None, units: int = 1, **fields: object) -> Stack:
    """A stack of one float64 cell that is `model`, `units` independent copies of it; `images` serve as every split."""
    images = np.zeros((4, units)) if images is None else images
    depth = len(model.b)
    chosen = dict(
        data="digits", latents="-".join([str(units)] * depth), seed=0, likelihood="gaussian", hidden=str(2 * units),
        decoder_variance=model.gamma**2, activation="relu", precision="float64", batch_size=2,
    )  # fmt: skip
    images = images.astype(np.float32)
    stack = Stack([Cell.of(chosen | fields)], Dataset("planted", images, images, images, 0, ImageShape(1, 1, units)))
    identity = torch.eye(units, dtype=torch.float64)
    plant(stack, "generative.1", model.a * identity)
    for i, (b, s) in enumerate(zip(model.b, model.s, strict=True), start=1):
        plant(stack, f"inference.{i}", b * identity, [s] * units)
    for i, (w, tau) in enumerate(zip(model.w, model.tau, strict=True), start=2):
        plant(stack, f"generative.{i}", w * identity, [tau] * units)
    return stack


def plant(stack: Stack, name: str, weight: Tensor, deviations: Sequence[float] | None = None) -> None:
    """Make map `name`, of one relu hidden layer, z → z · weight, weight (inputs, outputs), with fixed deviations."""
    inputs = len(weight)
    with torch.no_grad():
        for key, param in stack.params.items():
            if key.startswith(f"{name}."):
                param.zero_()
        pair = torch.eye(inputs, dtype=torch.float64)
        stack.params[f"{name}.0.weight"][:, :, : 2 * inputs] = torch.cat([pair, -pair], dim=1)
        stack.params[f"{name}.mean.weight"][:, : 2 * inputs] = torch.cat([weight, -weight])
        if deviations is not None:
            stack.params[f"{name}.deviation.bias"][:] = torch.tensor([raw(d) for d in deviations], dtype=torch.float64)


def corners(units: int, layers: int, samples: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Noise of z_1 … z_L and of the smoothing from layers 2 … L over all corners, in the batch: see the module."""
    sizes = [units] * layers + [samples * units] * (layers - 1)
    cube = torch.tensor(list(product((-1.0, 1.0), repeat=sum(sizes))), dtype=torch.float64)
    parts = torch.split(cube, sizes, dim=1)
    latent = [p.reshape(1, 1, -1, units) for p in parts[:layers]]
    smooth = [p.reshape(-1, samples, units).transpose(0, 1).unsqueeze(0) for p in parts[layers:]] if samples else []
    return latent, smooth
