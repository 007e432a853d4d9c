"""Which fields tell curves apart, in words: one answer, wherever the curves are met."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic import rows_of

from models.cell import Cell
from sweeper.analysis.comparisons import compare_curves
from sweeper.analysis.curves import curves
from sweeper.analysis.variants import NAMED, differing, in_both, variants
from sweeper.compare import compare
from sweeper.parameters.control import RHO
from sweeper.refine.lines import lines_of
from sweeper.study.reference import Published, Reference

CELL = Cell(data="digits", latents="10-10-10", hidden="64-64", objective="ou", rho=0.9, seed=0)
WORDS = ["gradient clip 0, learning rate 0.001", "gradient clip 2, learning rate 0.0005"]  # by name; 2.0 is said as 2


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    two = CELL, replace(CELL, learning_rate=0.0005, gradient_clip=2.0)
    return [replace(cell, rho=rho, seed=seed) for cell in two for rho in (0.8, 0.9, 0.95) for seed in range(3)]


def test_words_name_what_differs_in_order_of_names_and_nothing_else():
    settings = [
        {"b": 1.0, "a": "x", "data": "digits", "same": 0.5},
        {"b": 0.25, "a": "x", "data": "mnist", "same": 0.5},
        {"b": 1, "a": "y_z", "data": "omniglot", "same": 0.5, "new": 3},
    ]
    assert differing(settings) == ["a", "b", "data", "new"]
    assert variants(settings, unsaid=["data"]) == ["a x, b 1, new None", "a x, b 0.25, new None", "a y_z, b 1, new 3"]
    assert variants(settings[:1]) == [""] and variants([]) == []


def test_one_and_one_point_zero_do_not_differ():
    """A row's JSON has 1 where a cell has 1.0."""
    assert variants([{"kl_weight": 1}, {"kl_weight": 1.0}]) == ["", ""]


def test_what_two_variants_share():
    assert in_both("free bits 2, kl weight 1, rho 0.9", "free bits 2, rho 0.9") == "free bits 2, rho 0.9"
    assert in_both("free bits 2", "free bits 20") == "" == in_both("", "")


def test_a_report_a_refinement_and_a_comparison_say_the_same(cells):
    rows = rows_of(cells, lambda cell: 20 * (1 - cell.rho))
    found = curves(rows)
    assert [curve.variant for curve in found] == WORDS
    assert [line.variant for line in lines_of(cells, RHO)] == WORDS
    assert [line.label for line in lines_of(cells, RHO)] == [curve.label for curve in found]
    meant = {"data": "digits", "latents": "10-10-10", "objective": "ou"}
    published = Published("", "kl_top", (1.0,), None, 1.0, {**meant, "rho": 0.9}, {})
    critical = Published("", "onset", (0.9,), None, 0.1, meant, {})
    shown = compare(rows, Reference("r", "somebody", "", (published, critical))).beside
    assert [one.setting for one in shown] == WORDS * 2
    (method, _) = compare_curves(found)
    assert [method.first, method.second] == WORDS and method.subject == "method"


def test_fields_that_data_set_and_architecture_say_are_said_once(cells):
    wider = [replace(cell, latents="20-20-20") for cell in cells[:9]]
    assert [line.variant for line in lines_of([*cells[:9], *wider], RHO)] == ["", ""]
    assert set(NAMED) <= {field for field in vars(CELL)}
