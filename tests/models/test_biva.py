"""The bidirectional network: a linear model whose posterior it can say, what depends on what, sizes, bits, refusals.

    z₂ ~ N(0, 1),   z₁^bu | z₂ ~ N(w z₂, τ²),   z₁^td | z₂ ~ N(v z₂, σ²),   x | z ~ N(a (z₁^td + z₂), γ²)

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
from models.kernels.merge import normal_kl_between
from models.networks.network import Terms
from models.stack.stack import Stack
from models.trained import TrainedModel

W, TAU, V, SIGMA, A, GAMMA, X = 0.9, 0.6, 0.7, 0.5, 1.2, 0.5, 1.3
SHIFT = 100.0  # makes what ELU sees positive
CORNERS = torch.tensor(list(product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
WIDE = dict(latents="2x4x4-2x4x4-3x1x1", bottom_up_maps="1-3")


def cell(**fields: object) -> Cell:
    given = dict(network="biva", latents="2x4x4-3x2x2", maps=4, batch_size=10) | fields
    return Cell(data="digits", seed=given.pop("seed", 0), **given)


def grey() -> Dataset:
    images = np.random.default_rng(0).integers(0, 17, (300, 64)).astype(np.uint8)
    return Dataset("grey", images[:200], images[200:240], images[240:], 16, ImageShape(1, 8, 8))


def raw(deviation: float) -> float:
    return math.log(math.expm1(deviation - SIGMA_FLOOR)) - math.log(math.e - 1)


def covariance() -> np.ndarray:
    """Of (z₁^bu, z₁^td, z₂, x)."""
    root = np.array([[TAU, 0, W, 0], [0, SIGMA, V, 0], [0, 0, 1, 0], [0, A * SIGMA, A * (V + 1), GAMMA]])
    return root @ root.T


def conditional(of: int, on: list[int]) -> tuple[np.ndarray, float]:
    """Factors of the mean, and deviation, of one of them given others."""
    full = covariance()
    factors = np.linalg.solve(full[np.ix_(on, on)], full[on, of])
    return factors, float(np.sqrt(full[of, of] - factors @ full[on, of]))


def exact() -> Stack:
    """A stack of one cell with the planted model and its posterior at x = 1.3."""
    one = np.zeros((4, 1), np.float32)
    made = cell(
        latents="1x1x1-1x1x1", maps=1, likelihood="gaussian", decoder_variance=GAMMA**2, precision="float64",
        batch_size=4,
    )  # fmt: skip
    stack = Stack([made], Dataset("one", one, one, one, 0, ImageShape(1, 1, 1)))
    (bu, of_bu), (top, of_top), (td, of_td) = conditional(0, [3]), conditional(2, [3, 0]), conditional(1, [3, 2])
    # Of each convolution the kernel's middle and the bias; those of blocks stay at 0.
    planted: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
        "inference.1.0": ((0.0,), (SHIFT,)),  # d_1, the same for any x
        "inference_head.1.0": ((0.0, 0.0), (bu[0] * X, raw(of_bu))),
        "inference_enter.1.0": ((1.0,), (0.0,)),
        "inference_head.2.0": ((top[1], 0.0), (top[0] * X - top[1] * SHIFT, raw(of_top))),
        "inference_merge.1.0": ((0.0, 1.0), (0.0,)),
        "inference_merge.1.3": ((td[1], 0.0), (td[0] * X - td[1] * SHIFT, raw(of_td))),
        "generative.2.0": ((1.0,), (SHIFT,)),
        "generative.2.3": ((W, V, 0.0, 0.0), (-W * SHIFT, -V * SHIFT, raw(TAU), raw(SIGMA))),
        "generative.1.0": ((0.0, 1.0), (0.0,)),
        "generative.1.3": ((A,), (-A * SHIFT,)),
    }
    with torch.no_grad():
        for name, param in stack.params.items():
            param.zero_()
            part, _, kind = name.rpartition(".")
            if part in planted:
                values = torch.tensor(planted[part][kind == "bias"], dtype=torch.float64)
                middle = param if kind == "bias" else param[..., param.shape[-1] // 2, param.shape[-1] // 2]
                middle.copy_(values.view(middle.shape))
    return stack


def terms_at(stack: Stack, noise: torch.Tensor) -> Terms:
    """The terms of x = 1.3 at noise of (z₁^bu, z₁^td, z₂), (chains, 3)."""
    x = torch.full((1, 1, 1, 1), X, dtype=torch.float64)
    with torch.no_grad():
        return stack.network.terms(stack.params, x, [noise[:, i].view(1, -1, 1, 1) for i in range(3)])


def test_the_exact_posterior_gives_log_p_and_a_closed_form_for_the_bottom_up_variable_would_not():
    """Its KL to p(z₁^bu|z₂) treats z₂ as if it had not been drawn given z₁^bu: another number, by .1 nats and more."""
    stack = exact()
    variance = covariance()[3, 3]
    log_p = -0.5 * (math.log(2 * math.pi * variance) + X**2 / variance)
    terms = terms_at(stack, CORNERS)
    bu, td, top = terms.layers
    assert float(terms.log_px.mean() - sum(each.term().mean() for each in terms.layers)) == pytest.approx(
        log_p, abs=1e-5
    )
    noise = torch.randn(50, 3, dtype=torch.float64)
    random = terms_at(stack, noise)
    weights = random.log_px + sum(each.log_p - each.log_q for each in random.layers)
    assert weights.flatten().tolist() == pytest.approx([log_p] * 50, abs=1e-5)
    assert bu.kl is None and td.kl is not None and top.kl is not None
    for each in (td, top):
        assert float(each.term().mean()) == pytest.approx(float((each.log_q - each.log_p).mean()), abs=1e-6)
    closed = normal_kl_between(bu.q_mean, bu.q_deviation, bu.p_mean, bu.p_deviation).mean()
    assert abs(float(closed) - float(bu.term().mean())) > 0.1
    torch.testing.assert_close(bu.unit_term().sum(-1), bu.term())


def test_what_depends_on_what():
    """Both variables of a level are independent given what is above, in p; q(z^td) sees no z^bu of its level or above
    but through what was drawn there; z^bu goes up, into q of all above it."""
    stack = Stack([cell(latents="2x4x4-2x2x2-2x1x1", precision="float64")], grey())
    stack.train(3)
    x = torch.rand(1, 1, 4, 64, dtype=torch.float64)
    noise = [torch.randn(1, 2, 4, units, dtype=torch.float64) for units in stack.network.latents]
    names = ["bu1", "td1", "bu2", "td2", "top"]

    def layers(**moved: float) -> dict[str, object]:
        given = list(plain)
        for name, by in moved.items():
            place = names.index(name)
            given[place] = plain[place][0] + by, plain[place][1]
        with torch.no_grad():
            terms = stack.network.terms(stack.params, x, noise, given=given)
        return dict(zip(names, terms.layers, strict=True)) | {"x": terms.log_px}

    plain = [None] * 5
    free = layers()
    plain = [(free[name].q_mean, free[name].q_deviation) for name in names]  # all numbers of q held

    def moves(name: str) -> set[str]:
        """The variables whose p changes with a sample."""
        found, before = layers(**{name: 1.0}), layers()
        changed = {n for n in names[:4] if not torch.equal(found[n].p_mean, before[n].p_mean)}
        return changed | ({"x"} if not torch.equal(found["x"], before["x"]) else set())

    assert moves("top") == {"bu1", "td1", "bu2", "td2", "x"}
    assert moves("bu2") == moves("td2") == {"bu1", "td1", "x"}
    assert moves("bu1") == moves("td1") == {"x"}

    def q_moves(name: str) -> set[str]:
        """The variables whose q changes, where nothing else is held."""
        nonlocal plain
        held, plain = plain, [None] * 5
        place = names.index(name)
        plain[place] = held[place][0] + 1.0, held[place][1]
        found = layers()
        plain = held
        return {n for n in names if n != name and not torch.equal(found[n].q_mean, free[n].q_mean)}

    assert q_moves("bu1") == {"td1", "bu2", "td2", "top"}
    assert q_moves("td1") == set()
    assert q_moves("td2") == {"td1"}
    assert q_moves("top") == {"td1", "td2"}
    assert free["bu1"].q_mean.shape[1] == 1 and free["bu2"].q_mean.shape[1] == 2


@pytest.mark.parametrize("fields", [WIDE, WIDE | {"normalization": "weight", "blocks": 2}, {"latents": "3x2x2"}])
def test_the_size_is_what_torch_counts(fields, monkeypatch):
    """Of several levels, of one, with several chains and blocks; lists of layers have 2 L − 1 entries."""
    monkeypatch.setattr(convolution, "convolve", plain.convolve)
    made = cell(chains=3, **fields)
    stack = Stack([made], grey())
    with FlopCounterMode(display=False) as counted:
        stack.train(1)
    assert cell_size(made).flops == counted.get_total_flops()
    assert cell_size(made).parameters == stack.parameters_per_cell
    assert made.latent_sizes == stack.network.latents and made.depth == 2 * made.latents.count("-") + 1


def test_a_cell_of_a_stack_has_the_bits_it_has_alone():
    """With several chains per image, whose gradients meet in the features of the image."""
    cells = [cell(seed=seed, chains=3, normalization="weight", **WIDE) for seed in range(3)]
    together = Stack(cells, grey())
    together.train(2)
    for place, each in enumerate(cells):
        alone = Stack([each], grey())
        alone.train(2)
        assert all(torch.equal(t[0], together.tensors()[name][place]) for name, t in alone.tensors().items())


def test_latent_maps_of_the_bottom_up_variables_are_said_by_level():
    made = cell(**WIDE)
    assert made.latent_sizes == (16, 32, 48, 32, 3)  # bu1, td1, bu2, td2, top
    assert made.architecture == "biva 2x4x4-2x4x4-3x1x1 (4 maps, 1 block) bottom-up 1-3"
    same = cell(latents=WIDE["latents"])
    assert same.latent_sizes == (32, 32, 32, 32, 3) and cell(**WIDE | {"bottom_up_maps": "2"}).canonical() == same
    assert cell(latents="3x2x2", bottom_up_maps="5").canonical() == cell(latents="3x2x2")
    with pytest.raises(
        CellError, match=r"'1-2-3' describes 3 levels, latents 3, of which the top one has no bottom-up"
    ):
        cell(**WIDE | {"bottom_up_maps": "1-2-3"})
    with pytest.raises(CellError, match=r"should be `same`, or whole numbers joined by '-', got '1-0'"):
        cell(**WIDE | {"bottom_up_maps": "1-0"})


def test_what_it_does_not_go_with_is_refused_with_the_reason():
    for fields, why in (
        (dict(objective="ou", rho=0.8), "what is above a bottom-up variable is drawn given that variable itself"),
        (dict(posterior="planar"), "with network biva, got planar, because the heads"),
        (dict(prior="vamp"), "with network biva, got vamp, because q of the top variable sees samples"),
        (dict(objective="iwae", chains=2, gradient_estimator="stl"), "because the others detach"),
        (dict(skip="all"), "carries every level above to all below already"),
    ):
        with pytest.raises(CellError, match=why):
            cell(**fields)


def test_a_trained_one_is_evaluated_drawn_encoded_and_decoded():
    """All that is measured on request, pictures, and the ways up and down of a script; from lower layers an image does
    not follow alone, which is said."""
    made = cell(learning_rate=0.005)
    stack = Stack([made], grey())
    stack.train(6)
    settings = Evaluation(
        importance_samples=20, images=40, mutual_information=40, gradient_variance=3, hermite_spectrum=10
    )
    (row,) = evaluate(stack, settings)
    assert len(row["kl_per_layer"]) == len(row["active_units"]) == 3
    assert row["kl_top"] == row["kl_per_layer"][-1] > 0 and len(row["kl_top_per_unit"]) == 12
    assert max(row["activity_noise"][0]) == pytest.approx(0, abs=1e-12) and max(row["activity_noise"][2]) > 1e-9
    assert all(math.isfinite(each) for each in row["mutual_information"])
    assert row["gradient_variance"] > 0 and row["hermite_mean"] is None and row["hermite_images"] == 10
    (pictures,) = draw_pictures(stack, settings, 3)
    assert list(pictures) == ["images", "from z1", "from z3", "samples"] and pictures["from z3"].shape == (3, 8, 8)
    tensors = {name: param[0].detach().numpy() for name, param in stack.params.items()}
    model, x = TrainedModel(made, tensors, 6), np.random.default_rng(1).random((7, 64)).round()
    encoded = model.encode(x, samples=3)
    assert [each.shape for each in encoded.mean] == [(3, 7, 32), (3, 7, 32), (3, 7, 12)]
    assert (encoded.mean[0] == encoded.mean[0][:1]).all()
    assert all((each[0] != each[1]).any() for each in encoded.mean[1:])
    assert model.decode(encoded.z[2], layer=3).shape == (3, 7, 64)
    with pytest.raises(ValueError, match="an image follows from z of layer 1 and of all 2 above it"):
        model.decode(encoded.z[0], layer=1)
    assert model.sample(5).shape == (5, 64) and len(model.terms(x).kl) == 3
