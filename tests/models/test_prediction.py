"""The smoothed objective of trained weights at any ρ, against the closed form of a linear hierarchy."""

from __future__ import annotations

import numpy as np
import pytest

from models.prediction import smoothed_objective
from models.settings import Evaluation
from tests.models.planted import THREE, TWO, LinearGaussian, stack_of

X, RHO = 1.3, (0.0, 0.7, 0.95, 1.0)


@pytest.mark.parametrize("model", [TWO, THREE], ids=["two", "three"])
def test_it_is_the_closed_form_at_every_rho(model):
    """20 chains for each of 2,000 equal images; the noise is shared over ρ, so differences are surer than values."""
    stack = stack_of(model, np.full((2000, 1), X))
    before = {name: tensor.clone() for name, tensor in stack.tensors().items()}
    found = smoothed_objective(stack, RHO, 5, Evaluation(importance_samples=20))[0].numpy()
    expected = np.array([model.objective(X, rho, 5) for rho in RHO])
    assert found == pytest.approx(expected, abs=0.04)
    assert np.ptp(expected) > 0.1
    assert found - found[-1] == pytest.approx(expected - expected[-1], abs=0.025)
    assert all((tensor == before[name]).all() for name, tensor in stack.tensors().items())


def test_a_layer_alone_has_nothing_to_smooth_and_the_ratio_of_a_constant_deviation_is_the_same():
    one = stack_of(LinearGaussian(1.2, 0.5, (0.6,), (0.4,)), np.full((100, 1), X))
    values = smoothed_objective(one, RHO, 5, Evaluation(importance_samples=1))[0]
    assert (values == values[0]).all()
    two, settings = stack_of(TWO, np.full((100, 1), X)), Evaluation(importance_samples=1)
    plain, ratio = (smoothed_objective(two, RHO, 3, settings, ratio=ratio) for ratio in (False, True))
    assert ratio.numpy() == pytest.approx(plain.numpy(), rel=1e-9)
