"""A known answer with real training: a one-layer linear VAE collapses latent by latent as β grows.

With decoder variance σ² the optimum of the β-weighted ELBO is probabilistic PCA at variance βσ²: with the data
covariance's eigenvalues λ_i, latent i keeps KL_i = ½ log(λ_i/βσ²)₊, a broken line in log β with its kink at
β_i = λ_i/σ² (Tipping & Bishop 1999; Lucas et al. 2019).
"""

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack
from sweeper.analysis.curves import curves
from sweeper.parameters.control import axis_of
from tests.sweeper.synthetic import rows_of

VARIANCE = 0.5  # σ²
SEEDS = 3


def gaussian(eigenvalues: list[float], images: int) -> Dataset:
    """Real-valued data whose covariance has exactly these eigenvalues, in a direction of its own."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=(images, len(eigenvalues)))
    white -= white.mean(axis=0)
    white = white @ np.linalg.inv(np.linalg.cholesky(white.T @ white / images)).T
    turn, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
    data = (white * np.sqrt(eigenvalues) @ turn.T).astype(np.float32)
    return Dataset("gaussian", data, data, data, levels=0, shape=ImageShape(1, 1, len(eigenvalues)))


def swept(eigenvalues: list[float], betas: np.ndarray, steps: int, images: int) -> list[tuple[float, float, float]]:
    """Train over β and seeds, full batch. Latent by latent, largest first: the analytic β_i, the fitted broken line's
    kink, and the onset over its own analytic value."""
    cells = [
        Cell("gaussian", str(len(eigenvalues)), seed, likelihood="gaussian", decoder_variance=VARIANCE, hidden="8",
             activation="identity", kl_weight=float(beta), batch_size=images, learning_rate=0.02,
             learning_rate_end=1e-4, learning_rate_decay_steps=steps)
        for beta in betas for seed in range(SEEDS)
    ]  # fmt: skip
    stack = Stack(cells, gaussian(eigenvalues, images))
    stack.train(steps)
    measured = evaluate(stack, Evaluation(importance_samples=1), quick=True)
    units = {
        cell: sorted(row["kl_top_per_unit"], reverse=True) for cell, row in zip(stack.cells, measured, strict=True)
    }
    axis, found = axis_of("kl_weight"), []
    for i, eigenvalue in enumerate(sorted(eigenvalues, reverse=True)):
        rows = rows_of(units, lambda cell: 0.0).assign(kl_top=[each[i] for each in units.values()])
        (curve,) = curves(rows, reference=betas[0], axis=axis)
        kink = np.exp(np.mean([np.log(fit["broken"].critical) for fit in curve.fits]))
        analytic = eigenvalue / VARIANCE
        onset = analytic**0.9 * betas[0] ** 0.1
        assert curve.transition.onset.reason is None, curve.transition.onset.reason
        found.append((analytic, kink, curve.transition.onset.value / onset))
    return found


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_one_latent_collapses_where_it_should():
    """λ = 2, σ² = ½: β = 4, within 2 %."""
    ((analytic, kink, onset),) = swept([2.0], np.geomspace(0.5, 8, 13), steps=800, images=64)
    assert analytic == 4.0
    assert kink == pytest.approx(4.0, rel=0.02)
    assert onset == pytest.approx(1.0, rel=0.02)


@pytest.mark.slow
def test_latents_collapse_one_by_one():
    """Eigenvalues 6, 2 and 0.7, so β = 12, 4 and 1.4: each within 2 %."""
    found = swept([2.0, 6.0, 0.7], np.geomspace(0.25, 24, 27), steps=6000, images=256)
    for analytic, kink, onset in found:
        print(f"\nβ = {analytic:g}: kink {kink:.4f}, onset over its analytic value {onset:.4f}")
        assert kink == pytest.approx(analytic, rel=0.02)
        assert onset == pytest.approx(1.0, rel=0.02)
