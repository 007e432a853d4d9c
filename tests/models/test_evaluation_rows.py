"""Rows of evaluations as they were when `tests/fixtures/evaluation_rows.json` was written.

Cells of float64 with the parameters that they begin with: no training and no compiled pass is in these numbers, so that
they are the same on every processor but for rounding. Written anew by `python -m tests.models.test_evaluation_rows`,
where a change of the numbers is meant (which then wants a higher `EVALUATION_SEMANTICS`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.cell import Cell
from models.cell.image_shape import ImageShape
from models.data.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.evaluation.settings import Evaluation
from models.stack.stack import Stack
from tests.models.planted import THREE, TWO, stack_of

ROWS = Path(__file__).parents[1] / "fixtures" / "evaluation_rows.json"


def cells(levels: int, **fields: Any) -> Stack:
    """Two cells on 130 images of six pixels, grey for 16 levels, real for none."""
    rng = np.random.default_rng(0)
    real, grey = rng.normal(size=(130, 6)).astype(np.float32), rng.integers(0, levels + 1, (130, 6)).astype(np.uint8)
    images = grey if levels else real
    usual = dict(data="digits", hidden="7", batch_size=16, precision="float64")
    chosen = [Cell.of(usual | fields | dict(seed=seed)) for seed in (0, 1)]
    return Stack(chosen, Dataset("six", images, images, images, levels, ImageShape(1, 2, 3)))


SOME = Evaluation(importance_samples=13, importance_images=100, seed=3)
CASES = {
    "grey images, some with K chains": lambda: evaluate(cells(16, latents="3-2"), SOME),
    "one layer, real images": lambda: evaluate(cells(0, latents="3", likelihood="gaussian"), SOME, quick=True),
    "null model": lambda: evaluate(cells(16, latents="3-2-2", network="null_mlp"), Evaluation(importance_samples=4)),
    "planted, spread images": lambda: evaluate(
        stack_of(THREE, np.linspace(-4, 6, 260)[:, None]),
        Evaluation(importance_samples=45, images=230, image_choice="spread", active_threshold=0.5),
    ),
    "one chain": lambda: evaluate(
        stack_of(TWO, np.linspace(-4, 6, 11)[:, None]), Evaluation(importance_samples=1), quick=True
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_are_as_they_were(case):
    """Columns, their order and kinds; numbers to 1e-12, absolute where they are differences near zero."""
    known = json.loads(ROWS.read_text(encoding="utf-8"))[case]
    rows = CASES[case]()
    assert len(rows) == len(known)
    for row, old in zip(rows, known, strict=True):
        assert list(row) == list(old)
        for name, value in row.items():
            assert alike(value, old[name]), f"{name}: {value} was {old[name]}"


def alike(value: Any, old: Any) -> bool:
    if isinstance(old, list):
        return len(value) == len(old) and all(alike(*pair) for pair in zip(value, old, strict=True))
    if isinstance(old, float):
        return type(value) is float and value == pytest.approx(old, rel=1e-12, abs=1e-12)
    return type(value) is type(old) and bool(value == old)


if __name__ == "__main__":
    lines = (f"{json.dumps(case)}: {json.dumps(make(), allow_nan=False)}" for case, make in CASES.items())
    ROWS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
