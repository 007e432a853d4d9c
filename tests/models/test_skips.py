"""Stochastic skip connections: what the maps see, and smoothing along the chain, against answers known by hand.

    z₁ | z₂, z₃ ~ N(w₂ z₂ + w₃ z₃, t²);   q: z₁ = b x + s₁ e₁, z₂ = v z₁ + s₂ e₂, z₃ = u z₂ + s₃ e₃

Q = E (z₁ − mean over samples of w₂ z₂' + w₃ z₃')² / 2 t² is a polynomial of degree 2 in the noise, which the corners of
a cube integrate exactly. The hierarchy and its smoothing are the network's own, with such maps put in their places.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.cell import Cell, CellError, cell_size
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.kernels import convolution, plain
from models.objectives.smoothing import Smoothing
from models.stack.stack import Stack

W2, W3, T, B, S1, V, S2, U, S3, X = 0.5, 0.4, 0.6, 0.6, 0.4, 0.7, 0.5, 0.8, 0.6, 1.3
RHO, SAMPLES = 0.8, 5
SKIPS = {
    "data": "digits",
    "network": "resnet",
    "latents": "2x4x4-3x2x2-1x2x2",
    "maps": 4,
    "skip": "all",
    "batch_size": 4,
}


class Linear:
    """A map with the mean of a weighted sum of what it sees, and a fixed deviation."""

    def __init__(self, weights: list[float], deviation: float):
        self.weights, self.deviation = torch.tensor(weights, dtype=torch.float64), deviation

    def gaussian(self, params: object, x: Tensor, average: bool = False) -> tuple[Tensor, Tensor]:
        mean = (x * self.weights).sum(-1, keepdim=True)
        mean = mean.mean(1, keepdim=True) if average else mean
        return mean, torch.full_like(mean, self.deviation)

    def mean(self, params: object, x: Tensor, average: bool = False) -> Tensor:
        return self.gaussian(params, x, average)[0]


@pytest.fixture(scope="module")
def network():
    """A network of three layers of one unit, whose maps are those of the module's text."""
    pixel = np.full((4, 1), X, np.float32)
    fields = {"latents": "1x1x1-1x1x1-1x1x1", "data": "one", "likelihood": "gaussian", "precision": "float64"}
    stack = Stack([Cell(**(SKIPS | fields), seed=0)], Dataset("one", pixel, pixel, pixel, 0, ImageShape(1, 1, 1)))
    made = stack.network
    made.inference = [Linear([B], S1), Linear([V], S2), Linear([U], S3)]
    made.generative = [Linear([1.0, 1.0, 1.0], 1.0), Linear([W2, W3], T), Linear([1.0], 1.0)]
    return made


def corners(axes: int) -> Tensor:
    return torch.tensor(list(product((-1.0, 1.0), repeat=axes)), dtype=torch.float64)


def quantity(network, samples: int) -> float:
    """Q of the network's own smoothed p(z₁|z₂, z₃); 0 samples: unsmoothed."""
    cube = corners(3 + 2 * samples)
    noise = [cube[:, i].view(1, 1, -1, 1) for i in range(3)]
    by = None
    if samples:
        fresh = [cube[:, 3 + i * samples : 3 + (i + 1) * samples].T.reshape(1, samples, -1, 1) for i in range(2)]
        unused = torch.zeros_like(fresh[0])
        by = Smoothing(torch.full((1, 1, 1, 1), RHO, dtype=torch.float64), [fresh[0], unused], above=[[fresh[1]], []])
    first = network.terms({}, torch.full((1, 1, len(cube), 1), X, dtype=torch.float64), noise, by).layers[0]
    return float(((first.z - first.p_mean).square() / (2 * T**2)).mean())


def test_smoothing_goes_along_the_chain(network):
    """At ρ = .8 and S = 5; with one sample the quantity is that of the plain model."""
    assert quantity(network, 0) == pytest.approx(0.507147, abs=1e-6)
    assert quantity(network, 5) == pytest.approx(0.416867, abs=1e-6)
    assert quantity(network, 1) == pytest.approx(quantity(network, 0), rel=1e-12)


@pytest.mark.parametrize(
    ("reading", "expected"), [("each about its own mean", 0.436885), ("the nearest alone", 0.459925)]
)
def test_other_readings_are_other_objectives(network, reading, expected):
    """Neither is what the network computes, nor the plain model at S = 1."""

    def q(samples: int) -> float:
        cube = corners(3 + 2 * samples).view(-1, 3 + 2 * samples)
        z1 = B * X + S1 * cube[:, :1]
        z2 = V * z1 + S2 * cube[:, 1:2]
        z3 = U * z2 + S3 * cube[:, 2:3]
        moved2 = V * z1 + S2 * (RHO * cube[:, 1:2] + (1 - RHO**2) ** 0.5 * cube[:, 3 : 3 + samples])
        moved3 = U * z2 + S3 * (RHO * cube[:, 2:3] + (1 - RHO**2) ** 0.5 * cube[:, 3 + samples :])
        mean = (W2 * moved2 + W3 * (moved3 if reading.startswith("each") else z3)).mean(1, keepdim=True)
        return float(((z1 - mean).square() / (2 * T**2)).mean())

    assert q(5) == pytest.approx(expected, abs=1e-6)
    assert abs(q(5) - quantity(network, 5)) > 0.01 and abs(q(1) - quantity(network, 0)) > 0.01


# In the convolutional network.


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Grey images of 8×8 pixels."""
    grey = np.random.default_rng(0).integers(0, 17, (40, 64)).astype(np.uint8)
    return Dataset("grey", grey[:20], grey[20:30], grey[30:], 16, ImageShape(1, 8, 8))


def cells(count: int, **fields: object) -> list[Cell]:
    return [Cell(**(SKIPS | {"seed": seed} | fields)) for seed in range(count)]


def test_a_map_sees_all_layers_above_on_the_grid_of_the_nearest(digits):
    """Every number of a coarser layer stands where it lies, in all four places."""
    (cell,) = cells(1)
    network = Stack([cell], digits).network
    z = [torch.randn(1, 2, 3, units) for units in network.latents]
    seen = network._seen(z).view(1, 2, 3, 6, 4, 4)
    assert torch.equal(seen[..., :2, :, :], z[0].view(1, 2, 3, 2, 4, 4))
    for i, j in product(range(4), repeat=2):
        assert torch.equal(seen[..., 2:5, i, j], z[1].view(1, 2, 3, 3, 2, 2)[..., i // 2, j // 2])
        assert torch.equal(seen[..., 5, i, j], z[2].view(1, 2, 3, 2, 2)[..., i // 2, j // 2])
    assert torch.equal(network._seen(z[1:]), torch.cat(z[1:], -1)) and torch.equal(network._seen(z[2:]), z[2])


@pytest.mark.parametrize("upper", [2, 3])
def test_p_depends_on_every_layer_above(digits, upper):
    """p(z₁|·) and p(x|·), by given numbers of q of one layer at a time; without skips, on the nearest alone."""
    for skip in ("all", "none"):
        stack = Stack(cells(1, skip=skip, precision="float64"), digits)
        x = stack.minibatch(0)
        noise = [torch.randn(1, 1, 4, units, dtype=torch.float64) for units in stack.network.latents]
        with torch.no_grad():
            terms = stack.network.terms(stack.params, x, noise)
            layer = terms.layers[upper - 1]
            given = [None] * 3
            given[upper - 1] = (layer.q_mean + 1.0, layer.q_deviation)
            others = stack.network.terms(stack.params, x, noise, given=given)
        assert torch.equal(others.log_px, terms.log_px) == (skip == "none")
        assert torch.equal(others.layers[0].p_mean, terms.layers[0].p_mean) == (skip == "none" and upper == 3)


def test_rho_one_is_the_plain_vae_to_rounding_and_one_sample_in_law(digits):
    """The objective of a batch at ρ = 1; over many draws of the smoothing noise at S = 1."""
    (cell,) = cells(1, precision="float64", objective="ou", rho=0.6, smoothing_samples=1)
    stack = Stack([cell], digits)
    x, latents = stack.minibatch(0), stack.network.latents
    by = stack.objective.smoothing(stack.draws, 0, latents, 4)
    noise = [torch.randn(1, 1, 4, units, dtype=torch.float64) for units in latents]
    one = Smoothing(torch.ones_like(by.rho), by.noise, above=by.above)
    with torch.no_grad():
        plain, same = (stack.network.terms(stack.params, x, noise, each).layers[0] for each in (None, one))
        torch.testing.assert_close(same.log_p, plain.log_p, rtol=1e-10, atol=1e-10)
        rows = 1500
        many = x[:, :, :1].expand(-1, -1, rows, -1)
        noise = [torch.randn(1, 1, rows, units, dtype=torch.float64) for units in latents]
        by = stack.objective.smoother.at(stack.draws, 1, latents, rows)
        plain, smooth = (stack.network.terms(stack.params, many, noise, each).layers[0].log_p for each in (None, by))
    error = float((smooth - plain).std()) / rows**0.5
    assert abs(float((smooth - plain).mean())) < 4 * error and error > 0


def test_no_two_draws_of_the_smoothing_noise_are_one(digits):
    """Nor is what a network without skips draws another with them."""
    both = []
    for skip in ("none", "all"):
        (cell,) = cells(1, objective="ou", rho=0.6, smoothing_samples=2, latents="1x4x4-1x4x4-1x4x4-1x4x4", skip=skip)
        stack = Stack([cell], digits)
        both.append(stack.objective.smoothing(stack.draws, 0, stack.network.latents, 4))
    assert both[0].above is None and [len(each) for each in both[1].above] == [2, 1, 0]
    assert all(torch.equal(a, b) for a, b in zip(both[0].noise, both[1].noise, strict=True))
    every = [*both[1].noise, *(each for layer in both[1].above for each in layer)]
    assert len({float(each[0, 0, 0, 0]) for each in every}) == 6


@pytest.mark.parametrize("objective", [{}, {"objective": "ou", "rho": 0.8, "smoothing_samples": 2}])
def test_a_cell_has_the_same_bits_alone(digits, objective):
    three = cells(3, **objective)
    together = Stack(three, digits)
    together.train(3)
    for place, cell in enumerate(three):
        alone = Stack([cell], digits)
        alone.train(3)
        assert all(torch.equal(each[0], together.tensors()[key][place]) for key, each in alone.tensors().items())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"objective": "ou", "rho": 0.8, "chains": 2, "smoothing_samples": 3},
        {"objective": "ou", "rho": 0.8, "smoothing": "ratio", "latents": "-".join(["2x4x4"] * 4)},
        {"objective": "iwae", "chains": 3, "gradient_estimator": "dreg"},
        {"objective": "ou_iwae", "chains": 2, "rho": 0.8, "smoothing_samples": 2},
    ],
)
def test_the_size_is_what_torch_counts(digits, fields, monkeypatch):
    """The inference maps that smoothing runs along included."""
    monkeypatch.setattr(convolution, "convolve", plain.convolve)
    (cell,) = cells(1, **fields)
    stack = Stack([cell], digits)
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == counted.get_total_flops()
    assert cell_size(cell).parameters == stack.parameters_per_cell


def test_pictures_and_what_a_single_layer_gives(digits):
    """A way up and down with all layers known; z₁ without the layers above it gives no image, and the map from z₂ no
    numbers of its own."""
    stack = Stack(cells(2), digits)
    stack.train(2)
    assert set(draw_pictures(stack, Evaluation(), 3)[0]) == {"images", "from z1", "from z3", "samples"}
    assert all(
        row["hermite_mean"] is None for row in evaluate(stack, Evaluation(importance_samples=4, hermite_spectrum=4))
    )
    z = [torch.zeros(2, 1, 3, units) for units in stack.network.latents]
    assert stack.network.down(stack.params, 2, z[1]) is None and stack.network.down(stack.params, 3, z[2]) is not None
    with pytest.raises(ValueError, match="from z of layer 1 and of all 2 above it"):
        stack.network.image(stack.params, [], z[0])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"objective": "ou", "rho": 0.8, "smooth_posterior": "yes"}, "smooth_posterior should be no with skip all"),
        ({"objective": "ou", "rho": 0.8, "smooth_output": "yes"}, "smooth_output should be no with skip all"),
        ({"objective": "ou_iwae", "rho": 0.8, "gradient_estimator": "stl"}, "gradient_estimator should be plain with"),
    ],
)  # fmt: skip
def test_what_skips_do_not_go_with_is_refused(fields, said):
    with pytest.raises(CellError, match=said):
        cells(1, **fields)


def test_a_single_layer_has_nothing_to_skip():
    (skipping,), (plain_cell,) = (cells(1, latents="2x4x4", skip=skip) for skip in ("all", "none"))
    assert skipping.canonical() == plain_cell
