"""The two-level network of Tomczak & Welling (2018) against its equations written out, and what is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

from models.cell import Cell, cell_size
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.kernels.gated import Gated
from models.kernels.plain import affine, sigma
from models.stack.stack import Stack
from models.trained import TrainedModel


def cell(latents: str = "4-3", seed: int = 0, **more: object) -> Cell:
    given = {"hidden": "9-8/7-6", "batch_size": 10, "network": "two_level"} | more
    return Cell(data="digits", latents=latents, seed=seed, **given)


def test_a_gated_layer_and_its_gradients():
    """(x W + b) σ(x V + c), as autograd has it, and by finite differences."""
    made = torch.Generator().manual_seed(0)
    layer = Gated("g", 5, 4, 1, 0, "inference")
    params = {
        each.name: torch.randn(2, *each.shape, generator=made, dtype=torch.float64, requires_grad=True)
        for each in layer.parameters()
    }
    assert [*params] == ["g.value.weight", "g.value.bias", "g.gate.weight", "g.gate.bias"]
    x = torch.randn(2, 3, 6, 5, generator=made, dtype=torch.float64, requires_grad=True)
    weight, bias, gate_weight, gate_bias = params.values()
    expected = affine(x, weight, bias) * affine(x, gate_weight, gate_bias).sigmoid()
    torch.testing.assert_close(layer(params, x), expected)
    assert torch.autograd.gradcheck(
        lambda x, *each: layer(dict(zip(params, each, strict=True)), x), (x, *params.values())
    )


def test_weights_start_as_published():
    """Normal with variance 2 / inputs, value and gate from draws of their own."""
    stack = Stack(
        [cell(hidden="300-300")], Dataset("zeros", *[np.zeros((20, 400), np.uint8)] * 3, 16, ImageShape(1, 20, 20))
    )
    value, gate = (stack.params[f"inference.2.0.{part}.weight"].detach() for part in ("value", "gate"))
    assert float(value.std()) == pytest.approx((2 / 400) ** 0.5, rel=0.01) and not torch.equal(value, gate)
    assert float(value.abs().max()) > 3.5 * float(value.std())  # no uniform distribution reaches so far


def test_its_size_is_the_published_one():
    """784 pixels, 40-40 latents, 300 hidden units: two numbers more for each pixel and unit than a weight has."""
    gated = lambda inputs, outputs: 2 * (inputs + 1) * outputs  # noqa: E731
    heads = 2 * 301 * 40
    q2 = gated(784, 300) + gated(300, 300) + heads
    q1 = gated(784, 300) + gated(40, 300) + gated(600, 300) + heads
    p1 = gated(40, 300) + gated(300, 300) + heads
    px = 2 * gated(40, 300) + gated(600, 300) + 301 * 784
    size = cell_size(Cell("mnist", "40-40", 0, network="two_level", hidden="300-300"))
    assert size.parameters == q2 + q1 + p1 + px


def test_its_terms_are_the_equations_of_the_paper(images):
    """Written out with torch's own layers and distributions, one cell and one sample at a time."""
    stack = Stack([cell(precision="float64"), cell(seed=1, precision="float64")], images)
    stack.train(20)
    made = torch.Generator().manual_seed(1)
    x = (torch.rand(2, 1, 6, 35, generator=made) < 0.5).double()
    noise = [torch.randn(2, 3, 6, units, generator=made, dtype=torch.float64) for units in (4, 3)]
    with torch.no_grad():
        terms = stack.network.terms(stack.params, x, noise)
    for c in range(2):
        own = {name: param[c].detach() for name, param in stack.params.items()}

        def linear(name, h, own=own):
            return F.linear(h, own[f"{name}.weight"].T, own[f"{name}.bias"])

        def gated(name, h, linear=linear):
            return linear(f"{name}.value", h) * linear(f"{name}.gate", h).sigmoid()

        def density(name, h, linear=linear):
            return Normal(linear(f"{name}.mean", h), sigma(linear(f"{name}.deviation", h)))

        for s in range(3):
            image = x[c, 0]
            q2 = density("inference.2", gated("inference.2.1", gated("inference.2.0", image)))
            z2 = q2.mean + q2.stddev * noise[1][c, s]
            sides = gated("inference.1.0", image), gated("inference.1.1", z2)
            q1 = density("inference.1", gated("inference.1.2", torch.cat(sides, -1)))
            z1 = q1.mean + q1.stddev * noise[0][c, s]
            p1 = density("generative.2", gated("generative.2.1", gated("generative.2.0", z2)))
            sides = gated("generative.1.0", z1), gated("generative.1.1", z2)
            px = Bernoulli(logits=linear("generative.1.mean", gated("generative.1.2", torch.cat(sides, -1))))
            expected = (
                (terms.log_px, px.log_prob(image).sum(-1)),
                (terms.layers[0].log_q, q1.log_prob(z1).sum(-1)),
                (terms.layers[0].log_p, p1.log_prob(z1).sum(-1)),
                (terms.layers[0].kl, kl_divergence(q1, p1)),
                (terms.layers[1].log_q, q2.log_prob(z2).sum(-1)),
                (terms.layers[1].log_p, Normal(0.0, 1.0).log_prob(z2).sum(-1)),
                (terms.layers[1].kl, kl_divergence(q2, Normal(torch.zeros(3).double(), 1.0))),
            )
            for found, theirs in expected:
                mine = found[c].expand(3, *found.shape[2:])[s]
                torch.testing.assert_close(mine, theirs)


def test_a_mixture_and_a_flow_on_top(images):
    """Pseudo-inputs are images; under both the KL of layer 1 stays analytic, that of the top layer is sampled."""
    for parts, name, shape in (
        ({"prior": "vamp", "pseudo_inputs": 6}, "prior.pseudo_images", (1, 6, 35)),
        ({"posterior": "planar", "flow_steps": 2}, "inference.2.flow.weight", (1, 6, 14)),
    ):
        stack = Stack([cell(**parts)], images)
        stack.train(5)
        assert stack.params[name].shape == shape
        x, noise = torch.ones(1, 1, 2, 35), [torch.zeros(1, 4, 2, units) for units in (4, 3)]
        with torch.no_grad():
            first, top = stack.network.terms(stack.params, x, noise).layers
        assert first.kl is not None and top.kl is None


def test_an_image_needs_both_layers(images):
    """Pictures and samples have them; a z₁ alone has no image."""
    stack = Stack([cell()], images)
    stack.train(3)
    (pictures,) = draw_pictures(stack, Evaluation(), 3)
    assert {name: each.shape for name, each in pictures.items()} == dict.fromkeys(
        ("images", "from z1", "from z2", "samples"), (3, 5, 7)
    )
    tensors = {name: param[0].detach().numpy() for name, param in stack.params.items()}
    model = TrainedModel(stack.cells[0], tensors, 3, features=35)
    assert model.decode(np.zeros((2, 3)), layer=2).shape == (2, 35) and model.sample(2).shape == (2, 35)
    with pytest.raises(ValueError, match="needs z₂ as well"):
        model.decode(np.zeros((2, 4)), layer=1)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"latents": "4", "hidden": "9-8"}, "two layers"),
        ({"latents": "4-3-2", "hidden": "9-8"}, "two layers"),
        ({"hidden": "9"}, "two sizes"),
        ({"hidden": "9-8/7"}, "two sizes"),
        (
            {"activation": "relu"},
            "activation is an option of network mlp or null_mlp or ladder or pixelcnn or mlp_decoder: "
            "network two_level has none",
        ),
        ({"objective": "ou", "rho": 0.9}, "never smoothed and sees z₂ itself"),
    ],
)
def test_what_it_cannot_be_is_refused_when_the_cell_is_made(more, why):
    with pytest.raises(ValueError, match=why):
        cell(**{"latents": "4-3"} | more)
