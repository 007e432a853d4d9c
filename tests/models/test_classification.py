"""Classification of posterior means: labels, known accuracies, and what it may not depend on."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.cell.registry import DATASETS
from models.data import labels as labels_module
from models.data import load
from models.data.dataset import Dataset, shuffled
from models.data.labels import Labels, labels_of, split_like
from models.data.sources import DataCorrupt
from models.evaluation.classification import CHAINS, accuracy, principal_components
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack
from tests.models.planted import LinearGaussian, stack_of
from tests.models.test_contract import EXAMPLES, WITHOUT_LATENTS


def two_classes(images: int, apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places ±apart/2 with noise of deviation 1, (images, 1), and which of the two."""
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(0, 2, images)
    return apart * (labels - 0.5)[:, None] + drawn.standard_normal((images, 1)), labels


# --- labels ---


def test_the_digits_are_labelled_as_scikit_learn_has_them():
    from sklearn.datasets import load_digits

    data, theirs = load("digits"), load_digits()
    order, found = shuffled("digits", 1797), labels_of(load("digits"))
    assert np.array_equal(np.concatenate([found.train, found.validation, found.test]), theirs.target[order])
    assert np.array_equal(data.test, theirs.data[order][1497:])


@pytest.mark.parametrize("name", ["mnist", "omniglot", "cifar10", "ud_ewt"])
def test_registered_labels_are_those_of_the_files(name, data_dir, monkeypatch):
    """`labels_of` compares their digest; every class has a name, and occurs in every split."""
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    found, classes = labels_of(load(name)), DATASETS[name].classes
    for numbers in (found.train, found.validation, found.test):
        assert np.array_equal(np.unique(numbers), np.arange(len(classes)))


def test_the_genre_of_a_sentence_is_that_of_its_line(data_dir, monkeypatch):
    """The files are in the order of genres; a line is left out with its sentence."""
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    from models.data import ud_ewt

    data = load("ud_ewt")
    lines = [(genre, words) for genre, words in ud_ewt._read("test.txt.gz") if len(words) <= ud_ewt.MAX_TOKENS]
    place = next(i for i, (_, words) in enumerate(lines) if len(words) == 7 and words[0] in data.symbols)
    assert data.symbols[data.test[place][0] - 1] == lines[place][1][0]
    assert [DATASETS["ud_ewt"].classes[number] for number in labels_of(data).test] == [genre for genre, _ in lines]


def test_which_data_sets_have_labels_is_registered():
    with_labels = {name for name, entry in DATASETS.items() if entry.labels}
    assert with_labels == {"digits", "mnist", "omniglot", "cifar10", "ud_ewt"}
    assert all(bool(entry.labels) == bool(entry.classes) for entry in DATASETS.values())


@pytest.fixture
def points():
    """A data set of points on a line in two classes, as many as asked for in each split."""

    def made(train, test, labels=True) -> Dataset:
        values = [train[0], test[0], test[0]]
        read = partial(Labels, train[1], test[1], test[1]) if labels else None
        arrays = [each.astype(np.float32) for each in values]
        return Dataset("points", *arrays, 0, ImageShape(1, 1, 1), read_labels=read)

    return made


def test_labels_are_no_part_of_the_digest_and_are_read_when_they_are_asked_for(points):
    some = two_classes(20, 1.0, 0)
    plain, labelled = points(some, some, labels=False), points(some, some)
    assert plain.digest() == labelled.digest() and labels_of(plain) is None

    def unreadable():
        raise AssertionError("nobody asked")

    assert replace(plain, read_labels=unreadable).digest() == plain.digest()


@pytest.mark.parametrize(("numbers", "message"), [([0] * 19, "each of 20 images"), ([-1] * 20, "at least 0")])
def test_labels_that_do_not_fit_the_images_are_refused(points, numbers, message):
    some = two_classes(20, 1.0, 0)
    wrong = replace(points(some, some), read_labels=partial(split_like, numbers, *[slice(None)] * 3))
    with pytest.raises(DataCorrupt, match=message):
        labels_of(wrong)


def test_other_labels_than_the_registered_ones_are_refused(monkeypatch, points):
    some = two_classes(20, 1.0, 0)
    registered = replace(DATASETS["digits"], labels=points(some, some).read_labels().digest())
    monkeypatch.setattr(labels_module, "DATASETS", {"points": registered})
    assert labels_of(points(some, some)).test.sum() == some[1].sum()
    flipped = some[0], np.append(1 - some[1][:1], some[1][1:])
    with pytest.raises(DataCorrupt, match=r"data set points: the labels read have digest .* registered is"):
        labels_of(points(some, flipped))


# --- the classifier ---


@pytest.mark.parametrize("apart", [0.5, 1.0, 3.0])
def test_two_gaussian_classes_give_the_accuracy_of_bayes(apart):
    """Φ(δ/2), also where the labels' names are not 0 and 1."""
    (learnt, known), (evaluated, answers) = two_classes(4000, apart, 1), two_classes(4000, apart, 2)
    best = norm.cdf(apart / 2)
    error = math.sqrt(best * (1 - best) / 4000)
    found = accuracy(learnt, 3 * known + 1, evaluated, 3 * answers + 1)
    assert found == pytest.approx(best, abs=3 * error + 0.003)


def test_means_that_are_the_labels_give_1():
    known = np.arange(300) % 7
    assert accuracy(np.eye(7)[known], known, np.eye(7)[known[:100]], known[:100]) == 1.0


def test_means_that_say_nothing_give_the_chance_level():
    """Exactly, where they are one and the same; within its error, where they are noise."""
    drawn = np.random.default_rng(0)
    known, answers = (drawn.choice(3, count, p=[0.5, 0.3, 0.2]) for count in (1000, 2000))
    chance = (answers == 0).mean()
    assert accuracy(np.full((1000, 4), 0.3), known, np.full((2000, 4), 0.3), answers) == chance
    noise = accuracy(drawn.standard_normal((1000, 4)), known, drawn.standard_normal((2000, 4)), answers)
    assert noise == pytest.approx(chance, abs=4 * math.sqrt(0.25 / 2000))


def test_differences_far_below_the_deviation_of_the_prior_are_no_information():
    """Of a collapsed layer every class keeps a mean of its own, 1e-3 from the others'."""
    known = np.arange(2000) % 10
    exact = np.eye(10)[known]
    assert accuracy(1e-3 * exact, known, 1e-3 * exact, known) == pytest.approx(0.1, abs=0.02)
    assert accuracy(exact, known, exact, known) == 1.0


def test_the_answers_decide_nothing():
    """Wrong ones leave every decision as it was: of two classes each is then counted the other way."""
    (learnt, known), (evaluated, answers) = two_classes(500, 1.0, 1), two_classes(400, 1.0, 2)
    found = accuracy(learnt, known, evaluated, answers)
    assert accuracy(learnt, known, evaluated, 1 - answers) == pytest.approx(1 - found, abs=1e-12)


@pytest.mark.parametrize("known", [[1, 1, 1, 1], [0, 1], [0, 1, 2, 2, 2, 2, 2]])
def test_few_images_and_classes_that_a_fold_lacks_are_no_error(known):
    learnt = np.arange(len(known))[:, None] / len(known)
    assert 0.0 <= accuracy(learnt, np.array(known), learnt, np.array(known)) <= 1.0


# --- of a network ---

SETTINGS = Evaluation(importance_samples=2, classification=2000)


def planted(points, model: LinearGaussian, labels: bool = True, apart: float = 2.0) -> Stack:
    """`model`, which sees images of two classes as far apart."""
    stack = stack_of(model)
    stack.dataset = points(two_classes(2000, apart, 1), two_classes(1500, apart, 2), labels)
    return stack


def test_every_layer_has_the_accuracy_that_its_means_allow(points):
    """Mean of z₁ is b₁x; that of z₂ over chains b₂(b₁x + s₁ε/√CHAINS), a worse sight of x by a known factor."""
    model = LinearGaussian(a=1.0, gamma=0.5, b=(0.5, 0.9), s=(1.0, 0.4), w=(0.5,), tau=(0.6,))
    (row,) = evaluate(planted(points, model), SETTINGS)
    first, second = norm.cdf(1.0), norm.cdf(1.0 / math.sqrt(1 + 1.0 / (0.5**2 * CHAINS)))
    assert row["classification_accuracy"] == pytest.approx([first, second], abs=0.03) and first - second > 0.02
    errors = [math.sqrt(share * (1 - share) / 1500) for share in row["classification_accuracy"]]
    assert row["classification_se"] == pytest.approx(errors) and row["classification_images"] == 2000


def test_a_dead_layer_has_the_chance_level(points):
    model = LinearGaussian(a=1.0, gamma=0.5, b=(0.5, 0.0), s=(0.4, 1.0), w=(0.0,), tau=(1.0,))
    (row,) = evaluate(planted(points, model), SETTINGS)
    labels = labels_of(planted(points, model).dataset)
    most = np.bincount(labels.train).argmax()
    assert row["classification_accuracy"][1] == row["classification_chance"] == (labels.test == most).mean()
    assert row["classification_accuracy"][0] > 0.8 and row["means_shares"] == [0.0, 0.0]


def test_labels_are_those_of_the_images_evaluated(points):
    """Of some images spread over a split, and of the validation split."""
    model = LinearGaussian(a=1.0, gamma=0.5, b=(0.5,), s=(0.4,))
    stack = planted(points, model, apart=20.0)  # told apart without doubt
    for settings in (replace(SETTINGS, images=70, image_choice="spread"), replace(SETTINGS, split="validation")):
        (row,) = evaluate(stack, settings)
        assert row["classification_accuracy"] == [1.0] and row["classification_se"] == [0.0]
        side = np.array(row["means_components"][0]) > 0
        assert np.array_equal(side, row["means_labels"]) and len(side) == min(300, row["images"])


def test_without_labels_there_is_a_picture_and_no_accuracy(points):
    model = LinearGaussian(a=1.0, gamma=0.5, b=(0.5, 0.9), s=(1.0, 0.4), w=(0.5,), tau=(0.6,))
    (row,) = evaluate(planted(points, model, labels=False), SETTINGS)
    assert row["classification_accuracy"] is row["classification_chance"] is row["means_labels"] is None
    assert np.shape(row["means_components"]) == (2, 300) and row["means_shares"] == [1.0, 0.0]


@pytest.mark.parametrize("network", WITHOUT_LATENTS)
def test_without_latent_variables_there_is_neither(network, fitting):
    data = fitting(network)
    labels = Labels(*(np.arange(len(rows)) % 3 for _, rows in data.splits()))
    data = replace(data, read_labels=lambda: labels)
    likelihood = "categorical" if data.kind == "tokens" else "bernoulli"
    made = Cell.of(
        {"data": "ud_ewt" if data.kind == "tokens" else "digits", "network": network, "latents": "", "seed": 0,
         "batch_size": 16, "likelihood": likelihood} | EXAMPLES["network"][network]
    )  # fmt: skip
    (row,) = evaluate(Stack([made], data), replace(SETTINGS, images=20, classification=50))
    assert row["classification_accuracy"] is row["classification_se"] is row["means_components"] is None
    assert row["classification_images"] == 50 and len(row["means_labels"]) == 20


def test_a_layer_too_wide_to_be_fitted_has_none(points, monkeypatch):
    from models.evaluation import classification

    monkeypatch.setattr(classification, "MAX_UNITS", 0)
    (row,) = evaluate(planted(points, LinearGaussian(a=1.0, gamma=0.5, b=(0.5,), s=(0.4,))), SETTINGS)
    assert math.isnan(row["classification_accuracy"][0]) and row["means_shares"][0] == 1.0


# --- the picture ---


def test_components_are_those_of_the_covariance_and_point_one_way():
    """Variances 9, 1 and 0.01 along turned axes; reflected means give the same picture, reflected."""
    drawn = np.random.default_rng(0)
    turn, _ = np.linalg.qr(drawn.standard_normal((3, 3)))
    along = drawn.standard_normal((5000, 3)) * [3.0, 1.0, 0.1]
    places, shares = principal_components(along @ turn.T + 7.0)
    assert shares == pytest.approx([9 / 10.01, 1 / 10.01], rel=0.05)
    assert np.abs(np.corrcoef(places.T, along[:, :2].T)[:2, 2:]) == pytest.approx(np.eye(2), abs=0.05)
    other, _ = principal_components(-(along @ turn.T))
    assert other == pytest.approx(-places, abs=1e-9)
    one, share = principal_components(along[:, :1])
    assert one[:, 0] == pytest.approx(along[:, 0] - along[:, 0].mean()) and not one[:, 1].any()
    assert share.tolist() == [1.0, 0.0]
