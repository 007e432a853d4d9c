"""What planning asks of a study that refines: which cells it has by now, and which come next.

Such a study asks for its grid, for the cells of the store that lie on its curves, whether finished or begun, and for
what follows from these.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from models.cell import Cell
from sweeper.errors import StudyError
from sweeper.parameters.control import RHO
from sweeper.planning.decide import Item
from sweeper.store import Store
from sweeper.study import Study

if TYPE_CHECKING:
    from sweeper.refine.ask import Proposal


def asked_cells(study: Study, store: Store | None) -> tuple[Cell, ...]:
    """The cells that a study asks for: its grid and, where it refines, what the store has on its curves."""
    if study.refine is None or store is None:
        return study.cells
    from sweeper.refine.lines import lines_of, points_of

    begun = (meta["cell"] for record in store.running() for meta in record.meta["cells"].values() if "cell" in meta)
    texts = [*store.read("cells")[0]["cell"].to_pylist(), *begun]
    lines = lines_of(study.cells, RHO)
    found = points_of(lines, map(Cell.from_json, texts))
    return tuple(dict.fromkeys([*study.cells, *(cell for points in found.values() for cell in points.values())]))


def proposals(study: Study, store: Store | None, items: Sequence[Item], failed: Collection[str]) -> list[Proposal]:
    """What refinement asks for next, given what is finished of the cells asked for so far.

    `failed`: ids of cells that came to nothing in this run. Raises StudyError where the study has no curve to refine.
    """
    from sweeper.refine.ask import ask
    from sweeper.refine.lines import lines_of
    from sweeper.refine.points import Goal

    assert study.refine is not None
    lines = lines_of(study.cells, RHO)
    if not lines:
        raise StudyError(
            "refine: there is no curve to refine: no cell of the study is smoothed (objective: ou, rho < 1)"
        )
    values: dict[str, float | None] = {}
    if store is not None:
        rows = store.read("cells")[0].select(["cell_id", study.analysis.order_parameter])
        values = dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    over = [item for item in items if not item.missing or item.cell_id in failed]
    return ask(
        lines,
        Goal(study.refine.half_width, study.refine.cells),
        study.analysis.rho_ref,
        {item.cell: None if item.missing else values.get(item.cell_id) for item in over},
        [item.cell for item in items if item.missing and item.cell_id not in failed],
        failed,
    )
