"""The VampPrior: a mixture of q(z_L|·) at pseudo-inputs, with what it should give where that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from models.cell import Cell
from models.evaluation.evaluate import evaluate
from models.evaluation.pictures import draw_pictures
from models.evaluation.settings import Evaluation
from models.priors.mixture import mixture_log_prob, split_noise
from models.stack.stack import Stack

MEANS = torch.tensor([[(-1, 0.5), (0.2, -0.3), (1.4, 0.9)]], dtype=torch.float64)  # (1, K, D)
DEVIATIONS = torch.tensor([[(0.5, 0.8), (1, 0.6), (0.3, 1.2)]], dtype=torch.float64)


def cell(latents: str = "4", seed: int = 0, **more: object) -> Cell:
    given = {"hidden": "9-8", "batch_size": 10, "prior": "vamp", "pseudo_inputs": 6} | more
    return Cell(data="digits", latents=latents, seed=seed, **given)


def terms(stack: Stack, x: torch.Tensor, samples: int = 3, **more: object):
    made = torch.Generator().manual_seed(1)
    noise = [
        torch.randn(len(x), samples, x.shape[2], units, generator=made, dtype=stack.dtype)
        for units in stack.network.latents
    ]
    with torch.no_grad():
        return stack.network.terms(stack.params, x, noise, **more)


def test_the_density_of_a_mixture():
    """Of three components at one point, one after the other and together."""
    z = torch.tensor((0.4, -0.1), dtype=torch.float64).view(1, 1, 1, 2)
    each = [float(mixture_log_prob(z, MEANS[:, k : k + 1], DEVIATIONS[:, k : k + 1])) for k in range(3)]
    assert each == pytest.approx([-5.122836, -1.402607, -6.719004], abs=1e-6)
    assert float(mixture_log_prob(z, MEANS, DEVIATIONS)) == pytest.approx(-2.472497, abs=1e-6)
    assert float(mixture_log_prob(z.float(), MEANS.float(), DEVIATIONS.float())) == pytest.approx(-2.472497, abs=2e-6)


def test_the_kl_to_a_mixture():
    """E_q[log q − log p] by Gauss–Hermite quadrature in two dimensions."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    noise = torch.cartesian_prod(*[torch.from_numpy(points)] * 2)
    weight = torch.cartesian_prod(*[torch.from_numpy(weights / weights.sum())] * 2).prod(1)
    mean, deviation = torch.tensor((0.4, -0.1)).double(), torch.tensor((0.5, 0.7)).double()
    z = mean + deviation * noise
    log_q = Independent(Normal(mean, deviation), 1).log_prob(z)
    log_p = mixture_log_prob(z[None, None], MEANS, DEVIATIONS)[0, 0]
    assert float((weight * (log_q - log_p)).sum()) == pytest.approx(1.064883, abs=1e-5)


def test_density_and_gradients_are_those_of_torch():
    """Of many units and narrow components far from 0, where squares multiplied out in float32 would cancel."""
    made = torch.Generator().manual_seed(0)
    z, m = (3 + torch.randn(2, 3, n, 30, generator=made) for n in (5, 4))
    s = 0.05 + 0.3 * torch.rand(2, 4, 30, generator=made)
    m = m[:, 0]
    ours = [each.clone().requires_grad_() for each in (z, m, s)]
    theirs = [each.double().requires_grad_() for each in (z, m, s)]
    found = mixture_log_prob(*ours)
    parts = [each[:, None, None] for each in theirs[1:]]
    weights = Categorical(logits=torch.zeros(4).double().expand(2, 1, 1, 4))
    expected = MixtureSameFamily(weights, Independent(Normal(*parts), 1)).log_prob(theirs[0])
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    for a, b in zip(torch.autograd.grad(found.sum(), ours), torch.autograd.grad(expected.sum(), theirs), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


def test_noise_splits_into_a_component_and_noise():
    """Over the quantiles of N(0, 1): every component equally often, and in each of them all quantiles again."""
    quantiles = torch.special.ndtri((torch.arange(70_000, dtype=torch.float64) + 0.5) / 70_000)
    noise = torch.stack((quantiles, quantiles.flip(0)), -1).view(1, 1, -1, 2)
    place, rest = split_noise(noise, 7)
    assert place.flatten().bincount().tolist() == [10_000] * 7
    expected = torch.special.ndtri((torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000)
    for component in range(7):
        torch.testing.assert_close(rest[place == component][:, 0], expected, rtol=0, atol=1e-6)
    assert torch.equal(rest[..., 1], noise[..., 1])
    far = torch.tensor([-40.0, 0.0, 40.0]).view(1, 1, 3, 1)  # where the distribution function is 0 or 1
    place, rest = split_noise(far, 7)
    assert place.flatten().tolist() == [0, 3, 6] and rest.isfinite().all()


def test_samples_are_of_the_mixture(images):
    """Mean and variance over many samples are those of equally weighted components, not of the first ones."""
    stack = Stack([cell("1", precision="float64")], images)
    stack.train(30)
    prior, q = stack.network.prior, stack.network._top(stack.params)
    with torch.no_grad():
        mean, deviation = (each.flatten() for each in prior._components(stack.params, q))
        z = prior.sample(stack.params, torch.randn(1, 1, 200_000, 1, dtype=torch.float64), q).flatten()
    variance = (deviation.square() + mean.square()).mean() - mean.mean() ** 2
    assert float(z.mean()) == pytest.approx(float(mean.mean()), abs=4 * float(variance / len(z)) ** 0.5)
    assert float(z.var()) == pytest.approx(float(variance), rel=0.02)
    (pictures,) = draw_pictures(stack, Evaluation(), 3)
    assert pictures["samples"].shape == (3, 5, 7)


def test_one_pseudo_input_that_is_the_image_costs_nothing(images):
    """The term is 0 at every z then; and where all pseudo-inputs are alike, the prior is q at that one."""
    one = Stack([cell(pseudo_inputs=1, precision="float64")], images)
    image = (torch.rand(35, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    with torch.no_grad():
        one.params["prior.pseudo_images"].copy_(image)
    term = terms(one, image.view(1, 1, 1, -1)).layers[0].term()
    torch.testing.assert_close(term, torch.zeros_like(term), rtol=0, atol=1e-12)

    alike = Stack([cell("4-3", precision="float64")], images)
    u = torch.randn(4, dtype=torch.float64)
    with torch.no_grad():
        alike.params["prior.pseudo_inputs"].copy_(u)
        top = terms(alike, image.view(1, 1, 1, -1)).layers[1]
        mean, deviation = alike.network.inference[1].gaussian(alike.params, u.view(1, 1, 1, 4))
    torch.testing.assert_close(top.log_p, Normal(mean, deviation).log_prob(top.z).sum(-1))


def test_where_pseudo_inputs_begin(images):
    """Images near 0.05 in x space, standard normals in that of z; both are updated as the prior's."""
    (first, second) = (Stack([cell(latents, pseudo_inputs=500)], images) for latents in ("4", "4-3"))
    u, z = first.params["prior.pseudo_images"].detach(), second.params["prior.pseudo_inputs"].detach()
    assert u.shape == (1, 500, 35) and z.shape == (1, 500, 4)
    assert float(u.mean()) == pytest.approx(0.05, abs=4e-4) and float(u.std()) == pytest.approx(0.01, rel=0.05)
    assert float(z.mean()) == pytest.approx(0.0, abs=0.1) and float(z.std()) == pytest.approx(1.0, rel=0.1)
    groups = {parameter.name: parameter.group for parameter in second.network.parameters()}
    assert [name for name, group in groups.items() if group == "prior"] == ["prior.pseudo_inputs"]


def test_pseudo_images_are_cut_where_pixels_are_binary(images):
    """Below 0 a pseudo-pixel is as good as 0, and gets no gradient; real pixels have no such range."""
    x, image = (torch.rand(1, 1, 1, 35) < 0.5).float(), torch.full((35,), 0.3)
    image[5] = 0.0
    for likelihood, same in (("bernoulli", True), ("gaussian", False)):
        stack, found = Stack([cell(likelihood=likelihood)], images), []
        for value in (0.0, -0.7):
            image[5] = value
            with torch.no_grad():
                stack.params["prior.pseudo_images"].copy_(image)
            found.append(terms(stack, x).layers[0].log_p)
        assert torch.equal(*found) is same


@pytest.mark.parametrize("latents", ["4", "4-3"])
def test_neighbours_do_not_matter(images, latents):
    """Bitwise, in x space and in z space, with more components than fit a vector register."""
    cells = [cell(latents, seed, pseudo_inputs=37, hidden="19-17") for seed in range(3)]
    together = Stack(cells, images)
    together.train(8)
    for place, each in enumerate(cells):
        alone = Stack([each], images)
        alone.train(8)
        theirs = together.tensors()
        assert all(torch.equal(t[0], theirs[name][place]) for name, t in alone.tensors().items())


def test_the_maps_below_are_smoothed_and_the_prior_is_not(images):
    """log p of the top layer is that of the plain network, bit for bit, and below it log p is another."""
    stack = Stack([cell("5-4-3", objective="ou", rho=0.7)], images)
    stack.train(5)
    x = (torch.rand(1, 1, 6, 35) < 0.5).float()
    smoothing = stack.objective.smoothing(stack.draws, 0, stack.network.latents, 6)
    plain, smoothed = (terms(stack, x, 1, smoothing=each).layers for each in (None, smoothing))
    assert [torch.equal(a.log_p, b.log_p) for a, b in zip(plain, smoothed, strict=True)] == [False, False, True]


def test_a_row_of_it(images):
    """The top term is sampled: no KL by units. Ten times the steps raise the bound of a learned prior."""
    stack, rows = Stack([cell("3-2", learning_rate=0.01)], images), []
    for steps in (20, 200):
        stack.train(steps)
        rows += evaluate(stack, Evaluation(importance_samples=20))
    assert rows[1]["kl_top_per_unit"] is None and math.isfinite(rows[1]["kl_top"])
    assert rows[1]["elbo"] > rows[0]["elbo"]


def test_what_does_not_go_with_it():
    """Options of another part, and no pseudo-inputs."""
    with pytest.raises(ValueError, match="pseudo_inputs is an option of prior vamp: prior normal has none"):
        Cell("digits", "4", 0, pseudo_inputs=7)
    with pytest.raises(ValueError, match="pseudo_inputs should be a whole number in"):
        cell(pseudo_inputs=0)
