"""Discretised logistics against known answers, sums over all levels, and what published code computes instead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.cell import Cell, CellError, cell_size
from models.cell.image_shape import ImageShape
from models.cell.registry import NETWORKS
from models.data.dataset import Dataset
from models.kernels import levels, plain
from models.likelihoods import discretised_logistic
from models.likelihoods.logistic import Logistic
from models.likelihoods.logistic_mixture import LogisticMixture
from models.networks.network import output_of
from models.stack.stack import Stack
from tests.models.test_contract import EXAMPLES

LEVELS = torch.arange(256, dtype=torch.float64)
WIDE = torch.empty((), dtype=torch.float64)
LOCATIONS = (-10.0, -1.0, -0.3, 0.0, 0.1, 0.95, 1.0, 10.0)
LOG_SCALES = (-7.0, -5.0, -3.0, -1.0, 0.0, 3.0, 7.0)
# Of one pixel and two components, as a network puts them out.
GREY = [0.2, -0.5, -0.4, 0.3, -3.0, -1.5]
COLOUR = [
    [0.3, -0.2],  # logits
    [-0.2, 0.5], [0.1, -0.4], [0.0, 0.3],  # locations
    [-2.0, -3.0], [-1.5, -2.5], [-2.0, -1.0],  # log scales
    [0.5, -1.0], [0.2, 0.4], [-0.3, 0.8],  # of green on red, blue on red, blue on green
]  # fmt: skip


def number(value: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(value, dtype=dtype)


def sum_of(location: float, log_scale: float, dtype: torch.dtype = torch.float64) -> float:
    log_p = discretised_logistic.log_prob(LEVELS.to(dtype), number(location, dtype), number(log_scale, dtype))
    return float(log_p.double().exp().sum())


def mixture(shape: ImageShape, components: int = 2) -> LogisticMixture:
    cells = [Cell("cifar10", "4", 0, likelihood="logistic_mixture", components=components)]
    return LogisticMixture(cells, shape, WIDE)


def pixels(*values: list[int]) -> torch.Tensor:
    """Of one cell, as networks see them, (1, 1, images, channels)."""
    return torch.tensor(values, dtype=torch.float64)[None, None] / 255


def given(numbers: object) -> torch.Tensor:
    """What a network puts out for one pixel, (1, 1, 1, maps)."""
    return torch.tensor(numbers, dtype=torch.float64).reshape(1, 1, 1, -1)


# --- one logistic ---


def test_known_answers_of_one_logistic():
    log_p = discretised_logistic.log_prob(LEVELS[[0, 1, 127, 140, 254, 255]], number(0.1), number(-2.0))
    known = [-8.099289, -10.918610, -4.378378, -4.234533, -9.442915, -6.622505]
    assert log_p.tolist() == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 1.6e-5)])
def test_probabilities_of_the_levels_sum_to_one(dtype, most):
    """Wherever the logistic is and however narrow or wide."""
    sums = [sum_of(location, log_scale, dtype) for location in LOCATIONS for log_scale in LOG_SCALES]
    assert max(abs(each - 1) for each in sums) < most


def test_the_likelihood_of_an_image_is_the_sum_over_its_values_and_reads_levels_whole():
    """Locations come before log scales, channel by channel. Level / 255 in float32 gives the whole level again."""
    shape, draws = ImageShape(3, 2, 2), torch.Generator().manual_seed(0)
    level = torch.randint(0, 256, (2, 1, 5, 12), generator=draws).double()
    location, log_scale = torch.randn(2, 2, 3, 5, 12, generator=draws, dtype=torch.float64)
    made = Logistic([Cell("cifar10", "4", 0, likelihood="logistic")] * 2, shape, WIDE)
    assert made.maps == 6
    found = made.log_prob((level.float() / 255).double(), torch.cat([location, log_scale], -1))
    torch.testing.assert_close(found, discretised_logistic.log_prob(level, location, log_scale).sum(-1))
    assert torch.equal(discretised_logistic.levels_of(torch.arange(256, dtype=torch.uint8) / 255), LEVELS.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_far_away_and_for_any_scale(dtype):
    """Beyond the ends of the log scale, where they count as the ends, too."""
    places = torch.tensor([*LOCATIONS, -1e4, 1e4], dtype=dtype)
    scales = torch.tensor([*LOG_SCALES, -1e3, 1e3], dtype=dtype)
    location, log_scale = (each.requires_grad_() for each in torch.meshgrid(places, scales, indexing="ij"))
    level = torch.tensor([0.0, 1.0, 128.0, 254.0, 255.0], dtype=dtype)[:, None, None]
    log_p = discretised_logistic.log_prob(level, location, log_scale)
    assert log_p.isfinite().all() and (log_p <= 0).all()
    for gradient in torch.autograd.grad(log_p.sum(), (location, log_scale)):
        assert gradient.isfinite().all()
    torch.testing.assert_close(log_p[..., -2], log_p[..., 0])
    torch.testing.assert_close(log_p[..., -1], log_p[..., scales.tolist().index(7.0)])


def test_gradients_are_those_of_finite_differences():
    location = torch.tensor([[-0.4], [0.1], [1.2]], dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor([-3.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    level = LEVELS[[0, 40, 255]].view(3, 1, 1)
    assert torch.autograd.gradcheck(lambda a, b: discretised_logistic.log_prob(level, a, b), (location, log_scale))


def test_the_gradient_by_hand_is_that_of_autograd_and_keeps_two_numbers_a_value():
    """Of the plain twin, at both edges, inside, and where the log scale is cut; autograd keeps six."""
    draws = torch.Generator().manual_seed(0)
    level = torch.randint(-60, 316, (2, 1, 5, 40), generator=draws).clamp(0, 255).double()
    location, log_scale = 2 * torch.randn(2, 2, 3, 5, 40, generator=draws, dtype=torch.float64)
    log_scale[..., :4] = torch.tensor([-9.0, -7.0, 7.0, 8.0])
    wanted = (location.requires_grad_(), log_scale.requires_grad_())
    values, gradients, kept = [], [], []
    for module in (levels, plain):
        seen: dict[int, int] = {}

        def keep(tensor: torch.Tensor, seen: dict[int, int] = seen) -> torch.Tensor:
            seen[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            values.append(module.level_log_prob(level, *wanted, (-7.0, 7.0)))
        kept.append(sum(seen.values()) / location.numel())
        weight = torch.linspace(-1, 1, location.numel(), dtype=torch.float64).view_as(location)
        gradients.append(torch.autograd.grad((weight * values[-1]).sum(), wanted))
    torch.testing.assert_close(*values, rtol=1e-11, atol=1e-11)
    for one, other in zip(*gradients, strict=True):
        inside = (log_scale != -7.0) & (log_scale != 7.0)  # at the ends themselves there is none, or one on one side
        torch.testing.assert_close(one[inside], other[inside], rtol=1e-10, atol=1e-10)
    assert kept[0] == 2.0 < kept[1]
    with torch.no_grad():
        assert torch.equal(levels.level_log_prob(level, *wanted, (-7.0, 7.0)), values[0])


# --- what published code computes ---


def nvae(location: float, log_scale: float) -> torch.Tensor:
    """Probabilities with the right edge at `samples > 0.99`, which level 254 exceeds too."""
    x, precision = LEVELS / 127.5 - 1, math.exp(-log_scale)
    up, down = ((x + side / 255 - location) * precision for side in (1, -1))
    inner = up.sigmoid() - down.sigmoid()
    return torch.where(x < -0.999, up.sigmoid(), torch.where(x > 0.99, (-down).sigmoid(), inner))


def pixel_cnn(level: torch.Tensor, location: torch.Tensor, log_scale: float) -> torch.Tensor:
    """Log probabilities that below 1e-5 are the density at the bin's middle, float32."""
    x, precision = level / 127.5 - 1 - location, math.exp(-log_scale)
    difference = ((x + 1 / 255) * precision).sigmoid() - ((x - 1 / 255) * precision).sigmoid()
    middle = x * precision
    density = middle - log_scale - 2 * torch.nn.functional.softplus(middle) - math.log(127.5)
    return torch.where(difference > 1e-5, difference.clamp_min(1e-12).log(), density)


def without_edges(location: float, log_scale: float) -> float:
    """Sum of bins of 1/256 on [−½, ½], none of which reaches to infinity."""
    x, scale = LEVELS / 256 - 0.5, math.exp(log_scale)
    up, down = (((x + width - location) / scale).sigmoid() for width in (1 / 256, 0))
    return float((up - down + 1e-7).sum())


def test_an_edge_that_is_told_by_comparing_floats_sums_to_two():
    assert float(nvae(1.0, -7.0).sum()) == pytest.approx(2.0, abs=0.02)
    assert float(nvae(0.95, -1.0).sum()) > 1.4
    assert sum_of(1.0, -7.0) == pytest.approx(1.0, abs=1e-12) == sum_of(0.95, -1.0)


@pytest.mark.parametrize(("log_scale", "known"), [(-7.0, 2.15), (-5.0, 0.056)])
def test_a_density_in_place_of_a_small_probability_is_off(log_scale, known):
    """Where it takes the density, by as much as it is at worst."""
    level, location = torch.meshgrid(torch.arange(1.0, 255.0), torch.linspace(-1, 1, 401), indexing="ij")
    theirs = pixel_cnn(level, location, log_scale).double()
    exact = discretised_logistic.log_prob(level.double(), location.double(), number(log_scale))
    assert float((theirs - exact).abs().max()) == pytest.approx(known, rel=0.1)


@pytest.mark.parametrize(
    ("location", "log_scale", "known"),
    [(0.0, -4.0, 1.0000256), (0.0, -2.5, 0.9955), (0.0, -1.0, 0.591), (0.45, -2.5, 0.648)],
)
def test_levels_without_outer_bins_lose_what_lies_beyond(location, log_scale, known):
    assert without_edges(location, log_scale) == pytest.approx(known, abs=6e-4)


# --- mean, start and samples ---


def test_the_mean_is_that_of_the_levels_to_half_a_level():
    for location in LOCATIONS:
        for log_scale in LOG_SCALES:
            place = number(location), number(log_scale)
            exact = float((discretised_logistic.log_prob(LEVELS, *place).exp() * LEVELS).sum()) / 255
            assert abs(float(discretised_logistic.mean(*place)) - exact) < (0.501 if log_scale < -4 else 0.01) / 255


def test_the_location_of_a_mean_has_that_mean():
    pixel = np.linspace(0.001, 0.999, 50)
    for log_scale in (-3.0, -1.2, 0.0):
        location = torch.from_numpy(discretised_logistic.location_of(pixel, log_scale))
        found = discretised_logistic.mean(location, number(log_scale)).numpy()
        assert found == pytest.approx(pixel, abs=1e-12)
    assert np.isfinite(discretised_logistic.location_of(np.array([0.0, 1.0]), -1.2)).all()


@pytest.mark.parametrize("log_scale", [-4.0, -1.0])
def test_samples_have_the_levels_probabilities(log_scale):
    """Of evenly spaced numbers as many go to a level as it is probable, but for one."""
    count = 20_000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    level = discretised_logistic.draw(number(0.3), number(log_scale), uniform)
    shares = torch.bincount(level.long(), minlength=256) / count
    exact = discretised_logistic.log_prob(LEVELS, number(0.3), number(log_scale)).exp()
    assert float((shares - exact).abs().max()) <= 1.001 / count
    ends = discretised_logistic.draw(number(0.3), number(log_scale), torch.tensor([0.0], dtype=torch.float64))
    assert ends.tolist() == [0.0]


# --- mixtures ---


def test_known_answers_of_a_grey_mixture():
    made = mixture(ImageShape(1, 1, 1))
    assert made.maps == 6
    log_p = made.log_prob(pixels([0], [80], [165], [255]), given(GREY))
    assert log_p.flatten().tolist() == pytest.approx([-6.910563, -3.691966, -5.837764, -4.266020], abs=1e-6)
    every = made.log_prob(pixels(*([each] for each in range(256))), given(GREY))
    assert float(every.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_known_answers_of_a_mixture_in_colour():
    made = mixture(ImageShape(3, 1, 1))
    assert made.maps == 20
    log_p = made.log_prob(pixels([100, 120, 140], [0, 0, 0], [255, 255, 255], [0, 255, 7]), given(COLOUR))
    assert log_p.flatten().tolist() == pytest.approx([-13.899566, -17.311568, -19.445158, -18.736314], abs=1e-6)


def test_a_mixture_is_one_of_pixels_and_not_of_channels():
    """Of channels with a component each it would be another."""
    logits, *rest = [torch.tensor(each, dtype=torch.float64) for each in COLOUR]
    x = [2 * level / 255 - 1 for level in (100, 120, 140)]
    moved = [rest[0], rest[1] + rest[6].tanh() * x[0], rest[2] + rest[7].tanh() * x[0] + rest[8].tanh() * x[1]]
    of_channels = 0.0
    for level, location, log_scale in zip((100.0, 120.0, 140.0), moved, rest[3:6], strict=True):
        log_p = discretised_logistic.log_prob(number(level), location, log_scale)
        of_channels += float((logits.log_softmax(0) + log_p).logsumexp(0))
    assert abs(of_channels + 13.899566) > 0.1


def test_pairs_of_channels_sum_to_one():
    """Over all 65,536 pairs of levels of two channels, the second conditioned on the first."""
    made = mixture(ImageShape(2, 1, 1))
    out = [COLOUR[0], COLOUR[1], COLOUR[2], COLOUR[4], COLOUR[5], COLOUR[7]]
    pairs = torch.cartesian_prod(LEVELS, LEVELS)[None, None] / 255
    assert float(made.log_prob(pairs, given(out)).exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_one_component_without_conditions_is_one_logistic():
    shape, draws = ImageShape(3, 2, 3), torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (1, 1, 4, 18), generator=draws).double() / 255
    both = torch.randn(1, 2, 4, 36, generator=draws, dtype=torch.float64)
    logits, unused = torch.randn(1, 2, 4, 6, generator=draws, dtype=torch.float64), torch.zeros(1, 2, 4, 18).double()
    one = Logistic([Cell("cifar10", "4", 0, likelihood="logistic")], shape, WIDE)
    made = mixture(shape, components=1)
    out = torch.cat([logits, both, unused], -1)
    torch.testing.assert_close(made.log_prob(x, out), one.log_prob(x, both))
    torch.testing.assert_close(made.mean(out), one.mean(both))


def test_samples_of_a_mixture_have_its_probabilities():
    """Of a pixel of two channels: shares of blocks of 32 levels, from an even grid of the three numbers of a sample."""
    made, count = mixture(ImageShape(2, 1, 1)), 80
    out = given([COLOUR[0], COLOUR[1], COLOUR[2], COLOUR[4], COLOUR[5], COLOUR[7]])
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    numbers = torch.cartesian_prod(even, even, even)[None, None]
    drawn = made.sample(out.expand(1, 1, count**3, -1), lambda shape: numbers.expand(1, *shape), lambda shape: numbers)
    levels = discretised_logistic.levels_of(drawn)[0, 0].long()
    places = levels[:, 0] // 32 * 8 + levels[:, 1] // 32
    shares = torch.bincount(places, minlength=64) / count**3
    pairs = torch.cartesian_prod(LEVELS, LEVELS)
    exact = torch.zeros(64, dtype=torch.float64)
    log_p = made.log_prob(pairs[None, None] / 255, out).flatten()
    exact.index_add_(0, (pairs[:, 0] // 32 * 8 + pairs[:, 1] // 32).long(), log_p.exp())
    assert float((shares - exact).abs().max()) < 0.01


def test_components_start_apart_and_go_on_apart(colour):
    """At the mean image together; where all start alike, they have the same gradients and stay alike."""
    fields = dict(likelihood="logistic_mixture", components=3, batch_size=20, hidden="8", precision="float64")
    apart, alike = (Stack([Cell("cifar10", "4", 0, **fields)], colour) for _ in range(2))
    (bias,) = [name for name in apart.params if name.startswith("generative.1") and name.endswith("bias")][-1:]
    first = apart.params[bias].detach().view(10, 3, 35).clone()  # of each kind of map the components
    for kind in range(1, 7):
        assert len({round(float(first[kind, k, 0]), 6) for k in range(3)}) == (3 if kind < 4 else 2)
    made = apart.network.likelihood
    mean = made.mean(first.view(1, 1, 1, -1))
    assert mean.flatten().numpy() == pytest.approx(colour.mean_pixel, abs=0.01)
    with torch.no_grad():
        for name, tensor in alike.params.items():
            if name.startswith("generative.1") and tensor.shape[-1] == 1050:
                maps = tensor.view(*tensor.shape[:-1], 10, 3, 35)
                maps.copy_(maps[..., :1, :].expand_as(maps).clone())
    for stack in (apart, alike):
        stack.train(10)
    after, equal = (stack.params[bias].detach().view(10, 3, 35) for stack in (apart, alike))
    assert all(torch.allclose(equal[:, 0], equal[:, k], atol=1e-7) for k in (1, 2))
    assert (after[1, 0] - after[1, 1]).abs().min() > 0.01 and not torch.allclose(after[0, 0], after[0, 1])


# --- in networks ---

OF_IMAGES = [name for name, entry in NETWORKS.items() if "tokens" not in entry.kinds]


@pytest.mark.parametrize("likelihood", ["logistic", "logistic_mixture"])
@pytest.mark.parametrize("network", OF_IMAGES)
@pytest.mark.usefixtures("one_by_one")
def test_sizes_count_what_the_likelihood_is_given(network, likelihood):
    """Parameters and operations of a step, which torch counts, on images in colour."""
    blank = np.zeros((20, 3072), np.uint8)
    cell = Cell.of(
        {"data": "cifar10", "seed": 0, "batch_size": 10, "likelihood": likelihood, "network": network}
        | EXAMPLES["network"][network]
    )
    stack = Stack([cell], Dataset("zeros", blank, blank, blank, 255, ImageShape(3, 32, 32), probabilities=False))
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(cell).flops == counted.get_total_flops()
    assert cell_size(cell).parameters == stack.parameters_per_cell


@pytest.mark.parametrize("network", OF_IMAGES)
def test_the_output_at_the_end_of_the_way_down_is_what_the_image_is_the_mean_of(network, colour):
    """So that samples are drawn from the whole of it."""
    cell = Cell.of({"data": "cifar10", "seed": 0, "likelihood": "logistic", "network": network, "batch_size": 10}
                   | EXAMPLES["network"][network])  # fmt: skip
    rows = [np.resize(split, (len(split), 192)) for _, split in colour.splits()]
    stack = Stack([cell], Dataset("colour", *rows, 255, ImageShape(3, 8, 8), probabilities=False))
    noise = [torch.randn(1, 1, 6, units) for units in stack.network.latents]
    with torch.no_grad():
        image = stack.network.image(stack.params, noise)
        out = output_of(stack.network, stack.params, noise)
    assert out.shape == (1, 1, 6, 384) and torch.equal(stack.network.likelihood.mean(out), image)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"data": "cifar10"},
            "likelihood bernoulli: cifar10 has 256 levels, for gaussian or logistic or logistic_mixture",
        ),
        ({"data": "mnist", "likelihood": "logistic"}, "likelihood logistic: mnist has pixels, for bernoulli"),
        (
            {"data": "mnist_static", "likelihood": "logistic_mixture"},
            "likelihood logistic_mixture: mnist_static has pixels, for bernoulli",
        ),
    ],
)
def test_a_likelihood_that_is_none_of_the_data_is_refused_when_the_cell_is_made(fields, said):
    with pytest.raises(CellError) as caught:
        Cell(latents="4", seed=0, **fields)
    assert caught.value.faults == {"likelihood": said}


def test_a_gaussian_of_levels_is_one_of_their_255th_parts(colour):
    """It is a density of them, as if they were real values: allowed, and no probability of the levels."""
    cell = Cell("cifar10", "4", 0, likelihood="gaussian", decoder_variance=0.01, hidden="8", batch_size=20)
    stack = Stack([cell], colour)
    x = stack.minibatch(0)
    assert float(x.min()) == 0.0 and float(x.max()) == 1.0 and torch.equal((x * 255).round() / 255, x)
