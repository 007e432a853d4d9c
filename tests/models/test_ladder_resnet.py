"""The convolutional Ladder VAE: the scalar model of `test_ladder.py` with either merge, sizes, bits, what it refuses.

    z₂ ~ N(0, 1),   z₁ | z₂ ~ N(w z₂, τ²),   x | z₁ ~ N(a z₁, γ²);      a, w, τ, γ, x = 1.2, .9, .6, .5, 1.3

on grids of one position: a large bias before every ELU, taken off again after it, leaves maps that are linear. Terms
are polynomials of degree 2 in the noise, so that its corners, ±1 with equal weights, integrate them exactly.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.cell import Cell, CellError, cell_size
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.kernels import convolution, plain
from models.kernels.densities import SIGMA_FLOOR
from models.networks.network import Terms
from models.stack.stack import Stack
from models.trained import TrainedModel

A, W, TAU, GAMMA, X = 1.2, 0.9, 0.6, 0.5, 1.3
LOG_P = -1.685678
EXACT = dict(top=(0.725656, 0.397147), first=(X / A, (GAMMA / A) ** 2))  # means and variances of μ̂ and σ̂² by layer
ELSEWHERE = dict(top=(0.5, 0.6), first=(0.9, 0.3))
SHIFT = 100.0  # makes what ELU sees positive
FORMS = [dict(merge=merge, shared_top_down=shared) for merge in ("precision", "features") for shared in ("yes", "no")]
MORE = dict(FORMS[3], skip="all", normalization="weight")  # all layers above in place of the next, both q and p
CORNERS = torch.tensor(list(product((-1.0, 1.0), repeat=2)), dtype=torch.float64)


def cell(**fields: object) -> Cell:
    given = dict(network="ladder_resnet", latents="2x4x4-3x2x2", maps=4, batch_size=10) | fields
    return Cell(data="digits", seed=given.pop("seed", 0), **given)


def grey() -> Dataset:
    images = np.random.default_rng(0).integers(0, 17, (300, 64)).astype(np.uint8)
    return Dataset("grey", images[:200], images[200:240], images[240:], 16, ImageShape(1, 8, 8))


def raw(deviation: float) -> float:
    return math.log(math.expm1(deviation - SIGMA_FLOOR)) - math.log(math.e - 1)


def scalar(top: tuple[float, float], first: tuple[float, float], **form: str) -> Stack:
    """A stack of one cell with the planted model; `first`: of the Gaussian that the image's features say."""
    one = np.zeros((4, 1), np.float32)
    made = cell(
        latents="1x1x1-1x1x1", maps=1, blocks=1, likelihood="gaussian", decoder_variance=GAMMA**2, precision="float64",
        batch_size=4, **form,
    )  # fmt: skip
    stack = Stack([made], Dataset("one", one, one, one, 0, ImageShape(1, 1, 1)))
    p2 = {"weight": (W, 0.0), "bias": (-W * SHIFT, raw(TAU))}
    # Of each convolution the kernel's middle and the bias; those of blocks stay at 0.
    planted: dict[str, dict[str, tuple[float, ...]]] = {
        "generative.2.3": p2,
        "generative.1.3": {"weight": (A,), "bias": (-A * SHIFT,)},
        "inference_head.2.0": {"bias": (top[0], raw(top[1] ** 0.5))},
    }
    for name in ("generative.1.0", "generative.2.0", "inference_down.2.0"):
        planted[name] = {"weight": (1.0,), "bias": (SHIFT,)}
    if form["merge"] == "precision":
        planted["inference_head.1.0"] = {"bias": (first[0], raw(first[1] ** 0.5))}
        planted["inference_down.2.3"] = p2
    else:  # the product of both Gaussians, as a linear map of z₂
        share = TAU**2 / (TAU**2 + first[1])
        planted["inference_merge.1.0"] = {"weight": (0.0, 1.0)}
        mean = share * first[0] - (1 - share) * W * SHIFT
        planted["inference_merge.1.3"] = {
            "weight": ((1 - share) * W, 0.0), "bias": (mean, raw((share * first[1]) ** 0.5))
        }  # fmt: skip
    with torch.no_grad():
        for name, param in stack.params.items():
            param.zero_()
            part, _, kind = name.rpartition(".")
            values = torch.tensor(planted.get(part, {}).get(kind, ()), dtype=torch.float64)
            if len(values):
                middle = param if kind == "bias" else param[..., param.shape[-1] // 2, param.shape[-1] // 2]
                middle.copy_(values.view(middle.shape))
    return stack


def terms_at(stack: Stack, noise: torch.Tensor) -> Terms:
    """The terms of x = 1.3 at noise of (z₁, z₂), (chains, 2)."""
    x = torch.full((1, 1, 1, 1), X, dtype=torch.float64)
    with torch.no_grad():
        return stack.network.terms(stack.params, x, [noise[:, i].view(1, -1, 1, 1) for i in (0, 1)])


def log_weight(terms: Terms) -> torch.Tensor:
    return (terms.log_px + sum(layer.log_p - layer.log_q for layer in terms.layers)).flatten()


@pytest.mark.parametrize("form", FORMS)
def test_the_exact_posterior_gives_log_p(form):
    """Either merge can say q(z₁|x, z₂): the ELBO is log p(x) in its three parts, and importance weights are equal."""
    stack = scalar(**EXACT, **form)
    terms = terms_at(stack, CORNERS)
    assert float(terms.log_px.mean()) == pytest.approx(-0.717617, abs=2e-6)
    assert [float(layer.term().mean()) for layer in terms.layers] == pytest.approx([0.544475, 0.423587], abs=2e-6)
    weights = log_weight(terms_at(stack, torch.randn(50, 2, dtype=torch.float64)))
    assert weights.tolist() == pytest.approx([LOG_P] * 50, abs=5e-6)


@pytest.mark.parametrize("form", FORMS)
def test_elsewhere_the_bound_is_what_it_is(form):
    """Of another q: reconstruction, KL₁ and KL₂, analytic and, in expectation the same, sampled."""
    terms = terms_at(scalar(**ELSEWHERE, **form), CORNERS)
    found = [float(terms.log_px.mean()), *(-float(layer.term().mean()) for layer in terms.layers)]
    assert found == pytest.approx([-1.419550, -0.406006, -0.180413], abs=2e-6)
    sampled = [float((layer.log_q - layer.log_p).mean()) for layer in terms.layers]
    assert sampled == pytest.approx([0.406006, 0.180413], abs=2e-6)


def test_importance_weights_take_sampled_terms():
    """K = 100: the bound lies between the ELBO and log p(x); with analytic KLs in the weights it would be above."""
    noise = torch.randn(1500 * 100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    terms = terms_at(scalar(**ELSEWHERE, **FORMS[0]), noise)

    def bound(log_w: torch.Tensor) -> float:
        return float((log_w.flatten().view(1500, 100).logsumexp(1) - math.log(100)).mean())

    assert bound(log_weight(terms)) == pytest.approx(-1.6875, abs=3e-3)
    assert bound(terms.log_px - sum(layer.term() for layer in terms.layers)) == pytest.approx(-1.3196, abs=7e-3)


@pytest.mark.parametrize("form", [*FORMS, MORE])
def test_the_top_layers_q_depends_on_its_features_alone(form):
    """Whatever q's lower layers, p and the noise are, q(z_L|x) is the same on every chain; the path up moves it. Every
    analytic KL is the mean of the sampled term."""
    stack = Stack([cell(latents="2x4x4-3x2x2-2x2x2", precision="float64", **form)], grey())
    stack.train(5)
    x = torch.rand(1, 1, 1, 64, dtype=torch.float64)

    def terms(chains: int = 3) -> Terms:
        noise = [torch.randn(1, chains, 1, units, dtype=torch.float64) for units in stack.network.latents]
        with torch.no_grad():
            return stack.network.terms(stack.params, x, noise)

    before = terms().layers[-1].q_mean
    assert before.shape == (1, 1, 1, 8)
    with torch.no_grad():
        for name, param in stack.params.items():
            if not name.startswith(("inference.", "inference_head.3")):
                param.mul_(1.1)
    assert torch.equal(terms().layers[-1].q_mean, before)
    for layer in terms(4000).layers:
        difference = (layer.log_q - layer.log_p - layer.kl.sum(-1)).flatten()
        assert abs(difference.mean()) < 4 * difference.std() / 4000**0.5
    with torch.no_grad():
        stack.params["inference.1.0.bias"].add_(0.5)
    assert not torch.allclose(terms().layers[-1].q_mean, before)


@pytest.mark.parametrize("form", [*FORMS, MORE])
@pytest.mark.parametrize("latents", ["2x4x4-2x4x4-3x1x1", "3x2x2"])
def test_the_size_is_what_torch_counts(form, latents, monkeypatch):
    """Of layers on the same grid and on much coarser ones, of one layer, with several chains and blocks."""
    monkeypatch.setattr(convolution, "convolve", plain.convolve)
    made = cell(latents=latents, blocks=2, chains=3, **form)
    stack = Stack([made], grey())
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(made).flops == counted.get_total_flops()
    assert cell_size(made).parameters == stack.parameters_per_cell


@pytest.mark.parametrize("form", [FORMS[1], FORMS[2], MORE])
def test_a_cell_of_a_stack_has_the_bits_it_has_alone(form):
    """With several chains per image, whose gradients meet in the features of the image."""
    cells = [cell(seed=seed, chains=3, latents="2x4x4-2x4x4-3x2x2", **form) for seed in range(3)]
    together = Stack(cells, grey())
    together.train(2)
    for place, each in enumerate(cells):
        alone = Stack([each], grey())
        alone.train(2)
        assert all(torch.equal(t[0], together.tensors()[name][place]) for name, t in alone.tensors().items())


def test_what_it_does_not_go_with_is_refused_with_the_reason():
    for fields, why in (
        (dict(objective="ou", rho=0.8), r"z_i is drawn given z_\{i\+1\} itself.*train it with objective vae"),
        (dict(posterior="planar"), "with network ladder_resnet, got planar, because what q merges"),
        (dict(prior="vamp"), "with network ladder_resnet, got vamp, because a prior made of"),
        (dict(objective="iwae", chains=2, gradient_estimator="dreg"), "because the others detach"),
        (dict(latents="2x3x3"), "does not fit over the image of 8x8"),
    ):
        with pytest.raises(CellError, match=why):
            cell(**fields)
    with pytest.raises(CellError, match="merge is an option of network ladder_resnet"):
        Cell("digits", "2x4x4", 0, network="resnet", merge="features")


def test_one_layer_has_nothing_to_merge():
    """So the options that say how make no other cell of it."""
    one = cell(latents="3x4x4")
    assert all(cell(latents="3x4x4", **form).canonical() == one for form in FORMS)
    assert [cell(**form).architecture for form in FORMS] == [
        f"ladder_resnet 2x4x4-3x2x2 (4 maps, 1 block){more}"
        for more in ("", " unshared", " merging features", " merging features unshared")
    ]


@pytest.mark.parametrize("form", FORMS[1:3])
def test_a_trained_one_is_evaluated_drawn_encoded_and_decoded(form):
    """All that is measured on request, pictures, and the ways up and down of a script."""
    made = cell(learning_rate=0.005, **form)
    stack = Stack([made], grey())
    stack.train(6)
    settings = Evaluation(
        importance_samples=20, images=40, mutual_information=40, gradient_variance=3, hermite_spectrum=10
    )
    (row,) = evaluate(stack, settings)
    assert min(row["kl_per_layer"]) > 0 and len(row["active_units"]) == 2
    assert row["activity_noise"][1] == pytest.approx([0] * 12, abs=1e-12)  # no noise is in the top layer's condition
    assert all(math.isfinite(each) for each in row["mutual_information"])
    assert row["gradient_variance"] is None  # q(z₁|x, z₂) has a mean that x alone does not give
    assert len(row["hermite_mean"]) == 2 and np.isfinite(row["hermite_mean"]).all()
    (pictures,) = draw_pictures(stack, settings, 3)
    assert list(pictures) == ["images", "from z1", "from z2", "samples"] and pictures["from z2"].shape == (3, 8, 8)
    tensors = {name: param[0].detach().numpy() for name, param in stack.params.items()}
    model, x = TrainedModel(made, tensors, 6), np.random.default_rng(1).random((7, 64)).round()
    encoded = model.encode(x, samples=3)
    assert [each.shape for each in encoded.mean] == [(3, 7, 32), (3, 7, 12)]
    assert (encoded.mean[1] == encoded.mean[1][:1]).all() and (encoded.mean[0][0] != encoded.mean[0][1]).any()
    for layer in (1, 2):
        image = model.decode(encoded.z[layer - 1], layer=layer)
        assert image.shape == (3, 7, 64) and (image > 0).all() and (image < 1).all()
    assert model.sample(5).shape == (5, 64) and len(model.terms(x).kl) == 2


@pytest.mark.parametrize("fields", [FORMS[0], FORMS[2], FORMS[2] | {"chains": 3}, {"network": "biva", "chains": 3}])
def test_the_memory_that_planning_says_is_what_a_step_keeps_and_not_twice_that(fields):
    """Beside weights, gradient and moments; counted by the tensors that autograd saves, of a stack of two."""
    cells = [cell(seed=seed, maps=16, latents="8x4x4-8x4x4", batch_size=32, **fields) for seed in range(2)]
    stack, saved = Stack(cells, grey()), {}
    own = {param.untyped_storage().data_ptr() for param in stack.params.values()}
    noise = [torch.randn(2, stack.samples, 32, units) for units in stack.network.latents]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        stack.network.terms(stack.params, torch.rand(2, 1, 32, 64), noise)
    kept = sum(storage.nbytes() for storage in saved.values()) / 2
    size = cell_size(cells[0])
    assert kept < size.memory_bytes - 16 * size.parameters < 2 * kept
