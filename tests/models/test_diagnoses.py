"""What all that is measured on request promises: it neither changes nor depends on anything beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.data.labels import Labels
from models.evaluation import evaluate as evaluation
from models.evaluation.evaluate import DIAGNOSES, evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack

PLAIN = Evaluation(importance_samples=3, images=40)
ASKED = {
    "mutual_information": 30, "gradient_variance": 3, "hermite_spectrum": 30, "posterior_mean": 30,
    "classification": 30,
}  # fmt: skip
ALL = replace(PLAIN, **ASKED)


def stack(seeds=(0, 1, 2), **fields) -> Stack:
    """Cells that differ in seed and ρ, a few steps from where they began, on grey images of six pixels."""
    images = np.random.default_rng(0).integers(0, 17, (60, 6)).astype(np.uint8)
    usual = dict(data="digits", latents="3-2", hidden="7", batch_size=16, objective="ou", smoothing_samples=2)
    cells = [Cell.of(usual | {"rho": 0.9 - 0.2 * seed, "seed": seed} | fields) for seed in seeds]
    labels = np.arange(60) % 3
    read = partial(Labels, labels, labels, labels)
    made = Stack(cells, Dataset("six", images, images, images, 16, ImageShape(1, 2, 3), read_labels=read))
    made.train(3)
    return made


def bits(row):
    """Numbers as they are to the last bit, NaN included."""
    return {name: repr(value) for name, value in row.items()}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_cells_numbers_are_those_of_the_cell_alone(monkeypatch, precision):
    """Bit for bit, whatever is evaluated beside it, and however many cells at a time."""
    (plain, *_), together = evaluate(stack(precision=precision), PLAIN), evaluate(stack(precision=precision), ALL)
    monkeypatch.setitem(evaluation.NUMBERS, "cpu", 1)
    one_by_one = evaluate(stack(precision=precision), ALL)
    for seed, (row, other) in enumerate(zip(together, one_by_one, strict=True)):
        (alone,) = evaluate(stack([seed], precision=precision), ALL)
        columns = [name for name in row if name not in plain]
        assert len(columns) == 32
        assert all(bits(row)[name] == bits(alone)[name] == bits(other)[name] for name in columns)
    assert together[0]["mutual_information"] != together[1]["mutual_information"]


@pytest.mark.parametrize("name", DIAGNOSES)
def test_nothing_depends_on_what_else_is_asked_for(name):
    """Each has draws of its own; without a request a row has no column of it, and all others keep their bits."""
    made = stack()
    plain, whole = evaluate(made, PLAIN), evaluate(made, ALL)
    for before, row, everything in zip(
        plain, evaluate(made, replace(PLAIN, **{name: ASKED[name]})), whole, strict=True
    ):
        assert list(row)[: len(before)] == list(before) and len(row) > len(before)
        assert bits(row).items() <= bits(everything).items() and bits(before).items() <= bits(row).items()


def test_an_evaluation_without_them_keeps_its_id_and_one_with_them_has_another():
    """Of images no more count than there are."""
    assert Evaluation().id() == "143ff6bf" and PLAIN.id() == replace(PLAIN, mutual_information=0).id()
    ids = {replace(PLAIN, **{name: value}).id() for name in DIAGNOSES for value in (0, 10, 20)}
    assert len(ids) == 1 + 2 * len(DIAGNOSES)
    most = replace(PLAIN, images=0, mutual_information=2000, hermite_spectrum=2000, gradient_variance=2000)
    assert most.on(397) == replace(most, mutual_information=397, hermite_spectrum=397)
    assert most.on(10_000) == most


def test_they_end_with_the_request_that_ends_the_evaluation():
    """`between` is asked before every block of theirs as well."""
    made, calls = stack(), []
    evaluate(made, PLAIN, between=lambda: calls.append(1))
    plain = len(calls)
    for name, least in (
        ("mutual_information", 4),
        ("gradient_variance", 3),
        ("hermite_spectrum", 2),
        ("classification", 20),
    ):
        calls.clear()
        evaluate(made, replace(PLAIN, **{name: ASKED[name]}), between=lambda: calls.append(1))
        assert len(calls) - plain >= least


def test_the_stack_is_left_as_it_was():
    """Parameters, moments and the next steps of training."""
    first, second = stack(), stack()
    evaluate(first, ALL)
    for made in (first, second):
        made.train(5)
    theirs = second.tensors()
    assert all(torch.equal(a, theirs[name]) for name, a in first.tensors().items())
