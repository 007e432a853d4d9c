"""U_ρ on Hermite polynomials, by exact quadrature, and its limits S = 1 and ρ = 1, which are the plain VAE."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from models.cell import Cell, CellError, nine_digits
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.draws.draws import Purpose
from models.kernels.densities import sigma
from models.objectives.elbo import OrnsteinUhlenbeck
from models.objectives.smoothing import Smoothing, perturb
from models.stack.stack import Stack
from tests.models.planted import TWO, LinearGaussian, stack_of

MU, SIGMA = 0.8, 1.7
RHOS = [0.0, 0.3, 0.5, 0.9, 1.0]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)  # exact for polynomials of degree ≤ 9 of N(0, 1)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def hermite(k, u):
    """Normalised probabilists' Hermite polynomial of degree k ≤ 3."""
    return [torch.ones_like(u), u, (u**2 - 1) / 2**0.5, (u**3 - 3 * u) / 6**0.5][k]


def grid(axes):
    """Nodes (points, axes) and weights (points,) of the product rule for independent N(0, 1)."""
    points = torch.tensor(list(product(NODES, repeat=axes)))
    weights = torch.tensor([np.prod(w) for w in product(WEIGHTS, repeat=axes)])
    return points, weights


def perturbed(z, noise):
    """z' of every cell of `RHOS`: z (points,), noise (points, S) → (cells, S, points)."""
    rho = torch.tensor(RHOS, dtype=torch.float64).view(-1, 1, 1, 1)
    mean, dev = (torch.full((1, 1, len(z), 1), value, dtype=torch.float64) for value in (MU, SIGMA))
    return perturb(z.view(1, 1, -1, 1), mean, dev, rho, noise.T.reshape(1, noise.shape[1], -1, 1))[..., 0]


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_the_semigroup_multiplies_hermite_polynomials_by_rho_to_the_k(k):
    """E[h_k((z′ − μ)/σ) | z] = ρ^k h_k((z − μ)/σ), for z far out in the tails too."""
    noise, weights = grid(1)
    for z in (-4.0, 0.3, MU, 5.5):
        moved = perturbed(torch.full((len(noise),), z, dtype=torch.float64), noise)
        found = (hermite(k, (moved - MU) / SIGMA)[:, 0] * weights).sum(-1)
        rho, u = torch.tensor(RHOS, dtype=torch.float64), torch.tensor((z - MU) / SIGMA, dtype=torch.float64)
        torch.testing.assert_close(found, rho**k * hermite(k, u), rtol=1e-12, atol=1e-12)


def test_the_semigroup_of_z_and_z_squared():
    """z → ρz + (1 − ρ)μ; z² → (ρz + (1 − ρ)μ)² + σ²(1 − ρ²)."""
    noise, weights = grid(1)
    z, rho = -1.9, torch.tensor(RHOS, dtype=torch.float64)
    moved = perturbed(torch.full((len(noise),), z, dtype=torch.float64), noise)[:, 0]
    centre = rho * z + (1 - rho) * MU
    torch.testing.assert_close((moved * weights).sum(-1), centre, rtol=1e-12, atol=1e-12)
    expected = centre**2 + SIGMA**2 * (1 - rho**2)
    torch.testing.assert_close((moved**2 * weights).sum(-1), expected, rtol=1e-12, atol=1e-12)


def test_smoothing_keeps_the_mean_and_the_law():
    """Over z ~ N(μ, σ²) and ε, z′ has the moments of z up to the fourth, and correlation ρ with it."""
    points, weights = grid(2)
    z = MU + SIGMA * points[:, 0]
    moved = perturbed(z, points[:, 1:])[:, 0]
    rho = torch.tensor(RHOS, dtype=torch.float64)
    for power in (1, 2, 3, 4):
        expected = (z**power * weights).sum().expand(len(RHOS))
        torch.testing.assert_close((moved**power * weights).sum(-1), expected, rtol=1e-12, atol=1e-12)
    covariance = ((moved - MU) * (z - MU) * weights).sum(-1)
    torch.testing.assert_close(covariance, rho * SIGMA**2, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_variance_of_the_average_over_samples(samples):
    """Degree k keeps variance ρ^{2k} + (1 − ρ^{2k})/S, so f of degrees 1 … 3 has Σ f̂(k)² c_k; z is no sample."""
    points, weights = grid(1 + samples)
    coefficients = [0.4, 1.0, -0.7, 0.5]

    def f(z):
        return sum(c * hermite(k, (z - MU) / SIGMA) for k, c in enumerate(coefficients))

    average = f(perturbed(MU + SIGMA * points[:, 0], points[:, 1:])).mean(1)
    mean = (average * weights).sum(-1)
    variance = ((average - mean.unsqueeze(1)) ** 2 * weights).sum(-1)
    rho = torch.tensor(RHOS, dtype=torch.float64)
    kept = [rho ** (2 * k) + (1 - rho ** (2 * k)) / samples for k in range(4)]
    expected = sum(coefficients[k] ** 2 * kept[k] for k in (1, 2, 3))
    torch.testing.assert_close(mean, torch.full_like(mean, 0.4), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(variance, expected, rtol=1e-11, atol=1e-11)


# The network and the training with smoothing.


@pytest.fixture(scope="module")
def dataset():
    """Grey images of 12 pixels."""
    images = np.random.default_rng(0).integers(0, 17, (4000, 12)).astype(np.uint8)
    return Dataset("grey", images, images[:5], images[:5], 16, ImageShape(1, 3, 4))


def stack(dataset, cell_fields, force_ou=False):
    """A three-layer tanh stack with uneven deviations; `force_ou`: smooth even though ρ = 1."""
    common = dict(data="digits", latents="4-3-3", hidden="9-8", seed=3, batch_size=64)
    cell = Cell(**(common | cell_fields))
    made = Stack([cell], dataset)
    for i, (name, param) in enumerate(made.params.items()):
        if "mean.weight" in name:
            param.data.mul_(1.5)  # so that smoothing matters
        elif "deviation" in name:
            param.data.add_(0.3 * torch.sin(torch.arange(param.numel()) + i).to(param).view_as(param))
    if force_ou:
        made.objective = OrnsteinUhlenbeck([cell], next(iter(made.params.values())).detach())
    return made


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("smoothing", ["moments", "ratio"])
def test_rho_one_is_the_plain_vae_to_rounding(dataset, precision, tolerance, smoothing):
    """Smoothed at ρ = 1, whatever S: the objective and its whole gradient are those of `vae`."""
    plain = stack(dataset, dict(precision=precision))
    smooth = stack(dataset, dict(objective="ou", rho=1, smoothing=smoothing, precision=precision), force_ou=True)
    plain.train(1)
    smooth.train(1)
    assert smooth.mean_objective()[0] == pytest.approx(plain.mean_objective()[0], rel=tolerance)
    for a, b in zip(plain.optimizer.first, smooth.optimizer.first, strict=True):  # 0.1 × the gradient
        assert (a - b).norm() <= tolerance * a.norm() + 1e-30


def test_one_sample_is_the_plain_vae_in_law(dataset):
    """S = 1 at ρ = 0.4: the same mean objective; S = 5: another by more than 10 standard errors."""

    def objectives(**fields):
        made = stack(dataset, dict(batch_size=4000, learning_rate=1e-12, precision="float64") | fields)
        values = []
        for step in range(1, 13):
            made.train(step)
            values += made.mean_objective()
            made.restart_mean()
        return np.array(values)

    plain, one, five = objectives(), *(objectives(objective="ou", rho=0.4, smoothing_samples=s) for s in (1, 5))
    for other, inside in ((one, True), (five, False)):
        difference = other - plain  # paired: the same images and the same noise of z
        error = difference.std(ddof=1) / len(difference) ** 0.5
        assert (abs(difference.mean()) < 3.5 * error) == inside
        assert inside or abs(difference.mean()) > 10 * error


@pytest.mark.parametrize("ratio", [False, True])
def test_the_smoothed_prior_averages_mean_and_deviation_of_the_same_samples(dataset, ratio):
    """Against the formula written out: σ averaged, not log σ, over the z′ of the mean; q and p(x|z₁) unsmoothed."""
    made, rho, samples, batch = stack(dataset, dict(precision="float64")), 0.6, 4, 5
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, noise = (
        torch.rand(1, 1, batch, 12, dtype=torch.float64, generator=generator),
        [normal(1, 1, batch, units) for units in (4, 3, 3)],
    )
    smooth_noise = [normal(1, samples, batch, 3) for _ in range(2)]
    smoothing = Smoothing(torch.full((1, 1, 1, 1), rho, dtype=torch.float64), smooth_noise, ratio)
    plain = made.network.terms(made.params, x, noise)
    terms = made.network.terms(made.params, x, noise, smoothing)
    assert torch.equal(plain.log_px, terms.log_px)

    def affine(name, h):
        return h @ made.params[f"{name}.weight"][0] + made.params[f"{name}.bias"][0]

    for i in (1, 2):
        here, above = terms.layers[i - 1], terms.layers[i]
        assert torch.equal(above.z, plain.layers[i].z) and torch.equal(here.log_q, plain.layers[i - 1].log_q)
        mean = above.q_mean[0, 0]
        deviation = (above.z[0, 0] - mean) / noise[i][0, 0]
        means, deviations = [], []
        for s in range(samples):
            moved = rho * above.z[0, 0] + (1 - rho) * mean + deviation * (1 - rho**2) ** 0.5 * smooth_noise[i - 1][0, s]
            name = f"generative.{i + 1}"
            h = torch.tanh(affine(f"{name}.1", torch.tanh(affine(f"{name}.0", moved))))
            means.append(affine(f"{name}.mean", h))
            deviations.append(sigma(affine(f"{name}.deviation", h)))
        p_deviation = sum(deviations) / samples
        if ratio:
            p_mean = p_deviation * sum(m / d for m, d in zip(means, deviations, strict=True)) / samples
        else:
            p_mean = sum(means) / samples
        expected = torch.distributions.Normal(p_mean, p_deviation).log_prob(here.z[0, 0]).sum(-1)
        torch.testing.assert_close(here.log_p[0, 0], expected, rtol=1e-10, atol=1e-10)
        assert (here.log_p - plain.layers[i - 1].log_p).abs().min() > 1e-4
    assert torch.equal(terms.layers[2].log_p, plain.layers[2].log_p)


def test_the_ratio_is_the_same_where_the_deviation_is_constant(dataset):
    """N(Uσ · U(μ/σ), (Uσ)²) equals N(Uμ, (Uσ)²) for constant σ, and is another objective otherwise."""

    def objective(made):
        made.train(1)
        return made.mean_objective()[0]

    fields = dict(objective="ou", rho=0.7, smoothing_samples=3)
    linear = [objective(stack_of(TWO, np.full((64, 1), 1.3), batch_size=64, smoothing=s, **fields))
              for s in ("moments", "ratio")]  # fmt: skip
    assert linear[0] == pytest.approx(linear[1], rel=1e-12)
    uneven = [objective(stack(dataset, fields | dict(smoothing=s))) for s in ("moments", "ratio")]
    assert abs(uneven[0] - uneven[1]) > 0.01


def test_smoothing_has_a_stream_of_its_own(dataset):
    """`vae` and `ou` cells of a seed see the same images and noise of z; ε is fresh each step and in each layer."""
    seen = {}
    for objective in ("vae", "ou"):
        made = stack(dataset, dict(objective="ou", rho=0.9) if objective == "ou" else {})
        terms = made.network.terms
        calls = seen.setdefault(objective, [])

        def record(params, x, noise, smoothing, terms=terms, calls=calls):
            calls.append((x, noise, smoothing))
            return terms(params, x, noise, smoothing)

        made.network.terms = record
        made.train(2)
    for (x, noise, none), (same_x, same_noise, smoothing) in zip(seen["vae"], seen["ou"], strict=True):
        assert none is None and torch.equal(x, same_x)
        assert all(torch.equal(a, b) for a, b in zip(noise, same_noise, strict=True))
        assert [tuple(e.shape) for e in smoothing.noise] == [(1, 5, 64, 3), (1, 5, 64, 3)]
    drawn = [row for _, noise, s in seen["ou"] for e in (*noise[1:], *s.noise) for row in e[0]]
    assert len({float(row[0, 0]) for row in drawn}) == len(drawn)


# The variants: also the likelihood's input, also the inference maps.

SINGLE = LinearGaussian(a=1.2, gamma=0.5, b=(0.6,), s=(0.5,))


@pytest.mark.parametrize(
    ("rho", "samples", "printed"), [(0.8, 5, -1.625771), (0.9, 5, -1.723691), (0.5, 10, -1.347131)]
)
def test_a_single_layer_is_smoothed_at_the_output_if_asked(rho, samples, printed):
    """What z₁ adds to the image's mean, a²s² in the ELBO of −1.833131, becomes c₁ a²s²: the printed numbers, of which
    the last is above log p(x) = −1.681303."""
    fields = dict(rho=rho, smoothing_samples=samples, smooth_output="yes")
    stack = stack_of(SINGLE, objective="ou", **fields)
    cube = torch.tensor(list(product((-1.0, 1.0), repeat=1 + samples)), dtype=torch.float64)
    x = torch.full((1, 1, len(cube), 1), 1.3, dtype=torch.float64)
    smoothing = Smoothing(stack.objective.rho, [], output=cube[:, 1:].T.reshape(1, samples, -1, 1))
    terms = stack.network.terms(stack.params, x, [cube[:, :1].view(1, 1, -1, 1)], smoothing)
    assert stack.objective.value(terms, 0).item() == pytest.approx(printed, abs=1e-6)
    plain = stack.network.terms(stack.params, x, [cube[:, :1].view(1, 1, -1, 1)])
    assert stack.objective.value(plain, 0).item() == pytest.approx(-1.833131, abs=1e-6)
    assert SINGLE.log_p(1.3) == pytest.approx(-1.681303, abs=1e-6)


def test_without_it_a_single_layer_has_nothing_to_smooth():
    """`ou` is then `vae`; with it, it is not, but for ρ = 1; and a single layer has no inference map to smooth."""
    fields = dict(data="digits", latents="4", seed=0, objective="ou", rho=0.8)
    assert Cell(**fields).canonical().objective == "vae"
    smoothed = Cell(**fields, smooth_output="yes").canonical()
    assert smoothed.objective == "ou" and smoothed.rho == 0.8
    assert Cell(**fields | dict(rho=1.0), smooth_output="yes").canonical() == Cell("digits", "4", 0)
    assert Cell(**fields, smooth_output="yes", smooth_posterior="yes").canonical() == smoothed
    for said, meant in ((True, "yes"), (False, "no")):
        assert Cell(**fields, smooth_output=said).smooth_output == meant
    with pytest.raises(CellError, match=r"null_mlp has no p\(x\|z₁\) to smooth"):
        Cell(**fields | dict(latents="4-3", network="null_mlp"), smooth_output="yes")
    with pytest.raises(ValueError, match="no noise"):
        Smoothing(torch.ones(1, 1, 1, 1), []).samples(1, *[torch.zeros(1, 1, 1, 1)] * 3)


def test_the_smoothed_output_is_that_of_averaged_logits(dataset):
    """Against the formula written out; an average of probabilities would be another objective."""
    made = stack(dataset, dict(objective="ou", rho=0.4, smooth_output="yes", precision="float64"))
    x, noise, smoothing = made.minibatch(0), latent_noise(made), smoothing_of(made)
    terms = made.network.terms(made.params, x, noise, smoothing)
    plain = made.network.terms(made.params, x, noise)
    first = terms.layers[0]
    moved = perturb(first.z, first.q_mean, first.q_deviation, smoothing.rho, smoothing.output)
    logits = made.network._output(made.params, moved)
    expected = made.network.likelihood.log_prob(x, logits.mean(1, keepdim=True))
    torch.testing.assert_close(terms.log_px, expected, rtol=1e-10, atol=1e-10)
    averaged = logits.sigmoid().mean(1, keepdim=True).logit()
    assert (terms.log_px - made.network.likelihood.log_prob(x, averaged)).abs().max() > 1e-3
    assert (terms.log_px - plain.log_px).abs().min() > 1e-6
    assert torch.equal(first.log_q, plain.layers[0].log_q)


@pytest.mark.parametrize("smoothing", ["moments", "ratio"])
def test_smoothed_inference_maps_are_averages_over_samples_of_the_layer_below(dataset, smoothing):
    """q(z₁|x) stays; each map above it is averaged over z′ of the distribution that the sample below came from, with
    noise of its own, and log q is that of the sample from it."""
    made = stack(
        dataset, dict(objective="ou", rho=0.4, smooth_posterior="yes", smoothing=smoothing, precision="float64")
    )
    x, noise, by = made.minibatch(0), latent_noise(made), smoothing_of(made)
    terms, plain = (made.network.terms(made.params, x, noise, each) for each in (by, None))
    assert torch.equal(terms.layers[0].q_mean, plain.layers[0].q_mean)
    for i in (1, 2):
        below, here = terms.layers[i - 1], terms.layers[i]
        moved = perturb(below.z, below.q_mean, below.q_deviation, by.rho, by.upward[i - 1])
        means, deviations = made.network.inference[i].gaussian(made.params, moved)
        deviation = deviations.mean(1, keepdim=True)
        mean = (means / deviations).mean(1, keepdim=True) * deviation if smoothing == "ratio" else means.mean(1, True)
        torch.testing.assert_close(here.q_mean, mean, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(here.z, mean + deviation * noise[i], rtol=1e-10, atol=1e-10)
        expected = torch.distributions.Normal(mean, deviation).log_prob(here.z).sum(-1)
        torch.testing.assert_close(here.log_q, expected, rtol=1e-10, atol=1e-10)
        assert (here.q_mean - plain.layers[i].q_mean).abs().max() > 1e-3


def test_each_smoothed_map_has_a_stream_of_its_own(dataset):
    """What else is smoothed changes no map's noise, and no two maps share theirs."""
    alone = smoothing_of(stack(dataset, dict(objective="ou", rho=0.4)))
    both = smoothing_of(stack(dataset, dict(objective="ou", rho=0.4, smooth_output="yes", smooth_posterior="yes")))
    assert all(torch.equal(a, b) for a, b in zip(alone.noise, both.noise, strict=True))
    assert alone.output is None and alone.upward is None
    every = [*both.noise, both.output, *both.upward]
    assert [each.shape[-1] for each in every] == [3, 3, 4, 4, 3]
    assert len({float(each[0, 0, 0, 0]) for each in every}) == 5


def smoothing_of(made):
    """The smoothing of a stack's step 0."""
    return made.objective.smoothing(made.draws, 0, made.network.latents, made.batch_size)


def latent_noise(made):
    """Its noise of z."""
    shapes = [(1, made.batch_size, units) for units in made.network.latents]
    return [made.draws.normal(Purpose.LATENT, shape, 0, i) for i, shape in enumerate(shapes, start=1)]


def test_smoothing_goes_with_a_warm_up_and_with_free_bits(dataset):
    """`ou` beside a delayed warm-up and floors of each layer or unit: the value is the formula's, and it trains."""
    for group in ("layer", "unit"):
        fields = dict(objective="ou", rho=0.7, precision="float64", kl_delay_steps=2, kl_warmup_steps=4)
        plain = stack(dataset, fields)
        terms = plain.network.terms(plain.params, plain.minibatch(0), latent_noise(plain), smoothing_of(plain))
        of = {
            "layer": lambda layer: layer.term().mean().view(1),
            "unit": lambda layer: layer.unit_term().mean((1, 2))[0],
        }
        each = torch.cat([of[group](layer) for layer in terms.layers])
        floor = nine_digits((each.min() + each.max()).item() / 2)
        made = stack(dataset, fields | dict(free_bits=floor, free_bits_group=group))
        penalty = each.clamp_min(floor).sum()
        for step, weight in ((0, 0.0), (2, 0.0), (3, 0.25), (6, 1.0)):
            expected = terms.log_px.mean() - weight * penalty
            assert made.objective.value(terms, step).item() == pytest.approx(expected.item(), rel=1e-12)
        made.train(8)
        assert made.active.all()
