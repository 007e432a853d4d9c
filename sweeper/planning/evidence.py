"""What a store has of the cells that a study asks for: committed rows, checkpoints and kept states."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from models.cell import Cell
from sweeper.errors import StoreDamaged
from sweeper.store import Committed, Store
from sweeper.store.records import read_record, record_paths
from sweeper.study import Study


def _never(cell_id: str) -> bool:
    return False


@dataclass(frozen=True)
class Evidence:
    """What a study asks for and what its store has, by cell id.

    - `asked`: steps asked for; `evaluations`: ids of the evaluations that serve the study, by data set.
    - `committed`: rows, as their file names tell them; `running`: steps of the checkpoints that hold the cell.
    - `kept`: steps of the kept state; `trainable(cell_id)`: whether that state has the optimiser's moments, as it says
      itself. This reads a file, so it is asked only where it decides something.
    """

    asked: int
    evaluations: Mapping[str, Collection[str]]
    committed: Mapping[str, Sequence[Committed]] = field(default_factory=dict)
    running: Mapping[str, Sequence[int]] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    trainable: Callable[[str], bool] = _never

    def diverged(self, cell_id: str) -> bool:
        """Whether all rows of the cell say that it diverged; not where it has none."""
        rows = self.committed.get(cell_id, ())
        return bool(rows) and all(row.state == "diverged" for row in rows)


def gather(study: Study, cells: Sequence[Cell], store: Store | None) -> Evidence:
    """The evidence for `cells` of `study`; with `store` None there is nothing yet. Raises as reading the store does."""
    evaluations = {data: study.evaluation_settings(data).accepted() for data in {cell.data for cell in cells}}
    if store is None:
        return Evidence(study.steps, evaluations)
    running: dict[str, list[int]] = defaultdict(list)
    for record in store.running():
        for name in record.cell_ids:
            running[name].append(record.step)

    def trainable(name: str) -> bool:
        try:
            record = read_record(record_paths(store.paths.kept(name))[0])
        except (StoreDamaged, IndexError):
            return False
        return bool(record.meta.get("trainable", True))

    return Evidence(study.steps, evaluations, store.committed(), running, store.states(), trainable)
