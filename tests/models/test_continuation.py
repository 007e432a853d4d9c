"""Cells that continue from others say so themselves, and lead back to a cold start."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from models.cell import Cell, cell_id
from models.cell.continuation import Passed, branch, branches, cold_start, origin
from models.cell.registry import UnknownName

LIKE = Cell("digits", "5-3", 0, objective="ou", rho=0.9, smoothing_samples=3, procedure="continue")
RHOS = (0.8, 0.95, 1.0)


def grid(**more):
    return [Cell.of(LIKE.flat() | {"rho": rho} | more) for rho in (0.95, 1.0, 0.8)]


def test_a_branch_goes_each_way_from_a_cold_start():
    """Six cells of three ρ: two cold starts, which are cells of any study, and two cells after each."""
    found = branches(grid(), steps=100)
    assert [(cell.rho, cell.procedure) for cell in found] == [
        (0.8, "joint"), (0.95, "continue 0.8, 100 steps each"), (1.0, "continue 0.8 > 0.95, 100 steps each"),
        (1.0, "joint"), (0.95, "continue 1, 100 steps each"), (0.8, "continue 1 > 0.95, 100 steps each"),
    ]  # fmt: skip
    assert found[0] == replace(LIKE, rho=0.8, procedure="joint") and found[3].objective == "vae"
    assert all(cell.canonical() == cell for cell in found) and len({cell_id(cell) for cell in found}) == 6


def test_every_cell_leads_back_to_its_cold_start():
    """At ρ = 1 too, which of a cold start is the plain VAE and forgets its smoothing."""
    up, down = branches(grid(), steps=100)[:3], branches(grid(), steps=100)[3:]
    for way, words in ((up, "continue up"), (down, "continue down")):
        assert origin(way[0]) is None and cold_start(way[0]) == way[0]
        for before, cell in pairwise(way):
            assert origin(cell) == before and cold_start(cell) == way[0] and branch(cell.procedure, cell.rho) == words
    assert branch("joint", 0.9) == "joint"


def test_other_cells_stay_and_one_stack_holds_all_that_continue():
    cold = [replace(cell, procedure="joint").canonical() for cell in grid()]
    assert set(branches([*cold, *grid()], 100)) == {*cold, *branches(grid(), 100)}
    assert len({cell.shape() for cell in branches(grid(seed=1), 100) if cell.procedure != "joint"}) == 1


@pytest.mark.parametrize(("cells", "why"), [
    ([replace(LIKE, rho=0.9)], "two values of rho"),
    (grid(latents="5"), "smoothed"),
    (grid(objective="vae"), "smoothed"),
])  # fmt: skip
def test_what_cannot_continue(cells, why):
    with pytest.raises(ValueError, match=why):
        branches(cells, 100)


def test_a_procedure_is_read_as_it_is_written():
    passed = Passed((1.0, 0.98), 4000)
    assert Passed.of(str(passed)) == passed and Passed.of("joint") is None
    with pytest.raises(ValueError, match=r"should be as in 'continue 1 > 0.98, 4000 steps each'"):
        Passed.of("continue at once")
    with pytest.raises(UnknownName, match="no 'contnue' here, did you mean 'continue'"):
        cell_id(replace(LIKE, procedure="contnue 1, 5 steps each"))
