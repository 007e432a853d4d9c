"""The LSTM network: against torch's own LSTM, and what is known of it whatever its weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.cell import Cell, CellError, find
from models.cell.sequence_shape import SequenceShape
from models.data.dataset import SPLITS
from models.data.sequences import Sequences, scored, sequences
from models.draws.draws import Purpose
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.kernels import plain
from models.kernels.recurrent import lstm
from models.likelihoods import categorical
from models.stack.stack import Stack
from models.trained import TrainedModel

VARIANTS = [{}, {"initial_state": "hidden", "skip": "all"}, {"output_bias": "none"}]
WIDE = {"initial_range": 1.0}  # so that everything matters


def cell(latents: str = "2", seed: int = 0, **more: object) -> Cell:
    given = {
        "data": "synthetic_text", "network": "lstm", "likelihood": "categorical", "hidden": "6", "embedding": 5,
        "batch_size": 10, "precision": "float64",
    }  # fmt: skip
    return Cell(latents=latents, seed=seed, **given | more)


def every_sequence(symbols: int, length: int) -> Sequences:
    """All that end within so many symbols, and all beginnings of so many that do not; as one data set's three splits
    can be had only with an end, the rows are given one place more and cut where they are used."""
    made = [each for n in range(1, length + 1) for each in itertools.product("abcde"[:symbols], repeat=n)]
    return sequences("every", {split: made for split in SPLITS}, "abcde"[:symbols], length)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("length", [1, 3, 5])
def test_probabilities_of_all_sequences_sum_to_one(variant, length, monkeypatch):
    """Over all that end within L symbols and all beginnings of L symbols without an end; not without the end's own
    probability: it is scored, and once."""
    data = every_sequence(2, length)
    stack = Stack([cell(**variant, **WIDE)], data)
    rows = torch.tensor([[0] * (length + 1), *data.train.tolist()])[:, :length]  # the last place is the end's alone
    z = torch.randn(1, 1, 1, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def total() -> float:
        log_px = stack.network._log_px(stack.params, rows[None], z.expand(1, 1, len(rows), 2), None)
        return float(log_px.detach().exp().sum())

    assert total() == pytest.approx(1.0, abs=1e-12)
    monkeypatch.setattr(categorical, "scored", lambda x: x != 0)
    assert total() > 1.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_encoder_and_decoder_are_torchs_lstm(variant, sentences):
    """log p(x|z) and q(z|x) of sentences of several lengths, each by itself in torch's own LSTM, without padding."""
    stack = Stack([cell(**variant, **WIDE)], sentences)
    params = {name: param[0].detach() for name, param in stack.params.items()}
    z = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.tensor(sentences.train[:8])
    x, noise = rows.double()[None, None], [torch.zeros(1, 2, 8, 2, dtype=torch.float64)]
    given = [(z.view(1, 2, 1, 2).expand(-1, -1, 8, -1), torch.ones(1, 1, 1, 1, dtype=torch.float64))]
    with torch.no_grad():
        log_px = stack.network.terms(stack.params, x, noise, given=given).log_px[0]
        q = stack.network.terms(stack.params, x, noise).layers[0]
    for place, row in enumerate(rows.tolist()):
        symbols = row[: row.index(0)]
        read = params["inference.embedding"][[len(sentences.symbols) + 1, *symbols, 0]]
        state = torchs(params, "inference", params["inference.lstm.input"], read, None)[-1]
        mean, raw = (state @ params[f"inference.{head}.weight"] + params.get(f"inference.{head}.bias", 0.0)
                     for head in ("mean", "deviation"))  # fmt: skip
        torch.testing.assert_close(q.q_mean[0, 0, place], mean)
        torch.testing.assert_close(q.q_deviation[0, 0, place], plain.sigma(raw))
        for sample, each in enumerate(z):
            weight = torch.cat([params["generative.lstm.input"], params["generative.lstm.latent"]])
            read = torch.cat([params["generative.embedding"][[0, *symbols]], each.expand(len(symbols) + 1, -1)], -1)
            first = each @ params["generative.initial.weight"]
            begun = (first.tanh(), first)
            if "initial_state" in variant:
                first = first + params["generative.initial.bias"]
                begun = (first, torch.zeros_like(first))
            states = torchs(params, "generative", weight, read, begun)
            logits = states @ params["generative.output.weight"] + params.get("generative.output.bias", 0.0)
            for name in ("generative.output", "inference.mean", "inference.deviation"):
                assert (f"{name}.bias" in params) == ("output_bias" not in variant)
            if "skip" in variant:
                logits = logits + each @ params["generative.output.skip"]
            log_p = logits.log_softmax(-1)[range(len(symbols) + 1), [*symbols, 0]].sum()
            torch.testing.assert_close(log_px[sample, place], log_p)


def torchs(params: dict[str, Tensor], group: str, weight: Tensor, read: Tensor, begun: tuple | None) -> Tensor:
    """States of `nn.LSTM` with these weights, (steps, H); its gates are i, f, g, o."""
    made = nn.LSTM(len(weight), 6, dtype=torch.float64)
    order = [*range(12), *range(18, 24), *range(12, 18)]
    with torch.no_grad():
        made.weight_ih_l0.copy_(weight.T[order])
        made.weight_hh_l0.copy_(params[f"{group}.lstm.recurrent"].T[order])
        made.bias_ih_l0.copy_(params[f"{group}.lstm.bias"][order])
        made.bias_hh_l0.zero_()
        return made(read, None if begun is None else tuple(each[None] for each in begun))[0]


def test_the_recurrence_has_the_gradients_of_its_plain_twin():
    """First and second, with a state before the first step and without."""
    draws = torch.Generator().manual_seed(0)
    shapes = (2, 2, 3, 4), (2, 1, 4), (2, 2, 1), (2, 2, 1)
    args = [torch.randn(shape, generator=draws, dtype=torch.float64, requires_grad=True) for shape in shapes]
    for some in (args, args[:2]):
        torch.testing.assert_close(lstm(*some), plain.lstm(*some))
        assert torch.autograd.gradcheck(lstm, some)
        assert torch.autograd.gradgradcheck(lstm, some, fast_mode=True)


def test_the_compiled_recurrence_is_the_plain_one():
    """In float32, where a compiler is: states and all gradients, of rows of any length."""
    draws = torch.Generator().manual_seed(0)
    for units in (3, 16, 25):
        shapes = (2, 5, 6, 4 * units), (2, units, 4 * units), (2, 5, units), (2, 5, units)
        args = [torch.randn(shape, generator=draws, requires_grad=True) for shape in shapes]
        for some in (args, args[:2]):
            weights = torch.randn(2, 5, 6, units, generator=draws)
            found, expected = (made(*some) for made in (lstm, plain.lstm))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
            of_found, of_expected = (torch.autograd.grad((each * weights).sum(), some) for each in (found, expected))
            torch.testing.assert_close(of_found, of_expected, rtol=1e-4, atol=1e-4)


def test_a_logit_sees_the_symbols_before_it_alone_and_q_sees_all(sentences):
    """Another symbol at t leaves the logits up to t as they are, to the last bit, and moves all later ones; it moves q,
    wherever it is."""
    stack = Stack([cell(**WIDE)], sentences)
    row = torch.tensor([[[1, 2, 3, 4, 5, 1, 0]]])
    z = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        before = stack.network._output(stack.params, row, z).view(7, 6)
        q = stack.network._encoded(stack.params, row)[0]
        for place in range(6):
            other = row.clone()
            other[..., place] = row[..., place] % 5 + 1
            after = stack.network._output(stack.params, other, z).view(7, 6)
            assert torch.equal(after[: place + 1], before[: place + 1])
            assert (after[place + 1 :] != before[place + 1 :]).all()
            assert (stack.network._encoded(stack.params, other)[0] != q).all()


def test_padding_changes_nothing(sentences):
    """Whatever stands behind the end: terms and gradients are the same to the last bit."""
    stack = Stack([cell(**WIDE, seed=seed) for seed in range(2)], sentences)
    rows = torch.tensor(sentences.train[:10]).double()
    strange = rows.clone()
    for row in strange:
        first = int((row == 0).nonzero()[0])
        row[first + 1 :] = torch.arange(first + 1, 7) % 5 + 1
    assert (strange != rows).any()
    noise = [torch.randn(2, 1, 10, 2, dtype=torch.float64)]
    found = []
    for x in (rows, strange):
        terms = stack.network.terms(stack.params, x.expand(2, 1, -1, -1), noise, **stack.masks(0))
        value = stack.objective.value(terms, 0)
        found.append((terms.log_px, terms.layers[0].z, stack.block.differentiate(-value.sum()).clone()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_dropout_is_addressed_and_in_training_alone(sentences):
    """Masks of two steps, and of two inner updates of a step, differ; of one they are the same; a kept number is
    doubled. The terms that evaluation sees have none."""
    cells = [cell(seed=0, kl_weight=0.5), cell(seed=1), cell(seed=0)]
    stack = Stack(cells, sentences)
    first, again, other, inner = (stack.masks(*at)["dropout"] for at in ((0,), (0,), (1,), (0, 1)))
    for name, shape in (("inputs", (3, 10, 7, 5)), ("outputs", (3, 10, 7, 6))):
        mask = getattr(first, name)
        assert mask.shape == shape and set(mask.flatten().tolist()) == {0.0, 2.0}
        assert abs(float(mask.mean()) - 1) < 0.15
        assert torch.equal(mask, getattr(again, name)) and torch.equal(mask[0], mask[2])
        assert not any(
            torch.equal(mask[0], each) for each in (mask[1], getattr(other, name)[0], getattr(inner, name)[0])
        )
    assert Stack([cell(dropout=0.0)], sentences).masks(0) == {}
    assert (Purpose.DROPOUT_INPUT.value, Purpose.DROPOUT_OUTPUT.value) == (100, 101)


def test_weights_start_as_published_and_the_logits_bias_at_the_data(sentences):
    """Uniform on ±r and ±0.1; what a decoder puts out at first are the shares of the symbols, ends among them."""
    stack = Stack([cell(latents="1", hidden="40", embedding=30)], sentences)
    for name, param in stack.params.items():
        width = 0.1 if "embedding" in name else 0.01
        if name not in ("generative.output.bias", "inference.mean.bias", "inference.deviation.bias"):
            assert 0.8 * width < float(param.detach().abs().max()) <= width, name
    rows = sentences.train
    share = np.bincount(rows[rows != 0], minlength=6) / scored(rows)
    share[0] = len(rows) / scored(rows)
    np.testing.assert_allclose(stack.params["generative.output.bias"][0].detach().exp(), share)
    entropy = -float((share * np.log(share)).sum()) * scored(rows) / len(rows)
    terms = stack.network.terms(
        stack.params, torch.tensor(rows).double()[None, None], [torch.zeros(1, 1, len(rows), 1, dtype=torch.float64)]
    )
    assert -float(terms.log_px.detach().mean()) == pytest.approx(entropy, rel=1e-3)


def test_a_scalar_z_is_integrated(sentences):
    """On a grid, in float64: log p(x) lies above the importance-weighted bound, which comes within its error of it."""
    stack = Stack([cell(latents="1", initial_range=0.8)], sentences)
    row = evaluate(stack, Evaluation(importance_samples=200), quick=True)[0]
    z = torch.linspace(-8, 8, 801, dtype=torch.float64)
    x = torch.tensor(sentences.test).double()[None, None]
    given = [(z.view(1, -1, 1, 1).expand(-1, -1, len(sentences.test), 1), torch.ones(1, 1, 1, 1, dtype=torch.float64))]
    with torch.no_grad():
        terms = stack.network.terms(
            stack.params, x, [torch.zeros(1, 801, x.shape[2], 1, dtype=torch.float64)], given=given
        )
    log_p = (terms.log_px + terms.layers[0].log_p).logsumexp(1) + math.log(float(z[1] - z[0]))
    exact = float(log_p.mean())
    assert row["elbo"] < exact - 0.05 and row["elbo"] < row["iw_bound"] < exact + 3 * row["iw_se_mc"]
    assert row["iw_bound"] > exact - 0.02 - 3 * row["iw_se_mc"]
    assert row["tokens"] == scored(sentences.test)
    assert row["perplexity"] == pytest.approx(math.exp(-row["iw_bound"] * 60 / row["tokens"]))


def test_every_metric_of_an_image_is_one_of_a_sentence(sentences):
    """Among them mutual information, whose cap is of the sentences."""
    stack = Stack([cell(precision="float32", latents="2")], sentences)
    stack.train(5)
    row = evaluate(stack, Evaluation(importance_samples=5, mutual_information=40, gradient_variance=2))[0]
    assert row["mi_cap"] == pytest.approx(math.log(40)) and len(row["active_units"]) == 1
    assert row["elbo_se_binarisation"] is None and len(row["kl_top_per_unit"]) == 2
    assert row["gradient_variance"] is not None


def test_a_decoded_sequence_is_the_likeliest_symbol_after_the_other(sentences):
    """Each given those before it, and after the end only ends; of a trained model by itself, too."""
    stack = Stack([cell(**WIDE)], sentences)
    z = torch.randn(1, 2, 20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        drawn = stack.network.image(stack.params, [], z).long()
        logits = stack.network._output(stack.params, drawn[:, 0], z[:, :1]).view(20, 7, 6)
    rows = drawn[0, 0]
    counted = categorical.scored(rows)
    assert torch.equal(rows[counted], logits.argmax(-1)[counted]) and (rows[~counted] == 0).all()
    assert int((~counted).sum()) > 0 and len(rows.unique(dim=0)) > 1


def test_a_trained_model_reads_sentences():
    """Its terms are those of the network, and it decodes."""
    one = cell(hidden="8", embedding=6)
    shape = find("data", "synthetic_text").shape
    zeros = np.zeros((20, shape.length), np.uint8)
    data = Sequences("zeros", zeros, zeros, zeros, 0, shape, symbols=("w",) * 200)
    stack = Stack([one], data)
    tensors = {name: param[0].detach().numpy().copy() for name, param in stack.params.items()}
    tensors["generative.output.bias"][:] = 0.0  # of these data nothing but ends
    model = TrainedModel(one, tensors, 0)
    rows = np.zeros((3, 11), np.uint8)
    rows[:, 0] = 1, 2, 3
    assert model.terms(rows).elbo.shape == (1, 3)
    assert model.decode(np.zeros((2, 2))).shape == (2, 11)
    likeliest, drawn = model.sample(40), model.sample(40, pixels=True)
    assert likeliest.shape == drawn.shape == (40, 11) and (likeliest != drawn).any()
    assert np.array_equal(drawn, model.sample(40, pixels=True)) and (drawn != model.sample(40, 1, pixels=True)).any()
    for sentence in drawn:  # all of it is counted up to its end, and after it there are only ends
        end = list(sentence).index(0) if 0 in sentence else len(sentence)
        assert (sentence[end:] == 0).all()


def test_a_language_model_draws_sequences_by_their_probabilities():
    """Two symbols and the end, two positions: each of the seven sequences as often as the model says it is."""
    one = language_model(output_bias="none")
    shape = SequenceShape(2, 3)
    zeros = np.zeros((10, 2), np.uint8)
    data = Sequences("zeros", zeros, zeros, zeros, 0, shape, symbols=("a", "b"))
    stack = Stack([one], data)
    every = torch.tensor([[0, 0], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]])
    with torch.no_grad():
        for param in stack.params.values():
            param.mul_(40.0)  # far from even odds
        share = stack.network.terms(stack.params, every[None, None].double(), []).log_px.exp().flatten()
        numbers = torch.rand(1, 1, 20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        drawn = stack.network.image(stack.params, [], uniform=numbers)[0, 0].long()
    counts = np.array([int((drawn == each).all(1).sum()) for each in every])
    assert counts.sum() == 20_000 and share.max() > 2 * share.min()
    np.testing.assert_allclose(counts / 20_000, share, atol=4 * 0.5 / 20_000**0.5)


def test_what_makes_no_sense_is_refused_when_the_cell_is_made():
    """Each with what should be named in its place."""
    refusals = {
        "hidden": ({"hidden": "6-6"}, "one number with lstm"),
        "latents": ({"latents": "2-2"}, "one layer with lstm"),
        "likelihood": ({"likelihood": "gaussian"}, "should be categorical"),
        "prior": ({"prior": "vamp"}, "not symbols"),
        "network": ({"data": "digits"}, "digits has pixels, for mlp"),
        "objective": ({"objective": "ou", "rho": 0.9}, "belongs to no state"),
    }
    for field, (more, why) in refusals.items():
        with pytest.raises(CellError, match=why) as refused:
            cell(**more)
        assert set(refused.value.faults) == {field}
    with pytest.raises(CellError, match="synthetic_text has sequences of symbols, for lstm"):
        Cell(data="synthetic_text", latents="2", seed=0)
    with pytest.raises(
        CellError, match="likelihood bernoulli: synthetic_text has sequences of symbols, for categorical"
    ):
        raise CellError({"likelihood": likelihood_fault()})


def likelihood_fault() -> str:
    from models.cell import unfit

    return unfit("bernoulli", "synthetic_text", "tokens")


def test_a_categorical_likelihood_starts_at_the_shares_and_draws_by_its_probabilities():
    """The first bias gives back the shares as probabilities; of 20,000 draws each has its share within the noise."""
    shape = SequenceShape(1, 4)
    made = find("likelihood", "categorical").load()([cell()], shape, torch.empty((), dtype=torch.float64))
    share = np.array([0.1, 0.2, 0.3, 0.4])
    mean = made.mean(torch.from_numpy(made.first_bias(share)).view(1, 1, 1, 4))
    np.testing.assert_allclose(mean.flatten(), share)
    uniform = torch.rand(1, 1, 20_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = made.sample(mean.log().expand(1, 1, 20_000, 4), lambda _: uniform, lambda _: uniform)
    counts = np.bincount(drawn.flatten().long(), minlength=4) / 20_000
    np.testing.assert_allclose(counts, share, atol=4 * 0.5 / 20_000**0.5)


def language_model(**more: object) -> Cell:
    given = {"network": "lstm_lm", "likelihood": "categorical", "hidden": "6", "embedding": 5, "batch_size": 10}
    return Cell(**{"data": "synthetic_text", "seed": 0, "precision": "float64"} | given | more)


def test_a_language_model_is_the_decoder_without_z(sentences):
    """With the decoder's weights, and nothing of z: the same log p(x), which is its bound for any number of chains."""
    stack, lm = Stack([cell(**WIDE)], sentences), Stack([language_model()], sentences)
    with torch.no_grad():
        for name, param in stack.params.items():
            if name in ("generative.lstm.latent", "generative.initial.weight"):
                param.zero_()
            elif name in lm.params:
                lm.params[name].copy_(param)
    rows = [evaluate(each, Evaluation(importance_samples=3, mutual_information=20))[0] for each in (stack, lm)]
    assert rows[1]["elbo"] == rows[1]["reconstruction"] == pytest.approx(rows[0]["reconstruction"], abs=1e-12)
    assert rows[1]["iw_bound"] == pytest.approx(rows[1]["elbo"], abs=1e-12) and rows[1]["iw_se_mc"] < 1e-6
    assert [rows[1][name] for name in ("kl_total", "kl_top", "kl_per_layer", "active_units")] == [0.0, 0.0, [], []]
    assert rows[1]["perplexity"] == pytest.approx(math.exp(-rows[1]["elbo"] * 60 / rows[1]["tokens"]))


def test_a_language_model_has_no_options_of_layers():
    """What weighs KL terms has no effect on it, so that a grid over β has one of it; what needs layers is refused."""
    assert language_model(kl_weight=0.3, free_bits=1.0).canonical() == language_model()
    assert language_model().latent_sizes == () and language_model().depth == 0
    for field, more in {"objective": "iwae", "posterior": "planar", "prior": "vamp", "latents": "3"}.items():
        with pytest.raises(CellError) as refused:
            language_model(**{field: more})
        assert set(refused.value.faults) == {field}
