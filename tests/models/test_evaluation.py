"""Bounds, KL terms and active units on models whose values are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.draws.draws import Draws
from models.evaluation import evaluate as evaluation
from models.evaluation import which
from models.evaluation.accumulators import Accumulator
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.evaluation.which import chains_needed, image_blocks, weighed_images
from models.networks.network import Terms
from models.stack.stack import Stack
from tests.models.planted import THREE, TWO, LinearGaussian, plant, stack_of

X = 1.3
ONE_BLIND = LinearGaussian(a=0.0, gamma=0.9, b=(0.7,), s=(0.5,))  # x is not seen by p(x|z): nothing depends on noise


def evaluated(model, images, quick=True, **settings):
    """The row of a planted model."""
    return evaluate(stack_of(model, images), Evaluation(**settings), quick)[0]


def test_the_elbo_and_its_terms_are_the_closed_forms():
    """Within five standard errors or so: reconstruction, each layer's term, sums from the top, the ELBO itself."""
    row = evaluated(THREE, np.full((1000, 1), X), importance_samples=50)
    terms = THREE.terms(X)
    assert row["elbo"] == pytest.approx(THREE.objective(X), abs=5 * row["elbo_se"])
    assert row["elbo_se"] < 0.03
    assert row["reconstruction"] == pytest.approx(THREE.reconstruction(X), abs=0.02)
    assert row["kl_per_layer"] == pytest.approx(terms, abs=0.15)
    assert row["kl_cumulative"] == pytest.approx([sum(terms), sum(terms[1:]), terms[2]], abs=0.15)
    assert row["kl_top"] == row["kl_per_layer"][-1] == pytest.approx(sum(row["kl_top_per_unit"]), rel=1e-12)
    assert row["kl_total"] == pytest.approx(sum(row["kl_per_layer"]), rel=1e-12)
    assert row["elbo"] == pytest.approx(row["reconstruction"] - row["kl_total"], rel=1e-12)


# The importance-weighted bound.


@pytest.mark.parametrize("model", [TWO, THREE, LinearGaussian(1.2, 0.5, (0.6,), (0.4,))], ids=["two", "three", "one"])
@pytest.mark.parametrize("k", [1, 2, 100])
def test_with_the_exact_posterior_the_bound_is_log_p_for_every_k(model, k):
    """All weights are equal, image by image and chain by chain: no analytic KL or entropy hides in them."""
    images = np.array([[-2.0], [0.0], [0.4], [X], [5.0]])
    row = evaluated(model.exact(), images, importance_samples=k)
    assert row["iw_bound"] == pytest.approx(np.mean([model.log_p(float(x)) for x in images[:, 0]]), abs=1e-5)
    assert row["iw_samples"] == k and row["iw_images"] == 5
    if k > 1:
        assert row["iw_se_mc"] < 1e-5


def test_the_bound_rises_with_k_towards_log_p():
    """K = 1 is the ELBO, K = 100 −1.687 of −1.6857; an analytic KL would give −1.652, analytic entropies −1.467."""
    images = np.full((1000, 1), X)
    rows = {k: evaluated(TWO, images, importance_samples=k) for k in (1, 5, 100)}
    bounds = [rows[k]["iw_bound"] for k in (1, 5, 100)]
    assert bounds[0] == pytest.approx(TWO.objective(X), abs=5 * rows[1]["iw_se"])
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2] == pytest.approx(-1.687, abs=0.006)
    assert 4 * rows[100]["iw_se_mc"] < 0.0075 and 4 * rows[100]["iw_se"] < 0.0075


@pytest.mark.parametrize(
    ("k", "shift", "within"),
    [
        pytest.param(100, 1.0, 0.03, marks=pytest.mark.slow),  # less skewed than the next but one
        pytest.param(100, 1.5, 0.03, marks=pytest.mark.slow),
        (100, 2.0, 0.04),
        (15, 1.5, 0.05),
    ],
)
def test_the_monte_carlo_error_is_the_spread_of_independent_bounds(k, shift, within):
    """Of 10,000 equal images each has a bound of its own: over them `iw_se` is what chains leave open, and no more.

    q is the posterior, moved by `shift` of its standard deviations, so log w is normal with this standard deviation.
    By the delta method the error was 4, 11 and 23 % too small at K = 100 for shifts of 1, 1.5 and 2.
    """
    exact = LinearGaussian(1.2, 0.5, (0.6,), (0.4,)).exact()
    moved = replace(exact, b=(exact.b[0] + shift * exact.s[0] / X,))
    row = evaluated(moved, np.full((10_000, 1), X), importance_samples=k)
    assert row["iw_se_mc"] == pytest.approx(row["iw_se"], rel=within)


@pytest.mark.parametrize("model", [TWO, THREE], ids=["two", "three"])
def test_so_it_is_where_some_images_have_k_chains(model):
    """2,000 of 10,000 equal images: what varies there is the bound less its image's share in the ELBO of all."""
    settings = Evaluation(importance_samples=100, importance_images=2000)
    (row,) = evaluate(stack_of(model, np.full((10_000, 1), X)), settings)
    assert row["iw_images"] == 2000
    assert row["iw_se_mc"] == pytest.approx(row["iw_se"], rel=0.03)


def test_the_monte_carlo_error_is_the_spread_over_seeds():
    """`iw_se_mc` holds the images fixed: it is what another evaluation seed changes; `iw_se` is over images."""
    images = np.linspace(-3, 3, 20)[:, None]
    stack = stack_of(TWO, images)
    rows = [evaluate(stack, Evaluation(importance_samples=50, seed=seed), quick=True)[0] for seed in range(60)]
    spread = np.std([row["iw_bound"] for row in rows], ddof=1)
    assert np.mean([row["iw_se_mc"] for row in rows]) == pytest.approx(spread, rel=0.3)
    over_images = np.std([TWO.log_p(float(x)) for x in images[:, 0]], ddof=1) / 20**0.5
    assert rows[0]["iw_se"] == pytest.approx(over_images, rel=0.15)


# Sums over blocks.


def test_every_average_is_a_sum_over_images_and_chains(monkeypatch):
    """Blocks of 4 images and 3 chains, the last ones short, against one computation from all of their terms."""
    monkeypatch.setattr(which, "IMAGES", 4)
    monkeypatch.setattr(which, "CHAINS", 3)
    images, k = np.linspace(-4, 6, 10)[:, None], 7
    stack, seen = stack_of(TWO, images), {}
    terms = stack.network.terms

    def record(params, x, noise, smoothing=None, given=None):
        assert smoothing is None and given is None
        found = terms(params, x, noise)
        seen.setdefault(float(x[0, 0, 0, 0]), []).append(found)
        return found

    stack.network.terms = record
    row = evaluate(stack, Evaluation(importance_samples=k), quick=True)[0]
    assert [len(chains) for chains in seen.values()] == [3, 3, 3]

    def whole(pick):  # (chains, images)
        return torch.cat([torch.cat([pick(t)[0] for t in chains]) for chains in seen.values()], dim=1).detach()

    log_px = whole(lambda t: t.log_px)
    layers = [whole(lambda t, i=i: t.layers[i].term()) for i in range(2)]
    elbo = (log_px - sum(layers)).mean(0)
    assert log_px.shape == (7, 10)
    assert row["reconstruction"] == pytest.approx(log_px.mean().item(), rel=1e-12)
    assert row["kl_per_layer"] == pytest.approx([t.mean().item() for t in layers], rel=1e-12)
    assert row["elbo_se"] == pytest.approx((elbo.std() / 10**0.5).item(), rel=1e-12)
    assert row["kl_top_se"] == pytest.approx((layers[1].mean(0).std() / 10**0.5).item(), rel=1e-12)
    log_w = log_px + sum(whole(lambda t, i=i: t.layers[i].log_p - t.layers[i].log_q) for i in range(2))
    bound = log_w.logsumexp(0) - np.log(k)
    assert row["iw_bound"] == pytest.approx(bound.mean().item(), rel=1e-12)
    assert row["iw_se"] == pytest.approx((bound.std() / 10**0.5).item(), rel=1e-12)
    left = torch.stack([log_w[[j for j in range(7) if j != i]].logsumexp(0) for i in range(7)])
    jackknife = (left - left.mean(0)).square().sum(0) * 6 / 7
    assert row["iw_se_mc"] == pytest.approx(jackknife.sum().sqrt().item() / 10, rel=1e-9)
    mean, mean_squared = (whole(lambda t, p=p: t.layers[1].q_mean[..., 0] ** p) for p in (1, 2))
    noise = ((mean_squared.mean(0) - mean.mean(0) ** 2) * k / (k - 1)).mean().item()
    assert row["active_units"] is not None and row["activity_noise"][1][0] == pytest.approx(noise, rel=1e-9)
    variance = mean.mean(0).var().item() - noise / k
    assert row["activity_variance"][1][0] == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("block", [100, 7])
def test_a_short_last_block_weighs_by_its_images(monkeypatch, block):
    """237 images in blocks, where no number depends on noise: the plain means over images, not means of blocks."""
    monkeypatch.setattr(which, "IMAGES", block)
    images = np.linspace(-3, 5, 237)[:, None]
    row = evaluated(ONE_BLIND, images, importance_samples=3)
    x = images.astype(np.float32).astype(float)[:, 0]
    kl = 0.5 * (0.49 * x**2 + 0.25 - 1 - np.log(0.25))
    log_px = -0.5 * np.log(2 * np.pi * 0.81) - x**2 / (2 * 0.81)
    assert row["kl_top"] == pytest.approx(kl.mean(), rel=1e-7)
    assert row["elbo"] == pytest.approx((log_px - kl).mean(), rel=1e-7)
    assert row["elbo_se"] == pytest.approx((log_px - kl).std(ddof=1) / 237**0.5, rel=1e-7)
    assert row["activity_variance"][0][0] == pytest.approx(0.49 * x.var(ddof=1), rel=1e-7)


def test_the_bound_may_take_some_of_the_images_and_the_rest_takes_all(monkeypatch):
    """Three of five blocks have the K chains of the bound, the others as many as active units need: sums by hand."""
    monkeypatch.setattr(which, "IMAGES", 4)
    monkeypatch.setattr(which, "CHAINS", 3)
    monkeypatch.setattr(which, "chains_needed", lambda images: 5)
    images, k = np.linspace(-4, 6, 18)[:, None], 7
    stack, seen = stack_of(TWO, images), {}
    terms = stack.network.terms

    def record(params, x, *rest):
        found = terms(params, x, *rest)
        seen.setdefault(float(x[0, 0, 0, 0]), []).append(found)
        return found

    stack.network.terms = record
    row = evaluate(stack, Evaluation(importance_samples=k, importance_images=10))[0]
    stack.network.terms = terms
    weighed = weighed_images(18, 10)
    assert weighed.tolist() == [True] * 4 + [False] * 4 + [True] * 4 + [False] * 4 + [True] * 2
    assert [sum(t.log_px.shape[1] for t in chains) for chains in seen.values()] == [7, 5, 7, 5, 7]

    def each(pick):  # a tensor of (chains,) an image
        blocks = (torch.cat([pick(t)[0] for t in chains]).detach() for chains in seen.values())
        return [image for block in blocks for image in block.unbind(1)]

    log_px, *layers = (torch.stack([c.mean() for c in each(p)]) for p in
                       (lambda t: t.log_px, lambda t: t.layers[0].term(), lambda t: t.layers[1].term()))  # fmt: skip
    elbo = log_px - sum(layers)
    assert row["images"] == 18 and row["activity_passes"] == 5
    assert row["reconstruction"] == pytest.approx(log_px.mean().item(), rel=1e-12)
    assert row["kl_per_layer"] == pytest.approx([t.mean().item() for t in layers], rel=1e-12)
    assert row["kl_top"] == pytest.approx(sum(row["kl_top_per_unit"]), rel=1e-12)
    assert row["elbo_se"] == pytest.approx((elbo.std() / 18**0.5).item(), rel=1e-12)
    log_w = each(lambda t: t.log_px + sum(layer.log_p - layer.log_q for layer in t.layers))
    bound, some = torch.stack([w.logsumexp(0) - np.log(k) for w in log_w]), torch.tensor(weighed)
    assert row["iw_images"] == some.sum() == 10
    assert row["iw_bound"] == pytest.approx((elbo.mean() + (bound - elbo)[some].mean()).item(), rel=1e-12)
    own = (bound - elbo + 10 / 18 * elbo)[some].var() / 10 + 8 / 18**2 * elbo[~some].var()
    assert row["iw_se"] == pytest.approx(own.sqrt().item(), rel=1e-9)
    noise = torch.stack([c.var() / len(c) for c in each(lambda t: t.log_px - sum(la.term() for la in t.layers))])
    elbos = each(lambda t: t.log_px - sum(la.term() for la in t.layers))

    def varies(w, e):  # with an image's chains, of the mean over all 18
        return w.logsumexp(0) / 10 - (1 / 10 - 1 / 18) * e.mean()

    jackknife = []
    for w, e in zip(log_w, elbos, strict=True):
        keep = [[j for j in range(len(w)) if j != i] for i in range(len(w))]
        left = torch.stack([varies(w[others], e[others]) for others in keep])
        jackknife.append((left - left.mean()).square().sum() * (len(w) - 1) / len(w))
    error = torch.stack(jackknife)[some].sum() + noise[~some].sum() / 18**2
    assert row["iw_se_mc"] == pytest.approx(error.sqrt().item(), rel=1e-9)
    means = each(lambda t: t.layers[1].q_mean[..., 0])
    variance = torch.stack([m.mean() for m in means]).var() - np.mean([m.var().item() / len(m) for m in means])
    assert row["activity_variance"][1][0] == pytest.approx(variance.item(), rel=1e-9)
    assert row["activity_noise"][1][0] == pytest.approx(np.mean([m.var().item() for m in means]), rel=1e-9)


def test_k_chains_on_some_images_tell_the_bound_on_all():
    """300 of 1,000 images; the posterior is exact: over 30 seeds log p of all, no less certain than from all of them.

    The images lie in order, so those with K chains have another log p than all.
    """
    images = np.linspace(-3, 3, 1000)[:, None]
    stack, settings = stack_of(TWO.exact(), images), Evaluation(importance_samples=20)
    rows = [evaluate(stack, replace(settings, importance_images=300, seed=seed))[0] for seed in range(30)]
    log_p = np.array([TWO.log_p(float(x)) for x in images[:, 0]])
    found = np.array([row["iw_bound"] for row in rows])
    spread = found.std(ddof=1)
    assert found.mean() == pytest.approx(log_p.mean(), abs=4 * spread / 30**0.5)
    assert 0.75 * spread < np.mean([row["iw_se_mc"] for row in rows]) < 1.4 * spread
    assert abs(log_p[weighed_images(1000, 300)].mean() - log_p.mean()) > 5 * spread
    assert rows[0]["iw_images"] == 300 and rows[0]["images"] == 1000
    assert rows[0]["iw_se"] == pytest.approx(evaluate(stack, settings)[0]["iw_se"], rel=0.1)


@pytest.mark.parametrize(
    ("images", "wanted", "expected"),
    [(10_000, 4_000, 4_000), (8_115, 4_000, 4_000), (10_000, 0, 10_000), (10_000, 1, 100), (300, 4_000, 300)],
)
def test_the_images_of_the_bound_are_spread_over_all(images, wanted, expected):
    """As many as asked for, in whole blocks, and every tenth of the split has its share of them, but for a block."""
    weighed = weighed_images(images, wanted)
    assert len(weighed) == images and weighed.sum() == expected
    for part in np.array_split(weighed, 10):
        assert abs(part.sum() - len(part) * weighed.mean()) <= 200


def test_a_bound_on_some_images_is_another_evaluation_and_one_on_all_the_old_one():
    """Stores that know nothing of the field keep their ids."""
    assert Evaluation().id() == "143ff6bf" and Evaluation(images=2000).id() == "6e9f09c9"
    some = Evaluation(importance_images=4000)
    assert some.on(10_000) == some and some.id() not in (Evaluation().id(), Evaluation(importance_images=3000).id())
    assert some.on(4_000) == some.on(300) == Evaluation()
    assert replace(some, importance_images=3901).on(10_000) == some  # whole blocks
    assert some.accepted() == {some.id(), "143ff6bf"} and Evaluation().accepted() == {"143ff6bf"}
    assert replace(some, images=4000).on(10_000) == Evaluation(images=4000)
    assert replace(some, images=5000).on(4500) == replace(some, images=5000)


def test_images_spread_over_the_split_are_another_evaluation_unless_they_are_all():
    """The first ones keep the id they had before there was a choice, and so does every setting without effect."""
    first, spread = Evaluation(images=2000), Evaluation(images=2000, image_choice="spread")
    assert first.image_choice == "first" and first.id() == "6e9f09c9" != spread.id()
    assert spread.on(10_000) == spread and spread.accepted() == {spread.id()}
    assert spread.on(2000) == first == replace(first, image_choice="first")
    assert replace(spread, images=0).on(10_000) == Evaluation() and spread.on(300).id() == "6e9f09c9"


# One accumulator per metric.


def without_top_kl(stack):
    """The stack's network says that no analytic KL is the expectation at its top layer. What it says is kept."""
    terms, seen = stack.network.terms, []

    def sampled(params, x, *rest):
        found = terms(params, x, *rest)
        seen.append(Terms(found.log_px, (*found.layers[:-1], replace(found.layers[-1], kl=None))))
        return seen[-1]

    stack.network.terms = sampled
    return seen


@pytest.mark.parametrize("model", [THREE, LinearGaussian(1.2, 0.5, (0.6,), (0.4,))], ids=["three", "one"])
def test_a_top_layer_without_an_analytic_kl_has_its_sampled_term(model):
    """Its mean log q − log p over chains and images takes the KL's place everywhere; unit by unit nothing is known."""
    images, settings = np.full((500, 1), X), dict(importance_samples=20)
    analytic = evaluated(model, images, **settings)
    stack = stack_of(model, images)
    seen = without_top_kl(stack)
    row = evaluate(stack, Evaluation(**settings), quick=True)[0]
    top = torch.cat([t.layers[-1].log_q - t.layers[-1].log_p for t in seen], dim=1)[0]  # 5 × 2 blocks of 10 × 100
    assert top.shape == (10 * 10, 100)
    per_image = top.view(5, 20, 100).mean(1).flatten()
    assert row["kl_top"] == row["kl_per_layer"][-1] == pytest.approx(top.mean().item(), rel=1e-12)
    assert row["kl_top_se"] == pytest.approx(per_image.std().item() / 500**0.5, rel=1e-9)
    assert row["kl_top"] == pytest.approx(model.terms(X)[-1], abs=5 * row["kl_top_se"])
    assert row["elbo"] == pytest.approx(row["reconstruction"] - sum(row["kl_per_layer"]), rel=1e-12)
    assert row["kl_top_per_unit"] is None and analytic["kl_top_per_unit"] == pytest.approx([analytic["kl_top"]])
    changed = {"elbo", "elbo_se", "kl_total", "kl_per_layer", "kl_cumulative", "kl_top", "kl_top_se", "kl_top_per_unit"}
    assert list(row) == list(analytic)
    assert {name for name in row if row[name] != analytic[name]} == changed  # the bound's terms were sampled before


def test_a_further_metric_is_a_further_accumulator(monkeypatch):
    """One that counts what it is given, image by image: its columns come last, and the others stay as they are.

    250 images in three blocks, of which two have the 12 chains of the bound, and the other the 4 of active units.
    """

    class Counts(Accumulator):
        def __init__(self, sizes):
            self.seen = {kind: sizes.zeros(sizes.images) for kind in ("all", "averaged", "weighed", "again")}
            self.ended, self.units = [], sizes.latents

        def add(self, block):
            assert [layer.z.shape[-1] for layer in block.terms.layers] == list(self.units)
            assert block.elbo.shape == block.log_weight.shape == (2, len(block.chains), block.images.count)
            assert block.images.first not in self.ended
            here = block.images.here
            self.seen["again" if block.again else "all"][:, here] += len(block.chains)
            self.seen["averaged"][:, here] += block.averaged * len(block.chains)
            self.seen["weighed"][:, here] += block.weighed * len(block.chains)

        def end_of_images(self, images):
            self.ended.append(images.first)

        def row(self, cell):
            return {f"count_{kind}": each[cell].tolist() for kind, each in self.seen.items()} | {"ended": self.ended}

    stack = Stack([cell(seed=seed) for seed in (0, 1)], grey(16, test=np.full((250, 6), 8, np.uint8)))
    monkeypatch.setattr(which, "chains_needed", lambda images: 4)
    settings, usual = Evaluation(importance_samples=12, importance_images=200), evaluation.accumulators_of
    before = evaluate(stack, settings)
    monkeypatch.setattr(evaluation, "accumulators_of", lambda sizes, *rest: [*usual(sizes, *rest), Counts(sizes)])
    for row, old in zip(evaluate(stack, settings), before, strict=True):
        weighed = np.repeat([True, False, True], 100)[:250]
        assert weighed.tolist() == weighed_images(250, 200).tolist()
        assert row.pop("ended") == [0, 100, 200] and row.pop("count_again") == [1] * 250
        assert row.pop("count_all") == row.pop("count_averaged") == np.where(weighed, 12, 4).tolist()
        assert row.pop("count_weighed") == np.where(weighed, 12, 0).tolist()
        assert list(row.items()) == list(old.items())


def test_chains_that_only_the_activities_need_enter_no_average():
    """K = 3 on 400 images, whose units need 29 chains; a quick evaluation has the three."""
    (*_, full), (*_, quick) = (image_blocks(400, Evaluation(importance_samples=3), quick) for quick in (False, True))
    assert (full.first, full.count, full.chains, full.averaged, full.weighed) == (300, 100, chains_needed(400), 3, True)
    assert [(c.start, c.stop) for c in full.chain_blocks()] == [(0, 3), (3, 13), (13, 23), (23, 29)]
    assert [(c.start, c.stop) for c in quick.chain_blocks()] == [(0, 3)]


# Which images, which draws, which weights.


@pytest.mark.parametrize(("images", "wanted"), [(10_000, 2000), (8_115, 2000), (8_115, 400), (7, 3), (5, 5)])
def test_one_image_of_each_equal_part_is_taken(images, wanted):
    places = which.spread(images, wanted)
    edges = np.arange(wanted + 1) * images // wanted
    assert (edges[:-1] <= places).all() and (places < edges[1:]).all()
    assert np.array_equal(places, which.spread(images, wanted))


def test_images_spread_over_the_split_are_like_all_of_it_where_the_first_are_not():
    """MNIST's test images, whose first half was chosen otherwise than the second, have the ink of the whole."""
    split = np.r_[np.full(5000, 1.0), np.full(5000, 2.0)] + np.tile([0, 0.5], 5000)  # and every second is another
    stack = stack_of(ONE_BLIND, split[:, None])
    wanted = 0.5 * 0.49 * np.mean(split**2) + 0.5 * (0.25 - 1 - np.log(0.25))
    found = {
        choice: evaluate(stack, Evaluation(importance_samples=2, images=1000, image_choice=choice), quick=True)[0]
        for choice in ("spread", "first")
    }
    assert {choice: row["image_choice"] for choice, row in found.items()} == {"spread": "spread", "first": "first"}
    assert found["spread"]["kl_top"] == pytest.approx(wanted, rel=0.02)
    assert found["first"]["kl_top"] < 0.7 * wanted
    assert evaluate(stack, Evaluation(importance_samples=2, images=10_000), quick=True)[0]["image_choice"] == "all"


def blind(levels, images, **fields):
    """A Bernoulli cell whose ELBO is linear in the pixels: nothing enters q, and the logits are known."""
    stack = Stack([cell(latents="2", **fields)], grey(levels, test=images))
    with torch.no_grad():
        for name, tensor in stack.params.items():
            if name.endswith("weight") or name.startswith("inference"):
                tensor.zero_()
        stack.params["generative.1.mean.bias"].copy_(torch.tensor([[-2.0, -1.0, 0.0, 0.5, 1.5, 3.0]]))
    return stack


def test_the_error_of_one_binarisation_is_the_bernoulli_variance_where_the_elbo_is_linear():
    """Var = Σ_pixels p (1 − p) logit², image by image; the chains, which change nothing, are as many as you like."""
    images = np.random.default_rng(1).integers(0, 17, (2000, 6)).astype(np.uint8)
    stack = blind(16, images)
    row = evaluate(stack, Evaluation(importance_samples=5))[0]
    p, logits = images / 16.0, stack.params["generative.1.mean.bias"][0].detach().numpy()
    exact = (p * (1 - p) * logits**2).sum() ** 0.5 / 2000
    assert row["elbo_se_binarisation"] == pytest.approx(exact, rel=0.05)
    assert row["elbo_se_binarisation"] < row["elbo_se"]


def test_it_is_what_another_binarisation_changes_and_not_what_other_chains_do():
    """Over 80 evaluation seeds the ELBO of a trained cell scatters by it and the chains' noise; few of the latter."""
    stack = Stack([cell(objective="ou", rho=0.8)], grey(16))
    stack.train(200)
    rows = [evaluate(stack, Evaluation(importance_samples=20, seed=seed))[0] for seed in range(80)]
    spread = np.std([row["elbo"] for row in rows], ddof=1)
    told = np.mean([row["elbo_se_binarisation"] ** 2 for row in rows]) ** 0.5
    assert told == pytest.approx(spread, rel=0.2)


def test_nothing_is_said_of_a_binarisation_that_does_not_take_place():
    assert evaluate(Stack([cell()], grey(1)), Evaluation(importance_samples=2))[0]["elbo_se_binarisation"] is None
    row = evaluate(Stack([cell()], grey(16)), Evaluation(importance_samples=1))[0]
    assert row["elbo_se_binarisation"] is None  # of one chain the noise cannot be told
    assert evaluated(TWO, np.zeros((5, 1)), importance_samples=5)["elbo_se_binarisation"] is None


def grey(levels, **others):
    """A data set of 6 pixels with its own splits."""
    rng = np.random.default_rng(0)
    images = {s: rng.integers(0, levels + 1, (n, 6)).astype(np.uint8) for s, n in
              (("train", 64), ("validation", 30), ("test", 40))}  # fmt: skip
    return Dataset("grey", **(images | others), levels=levels, shape=ImageShape(1, 2, 3))


def cell(**fields):
    """A small Bernoulli cell."""
    return Cell(**(dict(data="digits", latents="3-2", hidden="7", seed=0, batch_size=16) | fields))


def test_the_split_and_the_number_of_images_are_those_asked_for():
    """`images` counts from the split's start; 0 takes all; the row says which."""
    stack = stack_of(ONE_BLIND)
    splits = {s: np.full((n, 1), x, np.float32) for s, n, x in (("train", 9, 0), ("validation", 8, 1), ("test", 7, 2))}
    splits["test"][5:] = 3.0
    stack.dataset = Dataset("planted", **splits, levels=0, shape=ImageShape(1, 1, 1))
    mean_square = {("validation", 0): 1.0, ("test", 5): 4.0, ("test", 0): (5 * 4 + 2 * 9) / 7}
    for (split, images), expected in mean_square.items():
        row = evaluate(stack, Evaluation(importance_samples=2, split=split, images=images), quick=True)[0]
        assert row["split"] == split and row["images"] == (images or len(splits[split]))
        constant = 0.5 * (0.25 - 1 - np.log(0.25))
        assert row["kl_top"] == pytest.approx(0.5 * 0.49 * expected + constant, rel=1e-7)


def test_training_never_sees_validation_or_test_images():
    """Other images in those splits change nothing in a trained stack, bit for bit; other training images do."""
    datasets = [grey(16), grey(16, test=np.zeros((5, 6), np.uint8), validation=np.full((5, 6), 16, np.uint8))]
    datasets.append(grey(16, train=np.full((64, 6), 3, np.uint8)))
    stacks = [Stack([cell(objective="ou", rho=0.8)], d) for d in datasets]
    for stack in stacks:
        stack.train(6)
    one, same, other = (stack.tensors() for stack in stacks)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if name.startswith("param/"))


def test_binary_images_need_no_draws(monkeypatch):
    """Static images are taken as they are, in training and evaluation; grey ones are binarised from a draw."""
    static, dynamic = (Stack([cell()], grey(levels)) for levels in (1, 16))

    def refuse(*args, **kwargs):
        raise AssertionError("a uniform number was drawn")

    monkeypatch.setattr(Draws, "uniform", refuse)
    static.train(2)
    x = static.minibatch(2)
    train = static.dataset.train[static.draws.batch(2, 64, 16)[0]]
    assert np.array_equal(x[0, 0].numpy(), train)
    evaluate(static, Evaluation(importance_samples=2))
    with pytest.raises(AssertionError, match="uniform"):
        evaluate(dynamic, Evaluation(importance_samples=2))
    with pytest.raises(AssertionError, match="uniform"):
        dynamic.train(1)


def test_grey_values_are_probabilities():
    """A pixel of 4 of 16 is on a quarter of the time; 0 never and 16 always; anew each step, once in evaluation."""
    train = np.tile(np.array([0, 4, 16, 8, 12, 1], np.uint8), (2000, 1))
    stack = Stack([cell(batch_size=2000)], grey(16, train=train, test=train))
    batches = torch.cat([stack.minibatch(step) for step in range(5)])
    assert set(batches.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(batches.mean((0, 1, 2)), torch.tensor(train[0] / 16.0).float(), atol=0.02, rtol=0)
    assert batches.mean((0, 1, 2))[[0, 2]].tolist() == [0.0, 1.0]
    assert not torch.equal(batches[0], batches[1])

    def pixels(seed):
        seen, terms = [], stack.network.terms
        stack.network.terms = lambda *args: seen.append(args[1]) or terms(*args)
        evaluate(stack, Evaluation(importance_samples=2, images=100, seed=seed), quick=True)
        stack.network.terms = terms
        return seen[0]

    assert torch.equal(pixels(0), pixels(0)) and not torch.equal(pixels(0), pixels(1))
    torch.testing.assert_close(pixels(0).mean((0, 1, 2)), torch.tensor(train[0] / 16.0).float(), atol=0.2, rtol=0)


def test_evaluation_never_smooths_and_changes_nothing():
    """The same weights evaluate alike under `ou`, with KL weight and free bits, as under `vae`; the stack stays."""
    plain = Stack([cell()], grey(16))
    smooth = Stack([cell(objective="ou", rho=0.5, kl_weight=0.1, free_bits=2.0)], grey(16))
    plain.train(3)
    smooth.load({name: t.clone() for name, t in plain.tensors().items()}, 3)
    before = {name: t.clone() for name, t in smooth.tensors().items()}
    settings = Evaluation(importance_samples=5)
    assert evaluate(plain, settings) == evaluate(smooth, settings)
    assert smooth.step == 3 and all(torch.equal(before[name], t) for name, t in smooth.tensors().items())


# Active units.


def planted_units():
    """x → z₁ → z₂, three units each. Layer 2: one strongly about x, one weakly, one all noise from layer 1.

    V = v² b² Var(x) and W = v² s² of a layer-2 unit; images have exactly Var(x) = 1 in each feature.
    """
    x = np.random.default_rng(5).normal(size=(400, 3))
    x = (x - x.mean(0)) / x.std(0, ddof=1)
    stack = stack_of(replace(TWO, s=(0.5, 0.5)), x, units=3)
    plant(stack, "inference.1", torch.diag(torch.tensor([1.0, 0.3, 0.0])), [0.5, 0.5, 1.0])
    plant(stack, "inference.2", torch.diag(torch.tensor([0.8, 0.6, 0.6])), [0.5, 0.5, 0.5])
    return stack


def test_one_pass_calls_dead_units_alive_and_whole_chains_do_not():
    """Two units of layer 2 are about x; the third only repeats layer 1's noise, and one pass cannot tell."""
    row = evaluate(planted_units(), Evaluation(importance_samples=2))[0]
    assert row["active_units"] == [2, 2]
    assert row["active_units_one_pass"] == [2, 3]
    assert row["relative_activity"] == pytest.approx([2 / 3, 2 / 3])
    assert row["activity_passes"] == chains_needed(400) > 2


def test_signal_and_noise_of_each_unit_are_the_planted_ones():
    """V and W within their sampling errors; layer 1 has no noise at all; V + W ≤ 2 KL in the top layer."""
    row = evaluate(planted_units(), Evaluation(importance_samples=2))[0]
    assert row["activity_variance"][0] == pytest.approx([1.0, 0.09, 0.0], rel=1e-6)
    assert row["activity_noise"][0] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    v, w = row["activity_variance"][1], row["activity_noise"][1]
    assert v == pytest.approx([0.64, 0.0324, 0.0], abs=0.025) and abs(v[2]) < 4 * 0.36 * 0.0025
    assert v[1] == pytest.approx(0.0324, abs=0.005)
    assert w == pytest.approx([0.16, 0.09, 0.36], rel=0.07)
    assert all(a + b <= 2 * kl for a, b, kl in zip(v, w, row["kl_top_per_unit"], strict=True))


def test_the_estimate_of_v_is_unbiased_for_few_chains():
    """Over 100 evaluation seeds with R = 3: the dead unit's V̂ averages 0, not W/R = 0.12; its spread is known, too."""
    stack = planted_units()
    found = np.array([
        evaluate(stack, Evaluation(importance_samples=3, seed=seed), quick=True)[0]["activity_variance"][1]
        for seed in range(100)
    ])  # fmt: skip
    spread = 0.36 * (2 / (3 * 2 * 400)) ** 0.5
    assert found[:, 2].mean() == pytest.approx(0.0, abs=4 * spread / 10)
    assert found[:, 2].std(ddof=1) == pytest.approx(spread, rel=0.3)
    assert found[:, 0].mean() == pytest.approx(0.64, abs=0.01)


def test_a_quick_evaluation_of_one_chain_claims_no_active_units():
    """One chain cannot tell signal from noise: only the one-pass count is given."""
    row = evaluate(planted_units(), Evaluation(importance_samples=1), quick=True)[0]
    assert row["active_units"] is None and row["relative_activity"] is None and row["activity_passes"] == 1
    assert row["active_units_one_pass"] == [2, 3]


@pytest.mark.parametrize("images", [1, 10, 300, 400, 10_000, 10**7])
def test_chains_are_as_many_as_the_standard_error_asks(images):
    """W √(2/(R(R−1)N)) ≤ 0.0025 at W = 1, and one chain fewer would not do."""

    def error(r):
        return (2 / (r * (r - 1) * images)) ** 0.5

    needed = chains_needed(images)
    assert error(needed) <= 0.0025 * (1 + 1e-12)
    assert needed == 2 or error(needed - 1) > 0.0025
