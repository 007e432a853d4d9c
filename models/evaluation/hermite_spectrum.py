"""Hermite spectrum of the generative maps: how much of what they do at q(z_i|·) is of which degree.

    W_k = Σ_{|α|=k} f̂(α)²,   E[f(z) f(z_ρ)] = Σ_k ρ^k W_k

for z ~ q(z_i|·), standardised by its own mean and deviation, and z_ρ a point of correlation ρ with it (noise stability;
O'Donnell 2014, §11.1). Smoothing keeps W_0, the mean, and damps degree k to ρ^{2k} + (1 − ρ^{2k})/S of it.

Two independent points of q span a circle, z(θ) = μ + σ (cos θ ε + sin θ ε'), on which any two have correlation cos of
the angle between them. Of `ANGLES` points at even angles all pairs are used: their products' mean at angle θ,
R(θ) = Σ_k W_k cos^k θ, is the circular autocorrelation of f, and its Fourier coefficients are squares of f's own. To
these, but the constant one, the weights of degrees 1 … `DEGREES` are fitted by least squares with W ≥ 0, and W_0 is
what is left of the constant one. A polynomial of degree k has no frequency above k, so that higher degrees add no noise
to it; no estimate of an f̂(α) is ever squared, whose error would add to W_k for each α. The variance is R(0) − R(π/2).

Every image has a circle of its own, around its own q(z_i|z_{i−1}) at the end of one ancestral chain; R is averaged over
images and summed over the map's outputs. So W_0 is the mean square of the conditional means; the spectrum over the
aggregate posterior is another quantity. Nothing is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.draws.draws import Purpose, draws_on
from models.evaluation.inputs import binarised, noise_of
from models.evaluation.settings import Evaluation
from models.evaluation.which import ImageBlock, spread
from models.stack.stack import Stack

ANGLES, DEGREES = 32, 16
SHOWN = 4  # weights 0 … 3; the others are summed
IMAGES = 25  # at a time: as many rows as a block of an evaluation has

Floats = npt.NDArray[np.float64]


def hermite_spectrum(
    stack: Stack, images: Any, settings: Evaluation, places: Sequence[slice], between: Callable[[], object]
) -> list[dict[str, Any]]:
    """The columns of every cell of a stack, by layer 1 … L: `hermite_mean`, `hermite_deviation`, their variances
    `hermite_mean_variance` and `hermite_deviation_variance`, and `hermite_images`.

    None where a layer's q is no Gaussian, or a map sees more than one layer; NaN for the deviation of layer 1's map,
    which has none.

    Args:
        images: those that are evaluated, of which `settings.hermite_spectrum` are taken, spread over them.
        places: which cells are computed at a time; `between`: called before every block of images.
    """
    wanted = min(settings.hermite_spectrum, len(images))
    chosen = images[spread(len(images), wanted)]
    source = draws_on(stack.device, [settings.seed], stack.dtype)
    latents, frequencies = stack.network.latents, ANGLES // 2 + 1
    # Σ over images and outputs of the coefficients of R, of means and deviations
    powers = torch.full((len(stack.cells), len(latents), 2, frequencies), 0.0, dtype=torch.float64)
    known = True
    with torch.no_grad():
        for first in range(0, wanted, IMAGES):
            some = chosen[first : first + IMAGES]
            block = ImageBlock(first, len(some), 1, 1, False)
            x = binarised(stack, some, source, first, Purpose.SPECTRUM_BINARISE)
            noise = noise_of(stack, source, Purpose.SPECTRUM_LATENT, block, range(1))
            ends = noise_of(stack, source, Purpose.SPECTRUM_CIRCLE, block, range(2))
            circles = [_circle(pair) for pair in ends]
            for here in places:
                between()
                network, params = stack.part(here)
                layers = network.terms(params, x[: len(stack.cells[here])], noise).layers
                for i, (layer, points) in enumerate(zip(layers, circles, strict=True)):
                    if layer.q_deviation is None:
                        known = False
                        continue
                    z = torch.addcmul(layer.q_mean, layer.q_deviation, points)  # (cells, ANGLES, images, units)
                    found = network.down(params, i + 1, z)
                    known = known and found is not None
                    for kind, values in enumerate(found or ()):
                        if values is not None:
                            powers[here, i, kind] += torch.stack([_powers(each) for each in values]).cpu()
    if not known:
        return [dict.fromkeys(_COLUMNS) | {"hermite_images": wanted} for _ in stack.cells]
    return [_row(each / wanted) | {"hermite_images": wanted} for each in powers]


_COLUMNS = "hermite_mean", "hermite_deviation", "hermite_mean_variance", "hermite_deviation_variance"


def _row(powers: Tensor) -> dict[str, Any]:
    """The columns of a cell from the coefficients of R, (L, 2, frequencies)."""
    found = [[spectrum_of(kind.numpy()) for kind in layer] for layer in powers]
    nothing = [math.nan] * (SHOWN + 1), math.nan
    means = [mean for mean, _ in found]
    deviations = [nothing if layer == 0 else deviation for layer, (_, deviation) in enumerate(found)]
    return {
        "hermite_mean": [weights for weights, _ in means],
        "hermite_deviation": [weights for weights, _ in deviations],
        "hermite_mean_variance": [variance for _, variance in means],
        "hermite_deviation_variance": [variance for _, variance in deviations],
    }


def _circle(ends: Tensor) -> Tensor:
    """Points at even angles around the circle through two, (1, 2, images, units) → (1, ANGLES, images, units)."""
    angles = _angles().to(ends).view(1, -1, 1, 1)
    return angles.cos() * ends[:, :1] + angles.sin() * ends[:, 1:]


def _angles() -> Tensor:
    return torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES)


def _powers(values: Tensor) -> Tensor:
    """Coefficients of cos mθ in R(θ) = Σ f(z(t)) f(z(t + θ)), averaged over t and summed over images and outputs.

    A cell's values, (ANGLES, images, outputs) → (ANGLES / 2 + 1,), float64.
    """
    frequency = torch.arange(ANGLES // 2 + 1, dtype=torch.float64).outer(_angles()).to(values.device)
    rows = values.reshape(ANGLES, -1).double()
    squares = (frequency.cos() @ rows).square().sum(1) + (frequency.sin() @ rows).square().sum(1)
    found: Tensor = squares * _twice(squares) / ANGLES**2
    return found


def _twice(like: Tensor) -> Tensor:
    """Frequencies between the first and the last stand for their negatives as well."""
    twice = torch.full_like(like, 2.0)
    twice[[0, -1]] = 1.0
    return twice


def spectrum_of(powers: Floats) -> tuple[list[float], float]:
    """Weights of degrees 0 … 3 and of all others, and the variance, from the coefficients of cos mθ in R(θ), m from 0.

    The weights of degrees are each at least 0; the last one is what the variance has beyond degrees 1 … 3, if anything.
    """
    weights = weights_of(powers)
    frequencies = np.arange(len(powers))
    variance = float((powers * (1.0 - np.cos(frequencies * (math.pi / 2))))[1:].sum())
    shown = [float(weight) for weight in weights[:SHOWN]]
    return [*shown, max(variance - sum(shown[1:]), 0.0)], variance


def weights_of(powers: Floats) -> Floats:
    """W_0 … W_`DEGREES`, by least squares over the stability at all angles of the circle."""
    from scipy.optimize import nnls  # only cells whose spectrum is asked for need it

    cosine = np.cos(_angles().numpy())
    matrix = np.stack([np.fft.rfft(cosine**k).real / ANGLES for k in range(DEGREES + 1)], axis=1)
    matrix[1:-1] *= 2.0
    scale = np.full(len(powers), math.sqrt(0.5))  # of the squared norm of cos mθ over the circle
    scale[[0, -1]] = 1.0
    weights = np.zeros(DEGREES + 1)
    weights[1:] = nnls((matrix * scale[:, None])[1:, 1:], (powers * scale)[1:])[0]
    weights[0] = max(powers[0] - matrix[0, 1:] @ weights[1:], 0.0)
    return weights
