"""The ResNet VAE: its maps against torch's own layers, its sizes against counts by hand, what does not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cell import Cell, CellError, cell_size
from models.cell.image_shape import ImageShape
from models.cell.latents import MapShape
from models.data.dataset import Dataset
from models.draws.draws import Purpose
from models.evaluation.accumulators import ChainBlock, Sizes
from models.evaluation.activities import Activities
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.evaluation.which import ImageBlock
from models.kernels import convolution
from models.kernels.products import precision
from models.networks import residual
from models.networks.convolution_spec import halvings
from models.networks.network import Layer, Terms
from models.networks.residual import ResidualMap
from models.networks.resnet import ResNet
from models.networks.resnet_spec import ResnetOptions, generative_convs, inference_convs, saved_numbers
from models.objectives.elbo import OrnsteinUhlenbeck
from models.objectives.smoothing import perturb
from models.stack.stack import Stack

SMALL = {"data": "digits", "network": "resnet", "latents": "2x4x4-3x2x2", "maps": 4, "batch_size": 6}
FLOOR = 1e-6


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Grey images of 8×8 pixels."""
    grey = np.random.default_rng(0).integers(0, 17, (60, 64)).astype(np.uint8)
    return Dataset("grey", grey[:40], grey[40:50], grey[50:], 16, ImageShape(1, 8, 8))


def cells(count: int = 1, **fields: object) -> list[Cell]:
    return [Cell(**(SMALL | {"seed": seed} | fields)) for seed in range(count)]


def written_out(params: dict[str, Tensor], name: str, x: Tensor, plan: list[str]) -> Tensor:
    """A map of one cell as torch's own layers: x (rows, maps, H, W); `plan`: what is done at each convolution."""
    h = kept = x
    for number, step in enumerate(plan):
        weight, bias = (params[f"{name}.{number}.{kind}"][0] for kind in ("weight", "bias"))
        conv = {"stride": 2 if step in ("halve first", "down") else 1, "padding": weight.shape[-1] // 2}
        if step == "inner":
            kept = h
        seen = h if "first" in step else F.elu(h)
        if step == "up":
            seen = seen.repeat_interleave(2, -1).repeat_interleave(2, -2)
        h = F.conv2d(seen, weight, bias, **conv)
        if step == "last":
            h = kept + h
    return h


@pytest.mark.parametrize(
    ("name", "given", "plan"),
    [
        ("inference.1", (1, 16, 16), ["halve first", "down", *["inner", "last"] * 2, "head"]),
        ("inference.2", (2, 4, 4), ["first", *["inner", "last"] * 2, "head"]),
        ("inference.3", (3, 4, 4), ["halve first", *["inner", "last"] * 2, "head"]),
        ("generative.3", (2, 2, 2), ["first", *["inner", "last"] * 2, "up", "head"]),
        ("generative.2", (3, 4, 4), ["first", *["inner", "last"] * 2, "head"]),
        ("generative.1", (2, 4, 4), ["first", *["inner", "last"] * 2, "up", "up", "head"]),
    ],
)
def test_a_map_is_its_convolutions_one_after_the_other(name, given, plan):
    """Mean and deviation, map by map, of an image's first and further halvings, of blocks and of the way back."""
    images = np.random.default_rng(1).random((8, 256)).astype(np.float32)
    dataset = Dataset("grey", images, images, images, 0, ImageShape(1, 16, 16))
    fields = {"latents": "2x4x4-3x4x4-2x2x2", "blocks": 2, "precision": "float64", "data": "elsewhere"}
    stack = Stack(cells(**fields), dataset)
    x = torch.randn(1, 2, 3, math.prod(given), dtype=torch.float64)
    kind, layer = name.split(".")
    made = getattr(stack.network, kind)[int(layer) - 1]
    with torch.no_grad():
        out = written_out(stack.params, name, x.view(6, *given), plan).view(1, 2, 3, -1)
        if name == "generative.1":
            expected = out + stack.params["generative.1.bias"][0]
            torch.testing.assert_close(made.mean(stack.params, x), expected, rtol=1e-11, atol=1e-11)
            averaged = made.mean(stack.params, x, average=True)
            torch.testing.assert_close(averaged, expected.mean(1, keepdim=True), rtol=1e-11, atol=1e-11)
            return
        mean, raw = out.chunk(2, -1)  # the head's maps: those of the mean first
        deviation = F.softplus(raw + math.log(math.e - 1)) + FLOOR
        for average in (False, True):
            found = made.gaussian(stack.params, x, average)
            for a, b in zip(found, (mean, deviation), strict=True):
                torch.testing.assert_close(a, b.mean(1, keepdim=True) if average else b, rtol=1e-10, atol=1e-10)


def test_training_starts_at_the_mean_image_and_near_the_identity(digits):
    """The bias of every pixel is the logit of its mean; of a block little is added to what goes through it."""
    stack = Stack(cells(), digits)
    logit = np.log(digits.mean_pixel) - np.log1p(-digits.mean_pixel)
    torch.testing.assert_close(stack.params["generative.1.bias"][0], torch.tensor(logit, dtype=torch.float32))
    made = ResidualMap("m", MapShape(16, 8, 8), MapShape(16, 8, 8), 64, 1, 1, 0, "generative")
    generator = torch.Generator().manual_seed(0)
    first = {
        each.name: each.first(lambda shape, **_: torch.rand(1, *shape, generator=generator))
        for each in made.parameters()
    }
    deviations = {
        kind: float(first[f"m.{number}.weight"].std() * first[f"m.{number}.weight"][0, 0].numel() ** 0.5)
        for number, kind in enumerate(("first", "inner", "last", "head"))
    }
    assert deviations == pytest.approx({"first": 1.0, "inner": 1.5, "last": 0.1, "head": 0.5}, rel=0.03)


# Counts of prototypes and of the paper's sizes, by hand.
@pytest.mark.parametrize(
    ("data", "latents", "maps", "blocks", "parameters"),
    [
        ("digits", "4x4x4-4x4x4-4x4x4-4x4x4", 8, 1, 16_433),
        ("digits", "8x4x4-8x4x4-8x4x4-8x4x4", 16, 1, 64_481),
        ("mnist", "4x7x7-4x7x7-4x7x7-4x7x7", 8, 1, 18_321),
        ("mnist", "8x7x7-8x7x7-8x7x7", 16, 1, 53_585),
        ("mnist", "8x7x7-8x7x7-8x7x7-8x7x7", 16, 1, 69_841),
    ],
)
def test_parameters_are_as_counted_by_hand(data, latents, maps, blocks, parameters):
    assert cell_size(
        Cell(data=data, network="resnet", latents=latents, maps=maps, blocks=blocks, seed=0)
    ).parameters == (parameters)


def test_a_block_of_100_maps_has_180200_parameters():
    """And of two latent layers of the paper's network on CIFAR-10 one has 2.2 million more, both ways."""
    options = ResnetOptions(latents="-".join(["8x16x16"] * 4), maps=100, blocks=6)
    image = ImageShape(3, 32, 32)
    up, down = inference_convs(options, image)[1], generative_convs(options, image, 3)[1]
    numbers = [layer.weights + layer.outputs for layer in up]
    assert numbers[1] + numbers[2] == 180_200 and [layer.kind for layer in up[1:3]] == ["inner", "last"]
    assert sum(layer.weights + layer.outputs for layer in up + down) == pytest.approx(2.2e6, rel=0.01)


@pytest.mark.parametrize("maps", [8, 16])
@pytest.mark.parametrize("objective", [{}, {"objective": "ou", "rho": 0.8, "smoothing_samples": 2}])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_cells_have_the_same_bits_in_stacks_of_one_two_and_five(digits, maps, objective, kind):
    """After some steps of Adam, at any place."""
    five = cells(5, maps=maps, latents="3x4x4-2x4x4", precision=kind, **objective)
    together = Stack(five, digits)
    together.train(3)
    for places in ([0], [4], [2, 0], [1, 2, 4]):
        some = Stack([five[place] for place in places], digits)
        some.train(3)
        theirs = together.tensors()
        assert all(torch.equal(tensor, theirs[key][places]) for key, tensor in some.tensors().items()), places


# Smoothing.


def test_smoothing_has_noise_of_its_own_at_every_map_and_position(digits):
    """f(z) = z_a z_b of any two units of a layer, whether of two maps or of two positions: over z and ε the average of
    S = 5 samples at ρ = .8 has mean 0 and variance c₂ = ρ⁴ + (1 − ρ⁴)/S = .52768. With noise shared over positions it
    would have the mean 1 − ρ²."""
    stack = Stack(cells(objective="ou", rho=0.8, smoothing_samples=5, batch_size=40), digits)
    moments, shared = [], []
    for step in range(600):
        smoothing = stack.objective.smoothing(stack.draws, step, stack.network.latents, 40)
        z = stack.draws.normal(Purpose.LATENT, (1, 40, 12), step, 2)
        zeros, ones = torch.zeros_like(z), torch.ones_like(z)
        moved = smoothing.samples(2, z, zeros, ones).view(5, 40, 3, 4)
        alike = perturb(z, zeros, ones, smoothing.rho, smoothing.noise[0][..., :1].expand(-1, -1, -1, 12))
        moments.append([(moved[..., 0, 0] * moved[..., 0, 1]).mean(0), (moved[..., 0, 2] * moved[..., 1, 2]).mean(0)])
        shared.append((alike[0, ..., 0] * alike[0, ..., 1]).mean(0))
    for pair in range(2):
        f = torch.cat([each[pair] for each in moments])  # 24,000 samples
        assert abs(float(f.mean())) < 4 * float(f.std()) / len(f) ** 0.5
        assert float(f.var()) == pytest.approx(0.52768, rel=0.05)
    assert float(torch.cat(shared).mean()) == pytest.approx(0.36, abs=0.03)


def test_a_smoothed_map_is_the_average_over_the_samples(digits):
    """Mean and deviation each, of p(z₁|z₂'), at the very samples; p(x|z₁) is as it is."""
    (cell,) = cells(objective="ou", rho=0.5, smoothing_samples=3, precision="float64")
    stack = Stack([cell], digits)
    x = stack.minibatch(0)
    noise = [
        stack.draws.normal(Purpose.LATENT, (1, 6, units), 0, i) for i, units in enumerate(stack.network.latents, 1)
    ]
    by = stack.objective.smoothing(stack.draws, 0, stack.network.latents, 6)
    with torch.no_grad():
        first, second = stack.network.terms(stack.params, x, noise, by).layers
        plain = stack.network.terms(stack.params, x, noise)
        moved = perturb(second.z, second.q_mean, second.q_deviation, by.rho, by.noise[0])
        mean, deviation = (
            each.mean(1, keepdim=True) for each in stack.network.generative[1].gaussian(stack.params, moved)
        )
    torch.testing.assert_close(first.p_mean, mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(first.p_deviation, deviation, rtol=1e-10, atol=1e-10)
    assert (first.p_mean - plain.layers[0].p_mean).abs().max() > 1e-3
    assert torch.equal(stack.network.terms(stack.params, x, noise, by).log_px, plain.log_px)


def test_rho_one_is_the_plain_vae_to_rounding(digits):
    """Objective and gradient, whatever S."""
    plain, smooth = (
        Stack(cells(precision="float64", **more), digits) for more in ({}, {"objective": "ou", "rho": 0.9})
    )
    (cell,) = cells(precision="float64", objective="ou", rho=1.0)
    smooth.objective = OrnsteinUhlenbeck([cell], smooth.block.values)
    for stack in (plain, smooth):
        stack.train(1)
    assert smooth.mean_objective()[0] == pytest.approx(plain.mean_objective()[0], rel=1e-12)
    torch.testing.assert_close(smooth.optimizer.first, plain.optimizer.first, rtol=1e-9, atol=1e-12)


# What does not fit is refused before training.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"latents": "40-40"},
         "latents: layers should be maps x height x width joined by '-', as in 8x7x7-8x7x7; got '40-40'"),
        ({"latents": "8x3x3"},
         "latents: 8x3x3 does not fit over the image of 8x8: its height and width should be those, halved any number "
         "of times, which leaves 8x8 or 4x4 or 2x2 or 1x1"),
        ({"latents": "8x16x16"}, "latents: 8x16x16 does not fit over the image of 8x8"),
        ({"latents": "8x4x2"}, "latents: 8x4x2 does not fit"),
        ({"latents": "8x2x2-8x4x4"}, "latents: 8x4x4 does not fit over the layer below of 2x2"),
        ({"data": "mnist", "latents": "8x4x4"}, "which leaves 28x28 or 14x14 or 7x7"),
        ({"posterior": "planar"}, "posterior should be gaussian with network resnet, got planar"),
        ({"hidden": "200-200"}, None),
        ({"activation": "relu"}, "activation is an option of network"),
        ({"network": "mlp"}, "latents: sizes are whole numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(fields, said):
    if said is None:
        assert cells(**fields)
        return
    more = SMALL | {"seed": 0} | fields
    if fields.get("network") == "mlp":
        del more["maps"]
    with pytest.raises(CellError) as refused:
        Cell(**more)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_data_set_of_other_images_than_its_name_says_is_refused(digits):
    """Where the registry does not know the shape, the network does."""
    with pytest.raises(ValueError, match="8x5x5 does not fit over the image of 8x8"):
        Stack(cells(data="elsewhere", latents="8x5x5"), digits)


@pytest.mark.parametrize(
    ("fine", "coarse", "times"),
    [((8, 8), (8, 8), 0), ((28, 28), (7, 7), 2), ((12, 20), (3, 5), 2), ((7, 7), (4, 4), None), ((4, 4), (8, 8), None),
     ((6, 6), (2, 2), None), ((8, 8), (4, 2), None)],
)  # fmt: skip
def test_halvings(fine, coarse, times):
    assert halvings(fine, coarse) == times


# What a step keeps.


def saved_bytes(stack: Stack) -> int:
    """Of distinct storages that autograd keeps of a step, besides the parameters, per cell."""
    own, kept = {each.untyped_storage().data_ptr() for each in stack.params.values()}, {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no other takes its place
        return tensor

    x, latents = stack.minibatch(0), stack.network.latents
    noise = [stack.draws.normal(Purpose.LATENT, (1, stack.batch_size, n), 0, i) for i, n in enumerate(latents, 1)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        smoothing = stack.objective.smoothing(stack.draws, 0, latents, stack.batch_size)
        stack.objective.value(stack.network.terms(stack.params, x, noise, smoothing), 0)
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own) // len(stack.cells)


@pytest.mark.parametrize("fields", [{}, {"latents": "4x8x8-2x4x4-2x4x4", "maps": 8, "blocks": 2}])
def test_one_more_sample_of_smoothing_keeps_one_more_copy_of_the_smoothed_maps(digits, fields):
    """Bytes are linear in S, and what planning thinks: the growth exactly, the whole to a few percent."""
    of = {s: cells(2, objective="ou", rho=0.9, smoothing_samples=s, batch_size=16, **fields) for s in (2, 3, 6)}
    kept = {s: saved_bytes(Stack(each, digits)) for s, each in of.items()}
    planned = {s: 4 * saved_numbers(each[0], ImageShape(1, 8, 8)) for s, each in of.items()}
    assert kept[3] - kept[2] == planned[3] - planned[2] == (kept[6] - kept[3]) / 3
    assert planned[6] == pytest.approx(kept[6], rel=0.06)
    plain = cells(2, batch_size=16, **fields)
    assert 4 * saved_numbers(plain[0], ImageShape(1, 8, 8)) == pytest.approx(saved_bytes(Stack(plain, digits)), rel=0.1)


@pytest.mark.parametrize("native", [False, True])
def test_in_bfloat16_maps_stay_so_between_convolutions(digits, native, monkeypatch):
    """Where it is computed as such: what a step keeps takes half the bytes, and gradients are near those of float32."""
    monkeypatch.setattr(convolution, "multiplies_bfloat16", lambda device: native)
    kept, gradients = {}, {}
    for kind in ("float32", "bfloat16"):
        stack = Stack(cells(2, precision=kind, maps=16, latents="4x8x8-2x4x4", batch_size=16), digits)
        with precision(kind):
            kept[kind] = saved_bytes(stack)
        stack.train(1)
        gradients[kind] = stack.optimizer.first.clone()
    assert (kept["bfloat16"] < 0.6 * kept["float32"]) == native
    assert all(each.dtype is torch.float32 for each in gradients.values())
    error = (gradients["bfloat16"] - gradients["float32"]).norm() / gradients["float32"].norm()
    assert 1e-4 < error < 0.03


def test_a_map_is_active_by_its_variance_averaged_over_positions(digits):
    """One strong position of four is enough, a weak one is not; units count as everywhere. An MLP has no maps."""
    stack = Stack(cells(latents="3x2x2-2x1x1"), digits)
    sizes = Sizes(1, stack.network.latents, (ImageBlock(0, 50, 4, 4, False),), torch.device("cpu"))
    activities, source = Activities(sizes, 0.01), torch.Generator().manual_seed(0)
    scale = torch.zeros(3, 4)
    scale[0, 1], scale[1, 2] = 0.5, 0.15  # variances .25 and .0225, over four positions .0625 and .0056
    mean = scale.view(1, 1, 1, 12) * torch.randn(1, 1, 50, 12, generator=source)
    top = torch.zeros(1, 1, 50, 2)
    for chain in range(4):
        layers = tuple(Layer(each, each, each[..., 0], each[..., 0], positions=n) for each, n in ((mean, 4), (top, 1)))
        activities.add(ChainBlock(Terms(top[..., 0], layers), sizes.blocks[0], range(chain, chain + 1)))
    activities.end_of_images(sizes.blocks[0])
    row = activities.row(0)
    assert row["active_units"] == [2, 0] and row["active_maps"] == [1, 0]
    evaluated = evaluate(stack, Evaluation(importance_samples=4))[0]
    assert len(evaluated["active_maps"]) == 2
    mlp = Stack([Cell(data="digits", latents="3-2", seed=0, hidden="5")], digits)
    assert "active_maps" not in evaluate(mlp, Evaluation(importance_samples=4))[0]  # null in its row


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_evaluation_has_the_same_bits_however_many_images_and_cells_are_taken_at_a_time(
    digits, kind, count, monkeypatch
):
    """Images: as many as `_AT_A_TIME` allows, one at least. Cells: two, or each alone, computed as two."""
    stack = Stack(cells(count, precision=kind, maps=8), digits)
    stack.train(2)
    settings = Evaluation(importance_samples=11, images=10)
    expected = evaluate(stack, settings)
    for images, twofold in ((1, True), (1 << 13, True), (1 << 30, False)):
        monkeypatch.setattr(residual, "_AT_A_TIME", images)
        monkeypatch.setattr(ResNet, "twofold", twofold)
        found = evaluate(stack, settings)
        for mine, row in zip(found, expected, strict=True):
            assert repr(mine | {"evaluation_s": 0}) == repr(row | {"evaluation_s": 0})
