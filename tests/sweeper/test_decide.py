"""What is to be done with a cell, case by case: every row of the table in `planning.decide`, without a store."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.cell import Cell, cell_id
from models.cell.continuation import origin
from sweeper.planning.decide import decide
from sweeper.planning.evidence import Evidence
from sweeper.store import Committed

CELL = Cell(data="digits", latents="3-2", hidden="8", objective="ou", rho=0.8, smoothing_samples=2, seed=0).canonical()
NAME = cell_id(CELL)
SERVES, OTHER = "aaaa", "bbbb"


def row(steps, evaluation=SERVES, name=NAME, ended=False):
    return Committed(name, steps, evaluation, Path("cells"), "", ended)


def evidence(rows=(), running=(), kept=0, trainable=True, asked=100):
    return Evidence(
        asked, {"digits": {SERVES}}, {NAME: list(rows)} if rows else {}, {NAME: list(running)},
        {NAME: kept} if kept else {}, lambda name: trainable,
    )  # fmt: skip


NOT_KEPT = "evaluated with other settings, and its state was not kept"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (evidence(), ("train", 0, 100, "new")),
        (evidence([row(100)]), ("done", 100, 100, "finished")),
        (evidence([row(300)]), ("done", 100, 100, "finished")),
        (evidence([row(40, ended=True)]), ("done", 100, 100, "finished")),  # its schedule asks for no more
        (evidence([row(40, OTHER, ended=True)], kept=40), ("evaluate", 40, 40, "evaluated with other settings")),
        (evidence([row(40, OTHER, ended=True)]), ("train", 0, 40, NOT_KEPT)),
        (evidence([row(40, None)]), ("diverged", 100, 100, "finished")),  # more steps cannot mend it
        (evidence([row(40, None), row(100)]), ("done", 100, 100, "finished")),
        (evidence([row(100, OTHER)], kept=100), ("evaluate", 100, 100, "evaluated with other settings")),
        (evidence([row(300, OTHER)], kept=300), ("evaluate", 300, 300, "evaluated with other settings")),
        (evidence([row(100, OTHER)]), ("train", 0, 100, NOT_KEPT)),
        (evidence([row(300, OTHER)]), ("train", 0, 300, NOT_KEPT)),  # fewer would never replace it
        (evidence([row(100, OTHER)], running=[60]), ("continue", 60, 100, NOT_KEPT)),
        (evidence(running=[20, 60, 120]), ("continue", 60, 100, "stopped at step 60")),
        (evidence(running=[60], kept=80), ("continue", 80, 100, "stopped at step 80")),
        (evidence(running=[60], kept=80, trainable=False), ("continue", 60, 100, "stopped at step 60")),
        (evidence(kept=100, trainable=False), ("continue", 100, 100, "stopped at step 100")),  # only evaluated
        (evidence([row(40)], kept=40), ("continue", 40, 100, "100 steps asked, 40 done")),
        (
            evidence([row(40)], kept=40, trainable=False),
            ("train", 0, 100, "100 steps asked, 40 done, and no state to train on was kept"),
        ),
    ],
)
def test_a_cell_by_itself(there, expected):
    item = decide(CELL, there)
    assert (item.action, item.start, item.steps, item.why) == expected
    assert item.cell == CELL and item.cell_id == NAME


PASSED = replace(CELL, rho=0.95, procedure="continue 0.8 > 0.9, 50 steps each").canonical()


@pytest.mark.parametrize(
    ("kept", "rows", "expected"),
    [
        ({"before": 50}, {}, ("train", "new")),
        ({"before": 40}, {}, ("wait", "the cell before it in its branch comes first")),
        ({}, {}, ("wait", "the cell before it in its branch comes first")),
        ({}, {"before": 50}, ("wait", "its origin's weights at step 50 were not kept: use a store of its own")),
        ({}, {"before": None}, ("diverged", "its branch diverged at rho = 0.9")),
        ({}, {"first": None}, ("diverged", "its branch diverged at rho = 0.8")),
    ],
)
def test_a_cell_that_takes_over_weights(kept, rows, expected):
    names = {"before": cell_id(origin(PASSED)), "first": cell_id(origin(origin(PASSED)))}
    committed = {
        names[which]: [row(steps or 20, SERVES if steps else None, names[which])] for which, steps in rows.items()
    }
    states = {names[which]: steps for which, steps in kept.items()}
    item = decide(PASSED, Evidence(100, {"digits": {SERVES}}, committed, {}, states))
    assert (item.action, item.why, item.start) == (*expected, 0)
