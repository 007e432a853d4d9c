"""KL weight, free bits and learning rate: what they do, and that they follow the absolute step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.networks.network import Layer
from models.objectives.elbo import Vae
from models.objectives.parts import FreeBits, KlWeight
from models.stack.adam import Adam
from models.stack.block import Block
from models.stack.stack import _check
from tests.models.planted import TWO, LinearGaussian, corners, stack_of

LIKE = torch.zeros(1, dtype=torch.float64)
X = 1.3


def cell(**fields):
    """A cell of no matter which sizes."""
    return Cell(**(dict(data="digits", latents="4-3", seed=0) | fields))


def test_kl_weight_warms_up_linearly_and_then_stays():
    """β goes from its start to its end over the steps asked, each cell by its own numbers; 0 steps: always the end."""
    cells = [
        cell(kl_weight=0.5, kl_warmup_steps=10),
        cell(kl_weight=2.0, kl_weight_start=1.0, kl_warmup_steps=4),
        cell(kl_weight=0.7, kl_weight_start=0.2),
    ]
    weight = KlWeight(cells, LIKE)
    at = {step: weight.at(step).tolist() for step in (0, 1, 4, 5, 10, 10_000)}
    assert at[0] == pytest.approx([0.0, 1.0, 0.7])
    assert at[1] == pytest.approx([0.05, 1.25, 0.7])
    assert at[4] == pytest.approx([0.2, 2.0, 0.7])
    assert at[5] == pytest.approx([0.25, 2.0, 0.7])
    assert at[10] == at[10_000] == [0.5, 2.0, 0.7]


def test_a_delay_holds_the_kl_weight_at_its_start():
    """The paper's schedule, and others: β's start for so many absolute steps, then the warm-up, or its end at once;
    the plain formula that planning uses says the same."""
    cells = [
        cell(kl_delay_steps=10_000, kl_warmup_steps=500_000),
        cell(kl_weight=0.5, kl_weight_start=0.1, kl_delay_steps=4, kl_warmup_steps=8),
        cell(kl_weight_start=0.2, kl_delay_steps=5),
        cell(kl_warmup_steps=10),
        cell(),
    ]
    weight = KlWeight(cells, LIKE)
    expected = {
        0: [0.0, 0.1, 0.2, 0.0, 1.0], 4: [0.0, 0.1, 0.2, 0.4, 1.0], 5: [0.0, 0.15, 1.0, 0.5, 1.0],
        12: [0.0, 0.5, 1.0, 1.0, 1.0], 10_000: [0.0, 0.5, 1.0, 1.0, 1.0], 260_000: [0.5, 0.5, 1.0, 1.0, 1.0],
        510_000: [1.0, 0.5, 1.0, 1.0, 1.0],
    }  # fmt: skip
    for step, each in expected.items():
        assert weight.at(step).tolist() == pytest.approx(each), step
        assert weight.at(torch.tensor(step)).tolist() == pytest.approx(each), step
        assert [one.options("objective").kl_weight_at(step) for one in cells] == pytest.approx(each), step


def test_a_start_counts_with_a_delay_or_a_warm_up():
    """Without either it has no effect and is no part of the cell."""
    assert cell(kl_weight_start=0.3).canonical() == cell()
    for needed in ("kl_delay_steps", "kl_warmup_steps"):
        assert cell(kl_weight_start=0.3, **{needed: 7}).canonical().kl_weight_start == 0.3


def test_learning_rate_decays_geometrically_and_then_stays():
    """Half of the decay's steps give the geometric mean of start and end; 0 steps: no decay."""
    cells = [
        cell(learning_rate=1e-2, learning_rate_end=1e-4, learning_rate_decay_steps=8),
        cell(learning_rate=3e-3, learning_rate_end=1e-4),
    ]
    rate = Adam(cells, Block({"w": torch.zeros(2, 3)})).learning_rate
    at = {step: rate(step).flatten().tolist() for step in (0, 2, 4, 8, 100)}
    assert at[0] == pytest.approx([1e-2, 3e-3], rel=1e-12)
    assert at[2] == pytest.approx([1e-2 * 10**-0.5, 3e-3], rel=1e-12)
    assert at[4] == pytest.approx([1e-3, 3e-3], rel=1e-12)
    assert at[8] == at[100] == pytest.approx([1e-4, 3e-3], rel=1e-12)


def test_training_uses_the_schedules_at_the_absolute_step():
    """The first update of Adam moves every weight by the learning rate: so it does at β and rate of that step."""
    images = np.full((4, 1), X)
    stack = stack_of(TWO, images, learning_rate=0.01, learning_rate_end=0.0001, learning_rate_decay_steps=10)
    before = stack.params["generative.1.mean.bias"].item()
    stack.step = 5
    stack.train(6)
    assert abs(stack.params["generative.1.mean.bias"].item() - before) == pytest.approx(0.001, rel=1e-4)


def value_and_gradients(model, step=0, **fields):
    """Expected objective, terms and gradients of a planted model, exactly."""
    stack = stack_of(model, **fields)
    noise, _ = corners(1, len(model.b))
    x = torch.full_like(noise[0], X)
    terms = stack.network.terms(stack.params, x, noise)
    value = stack.objective.value(terms, step)
    grads = torch.autograd.grad(value.sum(), list(stack.params.values()), allow_unused=True)
    return value.item(), dict(zip(stack.params, grads, strict=True)), stack


def test_kl_weight_multiplies_every_term_and_not_the_reconstruction():
    """log p(x|z₁) − β (term₁ + term₂), and half of β half way through the warm-up."""
    reconstruction, penalty = TWO.reconstruction(X), sum(TWO.terms(X))
    value, _, _ = value_and_gradients(TWO, kl_weight=0.3)
    assert value == pytest.approx(reconstruction - 0.3 * penalty, rel=1e-10)
    value, _, _ = value_and_gradients(TWO, kl_weight=0.3, kl_warmup_steps=100, step=50)
    assert value == pytest.approx(reconstruction - 0.15 * penalty, rel=1e-10)


def test_free_bits_hold_the_batch_mean_of_each_layers_term():
    """Layers below λ count λ, layers above it count themselves; β multiplies both."""
    lower, top = TWO.terms(X)
    assert top > lower + 0.05
    between = (lower + top) / 2
    value, _, _ = value_and_gradients(TWO, free_bits=between, kl_weight=0.5)
    assert value == pytest.approx(TWO.reconstruction(X) - 0.5 * (between + top), rel=1e-9)
    value, _, _ = value_and_gradients(TWO, free_bits=top + 1)
    assert value == pytest.approx(TWO.reconstruction(X) - 2 * (top + 1), rel=1e-9)
    value, _, _ = value_and_gradients(TWO, free_bits=lower / 2)
    assert value == pytest.approx(TWO.objective(X), rel=1e-9)


def test_free_bits_clamp_the_mean_over_the_batch_not_each_image():
    """Terms of 0 and 2 nats in a batch have mean 1: a floor of 0.5 is not felt."""
    bits = FreeBits([cell(free_bits=0.5)], LIKE)
    assert bits(torch.tensor([0.0, 2.0]).mean().view(1)).item() == 1.0


def known_terms(images, group):
    """A layer whose terms are those given: of one layer image by image, or of one image unit by unit; a leaf."""
    kl = torch.tensor(images, dtype=torch.float64)
    kl = (kl.view(1, 1, -1, 1) if group == "layer" else kl.view(1, 1, 1, -1)).requires_grad_()
    nothing = torch.zeros(kl.shape[:-1], dtype=torch.float64)
    return Layer(kl, kl, nothing, nothing, kl), kl


def test_terms_of_one_and_three_at_a_floor_of_two_and_a_half():
    """Held together, as a layer's two images, they have mean 2 and count 2.5 with no gradient. Each held by itself
    they would count 2.75 with half of it, as the two units of one layer do: 2.5 + 3."""
    layer, kl = known_terms([1.0, 3.0], "layer")
    value = FreeBits([cell(free_bits=2.5)], LIKE).of(layer)
    assert value.item() == 2.5 and not torch.autograd.grad(value.sum(), kl)[0].any()
    by_unit = FreeBits([cell(free_bits=2.5, free_bits_group="unit")], LIKE)
    layer, kl = known_terms([1.0, 3.0], "unit")
    value = by_unit.of(layer)
    assert value.item() == 2 * 2.75 and torch.autograd.grad(value.sum(), kl)[0].flatten().tolist() == [0.0, 1.0]
    kl = torch.tensor([1.0, 3.0], dtype=torch.float64).view(1, 1, 2, 1)  # images of one unit are averaged too
    assert by_unit.of(Layer(kl, kl, kl[..., 0], kl[..., 0], kl)).item() == 2.5


def test_unit_terms_add_up_to_the_layers():
    """Below the top they are sampled log ratios of each unit; at the top the analytic KL; gradients too."""
    units = LinearGaussian(a=0.8, gamma=0.7, b=(0.9, -0.5), s=(0.3, 0.8), w=(0.7,), tau=(0.5,))
    stack = stack_of(units, units=2)
    noise, _ = corners(2, 2)
    terms = stack.network.terms(stack.params, torch.full_like(noise[0], X), noise)
    for layer in terms.layers:
        torch.testing.assert_close(layer.unit_term().sum(-1), layer.term(), rtol=1e-12, atol=1e-12)
        assert layer.unit_term().mean((1, 2)).flatten().tolist() == pytest.approx([layer.term().mean().item() / 2] * 2)
        sums = [torch.autograd.grad(each.sum(), list(stack.params.values()), retain_graph=True, allow_unused=True)
                for each in (layer.unit_term(), layer.term())]  # fmt: skip
        assert all(a is b is None or torch.allclose(a, b, atol=1e-11) for a, b in zip(*sums, strict=True))


def test_units_cannot_be_held_where_p_or_q_is_no_product_over_them():
    """The layer says why; the stack refuses such a posterior or prior before a step."""
    z = torch.zeros(1, 1, 2, 3)
    with pytest.raises(ValueError, match="a KL term of each unit needs q and p that are diagonal Gaussians"):
        Layer(z, z, z[..., 0], z[..., 0]).unit_term()
    images = np.zeros((4, 1))
    stack = stack_of(TWO, images, free_bits=0.1, free_bits_group="unit")
    stack.network.posterior.gaussian = False
    with pytest.raises(ValueError, match="free_bits_group unit needs log q of each unit, as of a Gaussian"):
        _check(stack.cells[0], stack.network, 1)
    stack.network.posterior.gaussian, stack.network.prior.kl = True, lambda mean, deviation: None
    with pytest.raises(ValueError, match="free_bits_group unit needs a prior that is a product over units, got prior"):
        _check(stack.cells[0], stack.network, 1)


def test_a_layer_held_by_free_bits_gives_no_gradient():
    """Below λ the term's gradient is cut, and with it all of p(z₁|z₂)'s; the reconstruction's stays."""
    _, held, _ = value_and_gradients(TWO, free_bits=max(TWO.terms(X)) + 1)
    _, free, _ = value_and_gradients(TWO)
    for name, grad in held.items():
        if name.startswith(("generative.2", "inference.2")):
            assert grad is None or not grad.any()
    assert free["generative.2.mean.weight"].any() and free["inference.2.mean.weight"].any()
    torch.testing.assert_close(held["generative.1.mean.weight"], free["generative.1.mean.weight"])
    assert held["inference.1.mean.weight"].any()


def test_no_free_bits_leave_negative_terms_alone():
    """A lower layer's term may be negative; λ = 0 does not lift it to 0, beside a cell with free bits neither."""
    model = LinearGaussian(a=0.5, gamma=1.0, b=(0.1, 1.0), s=(1.0, 0.3), w=(1.0,), tau=(0.5,))
    assert model.terms(X)[0] < -0.5
    value, grads, _ = value_and_gradients(model)
    assert value == pytest.approx(model.objective(X), rel=1e-10)
    assert grads["generative.2.mean.weight"].any()
    bits = FreeBits([cell(), cell(free_bits=0.2)], LIKE)
    assert bits(torch.tensor([-1.0, -1.0], dtype=torch.float64)).tolist() == [-1.0, 0.2]


def test_each_cell_of_a_stack_has_its_own_schedule():
    """One objective serves cells of different β, warm-up and λ."""
    cells = [cell(kl_weight=0.5), cell(kl_weight=2.0, kl_warmup_steps=10), cell(free_bits=0.3)]
    objective = Vae(cells, LIKE)
    assert objective.kl_weight.at(5).tolist() == [0.5, 1.0, 1.0]
    assert objective.free_bits(torch.zeros(3, dtype=torch.float64)).tolist() == [0.0, 0.0, 0.3]
