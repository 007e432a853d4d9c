"""The PixelCNN: what each pixel sees, that p(x) is one, that samples are from it, and torch's own layers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cell import Cell, CellError, cell_id, cell_size
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.draws.draws import Purpose
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.kernels import plain
from models.kernels.convolution import convolve, stacked
from models.kernels.gated_maps import gated_maps
from models.kernels.twice import twice_differentiable
from models.networks import pixel_decoder
from models.networks.pixelcnn_spec import PixelcnnOptions
from models.stack.stack import Stack
from models.trained import TrainedModel

SMALL = {"data": "digits", "hidden": "9", "maps": 4, "decoder_layers": 3, "batch_size": 10, "precision": "float64"}
VARIANTS = {
    "plain": {"network": "pixelcnn", "latents": "2"},
    "skips": {"network": "pixelcnn", "latents": "2", "skip": "all", "latent_maps": 2, "encoder": "mlp"},
    "alone": {"network": "pixelcnn_alone"},
}


def cell(seed: int = 0, **more: object) -> Cell:
    return Cell.of(SMALL | VARIANTS["plain"] | {"seed": seed} | more)


def cell_of(variant: str, seed: int = 0, **more: object) -> Cell:
    return Cell.of(SMALL | VARIANTS[variant] | {"seed": seed} | more)


def images_of(height: int, width: int, rows: np.ndarray | None = None) -> Dataset:
    """Binary images, all splits the same; of these rows, or at random."""
    if rows is None:
        rows = np.random.default_rng(0).integers(0, 2, (30, height * width))
    rows = rows.astype(np.uint8)
    return Dataset("bits", rows, rows, rows, 1, ImageShape(1, height, width))


def every_image(height: int, width: int) -> np.ndarray:
    return np.array([*itertools.product((0, 1), repeat=height * width)])


def louder(stack: Stack, by: float = 3.0) -> Stack:
    """With larger weights, so that everything matters."""
    stack.block.values.mul_(by)
    return stack


def logits_of(stack: Stack, x: Tensor, z: Tensor | None = None) -> Tensor:
    """Of the stack's cells, of images (rows, H, W), at one z for all: (rows, C, H, W)."""
    decoder = stack.network.decoder
    cells = len(stack.cells)
    maps = x[:, None].expand(-1, cells, -1, -1)
    if z is None:
        z = torch.ones(cells, 1, len(x), sum(stack.network.latents), dtype=x.dtype)
    of_z = decoder.maps_of(stack.params, z)
    return decoder(stack.params, maps, of_z)


def seen_by(stack: Stack, row: int, column: int) -> tuple[int, int]:
    """How many earlier pixels move the logit of one pixel, and how many of its own and later ones, by gradients."""
    shape = stack.network.decoder.shape
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(3, shape.height, shape.width, generator=draws, dtype=stack.dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(logits_of(stack, x)[:, 0, row, column].sum(), x)
    moved = (gradient != 0).any(0).flatten()
    place = row * shape.width + column
    return int(moved[:place].sum()), int(moved[place:].sum())


# Of 93 pixels before (8, 5) in 11 × 11: the full set is all 93.
SEEN = {"3-3-3": 31, "5-5-5": 82, "7-7-7": 93, "7-5-3": 82, "3-3-3-3-3-3-3-3-3": 93}


@pytest.mark.parametrize("kernel", SEEN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pixel_sees_what_it_should_and_nothing_else(kernel, variant):
    """Gradients of its logit: exactly 0 to its own and later pixels, not 0 to as many earlier ones as a gated layer
    without blind spot reaches (van den Oord et al. 2016)."""
    layers = len(kernel.split("-"))
    stack = Stack([cell_of(variant, kernel=kernel, decoder_layers=layers)], images_of(11, 11))
    assert seen_by(stack, 8, 5) == (SEEN[kernel], 0)


def test_masks_that_are_wrong_are_told(monkeypatch):
    """A pixel that sees itself in the first layer, rows that are not moved down, and rows moved down too often."""
    stack = Stack([cell(kernel="3")], images_of(11, 11))
    assert seen_by(stack, 8, 5) == (31, 0)
    with monkeypatch.context() as wrong:
        wrong.setattr(pixel_decoder, "_mask", lambda weight: torch.ones_like(weight[0, 0]))
        assert seen_by(stack, 8, 5)[1] == 1
    with monkeypatch.context() as wrong:
        wrong.setattr(pixel_decoder, "one_row_down", lambda a: a)
        assert seen_by(stack, 8, 5)[1] > 1
    deep = Stack([cell(decoder_layers=9)], images_of(11, 11))
    assert seen_by(deep, 8, 5) == (93, 0)
    for layer in range(2, 10):  # rows that are moved down in every layer, as in published code: a blind spot
        with torch.no_grad():
            deep.params[f"generative.{layer}.vertical.weight"][..., -1, :] = 0.0
    assert seen_by(deep, 8, 5) == (83, 0)


@pytest.mark.parametrize(("height", "width"), [(2, 3), (3, 3)])
@pytest.mark.parametrize("kernel", ["3", "7-5-3"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_probabilities_of_all_images_sum_to_one(height, width, kernel, variant):
    """Also with kernels larger than the image."""
    stack = louder(Stack([cell_of(variant, kernel=kernel)], images_of(height, width)))
    assert total(stack) == pytest.approx(1.0, abs=1e-12)


def total(stack: Stack) -> float:
    """Σ p(x|z) over all images, at one z."""
    shape = stack.network.decoder.shape
    x = torch.tensor(every_image(shape.height, shape.width)).to(stack.dtype)
    with torch.no_grad():
        logits = logits_of(stack, x.view(-1, shape.height, shape.width)).flatten(1)
    return float((x * logits - F.softplus(logits)).sum(-1).exp().sum())


def test_with_wrong_masks_they_do_not(monkeypatch):
    """So that the sum is a test of them."""
    stack = louder(Stack([cell()], images_of(3, 3)))
    for name, wrong in (("_mask", lambda weight: torch.ones_like(weight[0, 0])), ("one_row_down", lambda a: a)):
        with monkeypatch.context() as patched:
            patched.setattr(pixel_decoder, name, wrong)
            assert abs(total(stack) - 1.0) > 0.01


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_logits_do_not_change_when_later_pixels_are_filled_in(precision, count):
    """To the last bit, at every pixel, whatever stands there; the next ones do."""
    stack = Stack([cell(seed, maps=16, precision=precision) for seed in range(count)], images_of(8, 8))
    draws = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (6, 8, 8), generator=draws).to(stack.dtype)
    with torch.no_grad():
        whole = logits_of(stack, x).flatten(2)
        for place in range(64):
            empty = x.flatten(1).clone()
            empty[:, place:] = 0.0
            assert torch.equal(logits_of(stack, empty.view_as(x)).flatten(2)[..., : place + 1], whole[..., : place + 1])
        other = x.clone()
        other[:, 2, 3] = 1.0 - x[:, 2, 3]
        moved = (logits_of(stack, other).flatten(2) != whole).all(0).all(0)
    assert not moved[:20].any() and moved[20] and moved[26:29].all()


def written_out(params: dict[str, Tensor], x: Tensor, z: Tensor, options: Cell, shape: ImageShape) -> Tensor:
    """Logits of one cell by torch's own convolutions with square kernels, masked: x (rows, 1, H, W), z (rows, N)."""

    def laid_out(layer: int) -> list[Tensor]:
        if f"generative.{layer}.z.mean.weight" not in params:
            return []
        flat = z @ params[f"generative.{layer}.z.mean.weight"] + params[f"generative.{layer}.z.mean.bias"]
        return [flat.view(len(z), -1, shape.height, shape.width)]

    def square(name: str, own: bool = False) -> Tensor:
        part = params[f"{name}.weight"].clone()
        if own:
            part[:, 0, :, -1] = 0.0
        size = 2 * max(part.shape[2], part.shape[3]) - 1 if part.shape[2] == 1 else part.shape[3]
        whole = part.new_zeros(*part.shape[:2], size, size)
        middle = size // 2
        if part.shape[2] == 1:
            whole[:, :, middle, : middle + 1] = part[:, :, 0]
        else:
            whole[:, :, : middle + 1] = part
        return whole

    v = h = x
    layers = options.decoder_layers
    for layer in range(1, layers + 1):
        name, more = f"generative.{layer}", laid_out(layer)
        vertical, horizontal = square(f"{name}.vertical"), square(f"{name}.horizontal", own=layer == 1)
        pad = vertical.shape[-1] // 2
        a = F.conv2d(torch.cat([v, *more], 1), vertical, params[f"{name}.vertical.bias"], padding=pad)
        above = torch.cat([torch.zeros_like(a[:, :, :1]), a[:, :, :-1]], 2)
        c = F.conv2d(torch.cat([h, *more], 1), horizontal, params[f"{name}.horizontal.bias"], padding=pad)
        c = c + F.conv2d(above, params[f"{name}.link.weight"])
        tanh, gate = c.chunk(2, 1)
        r = F.conv2d(tanh.tanh() * gate.sigmoid(), params[f"{name}.residual.weight"], params[f"{name}.residual.bias"])
        h = r + h if layer > 1 else r
        tanh, gate = a.chunk(2, 1)
        v = tanh.tanh() * gate.sigmoid()
    last = F.conv2d(torch.cat([F.elu(h), *laid_out(layers + 1)], 1), params[f"generative.{layers + 1}.last.weight"])
    return last + params["generative.bias"].view(1, 1, shape.height, shape.width)


@pytest.mark.parametrize("variant", ["plain", "skips"])
@pytest.mark.parametrize("kernel", ["3", "7-5-3"])
def test_a_decoder_is_torchs_masked_convolutions(variant, kernel):
    """Layer by layer, with the maps of z where each form has them, of two cells side by side."""
    data = images_of(5, 7)
    stack = louder(Stack([cell_of(variant, seed, kernel=kernel) for seed in range(2)], data), 1.5)
    x = torch.tensor(data.train[:6]).double().view(-1, 5, 7)
    z = torch.randn(2, 1, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found = logits_of(stack, x, z)
        for place in range(2):
            params = {name: param[place] for name, param in stack.params.items()}
            expected = written_out(params, x[:, None], z[place, 0], stack.cells[0], ImageShape(1, 5, 7))
            torch.testing.assert_close(found[:, place], expected[:, 0], rtol=1e-10, atol=1e-10)


def test_a_masked_weight_has_no_gradient_and_stays_as_it_began():
    """Of its neighbours all have one."""
    stack = Stack([cell(seed) for seed in range(2)], images_of(8, 8))
    name = "generative.1.horizontal.weight"
    first = stack.params[name].detach().clone()
    stack.train(5)
    moved = stack.params[name].detach() != first
    assert not moved[:, :, 0, :, -1].any() and moved[:, :, 0, :, :-1].all() and moved[:, :, 1:].all()
    gradient = stack.block.views(stack.optimizer.moments()["adam.m"])[name]
    assert (gradient[:, :, 0, :, -1] == 0).all()


def test_training_starts_at_the_mean_image(images):
    """The bias of every pixel is the logit of its mean."""
    stack = Stack([cell()], images)
    logit = np.log(images.mean_pixel) - np.log1p(-images.mean_pixel)
    torch.testing.assert_close(stack.params["generative.bias"][0].detach(), torch.tensor(logit))


# Sampling.


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_is_drawn_pixel_by_pixel(variant):
    """What is put out are the means given the pixels drawn before, in a pass over the whole image as well."""
    stack = louder(Stack([cell_of(variant, seed, decoder_layers=2) for seed in range(2)], images_of(8, 8)), 1.5)
    draws = torch.Generator().manual_seed(0)
    uniform = torch.rand(2, 1, 5, 64, generator=draws, dtype=torch.float64)
    z = torch.randn(2, 1, 5, sum(stack.network.latents), generator=draws, dtype=torch.float64)
    with torch.no_grad():
        mean = stack.network.image(stack.params, [], z, uniform=uniform)
        drawn = (uniform < mean).double()
        again = stack.network.decoder(
            stack.params, stacked(drawn, 8, 8), stack.network.decoder.maps_of(stack.params, z)
        )
    torch.testing.assert_close(stacked(mean, 8, 8), again.sigmoid(), rtol=1e-10, atol=1e-10)
    assert (drawn == 0).any() and (drawn == 1).any()


@pytest.mark.parametrize("variant", ["plain", "alone"])
def test_samples_have_the_probabilities_of_the_model(variant, monkeypatch):
    """Of all images of 2×3 pixels, over 5,000 samples; means are those of the pixels before, as drawn."""
    rows = every_image(2, 3)
    data = images_of(2, 3, rows)
    one = cell_of(variant)
    stack = louder(Stack([one], data), 1.5)
    params = {name: param[0].detach().numpy() for name, param in stack.params.items()}
    monkeypatch.setattr("models.cell.cell.Cell.data_shape", property(lambda self: data.shape))
    model = TrainedModel(one, params, 0)
    drawn, mean = model.sample(5_000, pixels=True), model.sample(5_000)
    share = np.bincount((drawn @ 2 ** np.arange(5, -1, -1)).astype(int), minlength=64) / 5_000
    z = torch.randn(1, 1_000, 1, sum(stack.network.latents), generator=torch.Generator().manual_seed(1)).double()
    z = z if z.shape[-1] else z[:, :1]
    x = torch.tensor(rows).double()[None, None]
    with torch.no_grad():
        if stack.network.latents:
            log_px = stack.network._log_px(stack.params, x, z.expand(-1, -1, 64, -1))
        else:
            log_px = stack.network.terms(stack.params, x, []).log_px
    p = log_px.exp().mean(1)[0].numpy()
    assert p.sum() == pytest.approx(1.0) and p.max() > 0.04
    np.testing.assert_array_less(np.abs(share - p), 5 * np.sqrt(p * (1 - p) / 5_000) + 0.05 * p)
    assert set(np.unique(drawn)) == {0.0, 1.0} and abs(mean.mean() - drawn.mean()) < 0.01
    assert np.array_equal(model.sample(5), model.sample(5)) and not np.array_equal(mean[:5], model.sample(5, seed=1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_are_drawn(variant):
    """Also where there is no layer to go through."""
    data = images_of(8, 8)
    stack = Stack([cell_of(variant, seed, decoder_layers=1) for seed in range(2)], data)
    drawn = draw_pictures(stack, Evaluation(), 3)
    (alone,) = draw_pictures(Stack([stack.cells[1]], data), Evaluation(), 3)
    kinds = ["images", "samples"] if variant == "alone" else ["images", "from z1", "samples"]
    assert [*drawn[1]] == [*alone] == kinds and all(np.array_equal(drawn[1][kind], alone[kind]) for kind in kinds)
    assert drawn[0]["samples"].shape == (3, 8, 8) and len(np.unique(drawn[0]["samples"])) > 2
    assert (Purpose.PICTURE_PIXELS.value, Purpose.DECODE_PIXELS.value) == (110, 111)


def test_a_trained_model_encodes_decodes_and_has_terms():
    """Decoded twice from one z, the same; from another seed, others."""
    data = images_of(8, 8)
    for variant in VARIANTS:
        one = cell_of(variant, decoder_layers=1)
        stack = Stack([one], data)
        model = TrainedModel(one, {name: param[0].detach().numpy() for name, param in stack.params.items()}, 0)
        terms = model.terms(data.test[:4].astype(float))
        assert terms.elbo.shape == (1, 4)
        if variant == "alone":
            with pytest.raises(ValueError, match="layer should be in"):
                model.decode(np.zeros((3, 2)))
            continue
        assert model.encode(data.test[:4].astype(float)).z[0].shape == (1, 4, 2)
        first, again, other = (model.decode(np.zeros((3, 2)), seed=seed) for seed in (0, 0, 1))
        assert first.shape == (3, 64) and np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_pixelcnn_without_numbers_to_draw_by_says_so():
    stack = Stack([cell()], images_of(8, 8))
    with pytest.raises(ValueError, match="pixel by pixel"):
        stack.network.image(stack.params, [torch.zeros(1, 1, 1, 2, dtype=torch.float64)])


# Likelihoods.


def test_alone_its_likelihood_is_exact():
    """ELBO and importance-weighted bound are log p(x), the same for any number of chains; there is no KL."""
    data = images_of(3, 3)
    stack = louder(Stack([cell_of("alone")], data), 1.5)
    rows = [evaluate(stack, Evaluation(importance_samples=k), quick=True)[0] for k in (1, 7)]
    x = torch.tensor(data.test).double().view(-1, 3, 3)
    with torch.no_grad():
        logits = logits_of(stack, x)[:, 0].flatten(1)
    exact = float((x.flatten(1) * logits - F.softplus(logits)).sum(-1).mean())
    assert [row[name] for row in rows for name in ("elbo", "iw_bound")] == pytest.approx([exact] * 4, abs=1e-9)
    assert rows[0]["kl_total"] == 0 and rows[0]["kl_per_layer"] == []


def test_a_scalar_z_is_integrated():
    """On a grid: log p(x) lies above the importance-weighted bound, which comes within its error of it."""
    data = images_of(3, 3)
    stack = Stack([cell(latents="1")], data)
    stack.train(40)
    row = evaluate(stack, Evaluation(importance_samples=100), quick=True)[0]
    z = torch.linspace(-8, 8, 201, dtype=torch.float64)
    x = torch.tensor(data.test).double()[None, None]
    with torch.no_grad():
        log_px = stack.network._log_px(stack.params, x, z.view(1, -1, 1, 1).expand(-1, -1, x.shape[2], 1))
    prior = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    exact = float(((log_px + prior.view(1, -1, 1)).logsumexp(1) + math.log(0.08)).mean())
    assert row["elbo"] < row["iw_bound"] < exact + 3 * row["iw_se_mc"]
    assert row["iw_bound"] > exact - 0.02 - 3 * row["iw_se_mc"]


def test_images_taken_some_at_a_time_have_the_same_terms(monkeypatch):
    """As without a gradient large images are."""
    stack = Stack([cell()], images_of(8, 8))
    x, z = torch.rand(1, 1, 7, 64).double().round(), torch.randn(1, 3, 7, 2).double()
    with torch.no_grad():
        whole = stack.network._log_px(stack.params, x, z)
        monkeypatch.setattr("models.networks.pixelcnn._ACTIVATIONS", 3 * 2 * stack.network.decoder.widest)
        some = stack.network._log_px(stack.params, x, z)
    torch.testing.assert_close(some, whole, rtol=1e-12, atol=1e-12)


# Kernels.


def test_a_gate_has_the_gradients_of_its_plain_twin():
    """First and second, of two cells."""
    h = torch.randn(3, 12, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gated_maps(h, 2), plain.gated_maps(h, 2))
    assert torch.autograd.gradcheck(lambda each: gated_maps(each, 2), h)
    with twice_differentiable():
        torch.testing.assert_close(gated_maps(h, 2), plain.gated_maps(h, 2))
        assert torch.autograd.gradgradcheck(lambda each: gated_maps(each, 2), h, fast_mode=True)


@pytest.mark.parametrize("kernel", [(2, 3), (1, 2), (4, 7), (1, 1)])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 8), (5, 3), (16, 32), (17, 1)])
def test_kernels_of_any_height_and_width(kernel, inputs, outputs):
    """As torch's own, with first gradients and, where asked, second ones; in float32 a cell has the same bits in stacks
    of one, two, three and five."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5 * inputs, 7, 9, generator=draws)
    weight, bias = torch.randn(5, outputs, inputs, *kernel, generator=draws), torch.randn(5, outputs, generator=draws)
    found = []
    for count in (5, 1, 2, 3):
        given = [x[:, : count * inputs], weight[:count], bias[:count]]
        given = [each.contiguous().requires_grad_() for each in given]
        out = convolve(*given, around=False)
        assert out.shape == (4, count * outputs, 8 - kernel[0], 10 - kernel[1])
        gradients = torch.autograd.grad(out.sin().sum(), given)
        found.append((out[:, :outputs], gradients[0][:, :inputs], gradients[1][0], gradients[2][0]))
    assert all(torch.equal(a, b) for one in found[1:] for a, b in zip(one, found[0], strict=True))
    if inputs == 5:
        own = [each.double().requires_grad_() for each in (x[:, :10, :4], weight[:2], bias[:2])]
        torch.testing.assert_close(convolve(*own, around=False), plain.convolve(*own, around=False))
        with twice_differentiable():
            assert torch.autograd.gradgradcheck(lambda *some: convolve(*some, around=False), own, fast_mode=True)


# Options.


@pytest.mark.parametrize(
    "more",
    [
        {"procedure": "aggressive", "inner_updates": 2},
        {"procedure": "semi_amortized", "svi_steps": 2},
        {"free_bits": 0.5, "kl_weight": 0.7, "kl_warmup_steps": 3},
        {"objective": "iwae", "chains": 3, "gradient_estimator": "dreg"},
        {"posterior": "planar"},
        {"prior": "vamp", "pseudo_inputs": 5},
    ],
)
def test_it_trains_with_every_procedure_and_objective(more):
    """And a cell has the same bits alone as in a stack."""
    data = images_of(8, 8)
    cells = [cell(seed, precision="float32", skip="all", **more) for seed in range(2)]
    together, alone = Stack(cells, data), Stack(cells[1:], data)
    first = together.block.values.clone()
    for stack in (together, alone):
        stack.train(4)
        assert stack.active.all() and torch.isfinite(stack.block.values).all()
    assert torch.equal(together.block.values[1:], alone.block.values) and not torch.equal(first, together.block.values)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_planning_says_of_memory_is_near_what_a_step_keeps(variant):
    """Of two cells: of distinct storages that autograd holds beside the parameters."""
    cells = [cell_of(variant, seed, maps=16, precision="float32", batch_size=20) for seed in range(2)]
    stack = Stack(cells, images_of(8, 8))
    own, kept = {each.untyped_storage().data_ptr() for each in stack.params.values()}, {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = stack.minibatch(0)
    noise = [torch.randn(2, 1, 20, units) for units in stack.network.latents]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        stack.objective.value(stack.network.terms(stack.params, x, noise), 0)
    held = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own) / 2
    size = cell_size(cells[0])
    planned = size.memory_bytes - 16 * size.parameters
    assert held < planned < 1.6 * held


@pytest.mark.parametrize(
    ("height", "width", "encoded"), [(28, 28, (16, 7, 7)), (8, 8, (16, 4, 4)), (5, 7, (16, 5, 7)), (32, 32, (16, 4, 4))]
)
def test_the_encoder_halves_as_long_as_it_can(height, width, encoded):
    """And its perceptron is given the maps that are left."""
    options = PixelcnnOptions("8")
    assert options.encoded(ImageShape(1, height, width)) == encoded
    assert [each.kind for each in options.encoder_convs(ImageShape(1, height, width))][-2:] == ["inner", "last"]
    assert PixelcnnOptions("8", encoder="mlp").encoder_convs(ImageShape(1, height, width)) == []


def test_what_makes_no_difference_makes_no_other_cell():
    """Sizes of kernels that are alike, and blocks where no convolution encodes."""
    assert cell_id(cell(kernel="3-3-3")) == cell_id(cell(kernel=3))
    assert cell_id(cell(encoder="mlp", blocks=3)) == cell_id(cell(encoder="mlp"))
    assert cell_id(cell(blocks=3)) != cell_id(cell())
    assert cell(kernel="5").architecture == "pixelcnn 2 (3 layers of 4 maps, 5×5; resnet 9)"
    assert cell_of("skips", kernel="7-5-3").architecture == (
        "pixelcnn 2 (3 layers of 4 maps, 7-5-3, z in 2 maps; mlp 9) skips"
    )
    assert cell_of("alone").architecture == "pixelcnn_alone (3 layers of 4 maps, 3×3)"


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        (
            {"likelihood": "gaussian"},
            "likelihood",
            "should be bernoulli with pixelcnn, got gaussian: each pixel is drawn",
        ),
        ({"data": "cifar10"}, "network", "a PixelCNN is for images of one channel, got 3"),
        ({"data": "cifar10", "likelihood": "logistic"}, "likelihood", "should be bernoulli"),
        ({"objective": "ou", "rho": 0.9}, "objective", "another z₁"),
        ({"objective": "ou", "rho": 0.9, "smooth_output": "yes"}, "objective", "another z₁"),
        ({"latents": "3-2"}, "latents", "one layer with pixelcnn, got 3-2"),
        ({"latents": "2x4x4"}, "latents", "latents: sizes are whole numbers"),
        ({"kernel": "4"}, "kernel", "odd sizes from 3 on"),
        ({"kernel": "5-3"}, "kernel", "kernel has 2 sizes for 3 layers, got 5-3"),
        ({"data": "cmudict"}, "network", "cmudict has sequences of symbols, for lstm"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(more, field, said):
    """Before any data are loaded."""
    with pytest.raises(CellError) as refused:
        cell(**more)
    assert set(refused.value.faults) == {field} and said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "field"),
    [({"prior": "vamp"}, "prior"), ({"posterior": "planar"}, "posterior"), ({"objective": "iwae"}, "objective"),
     ({"procedure": "aggressive", "inner_updates": 3}, "procedure"), ({"likelihood": "gaussian"}, "likelihood")],
)  # fmt: skip
def test_alone_it_has_no_parts_of_latent_variables(more, field):
    with pytest.raises(CellError) as refused:
        cell_of("alone", **more)
    assert field in refused.value.faults


def test_images_in_colour_are_refused_where_the_registry_does_not_know_them(colour):
    with pytest.raises(ValueError, match="one channel, got 3"):
        Stack([cell(data="elsewhere")], colour)
