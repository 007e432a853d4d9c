"""`sweeper.load_model`: from a store's kept state of a cell to its network. Loads torch when it is asked for one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.cell import Cell
from sweeper.cloud import to_read
from sweeper.errors import NoModel, StoreDamaged
from sweeper.store import Store

if TYPE_CHECKING:
    from models.trained import TrainedModel

PARAMETERS = "param/"


def load_model(store: Path | str, cell_id: str, device: str = "cpu") -> TrainedModel:
    """The trained network of a cell: see `sweeper.load_model`."""
    opened = Store.open(to_read(store))
    cell_id = str(cell_id)
    committed = opened.committed().get(cell_id)
    if not committed:
        raise NoModel(f"{store} has no cell {cell_id!r}; sweeper.load(store).cell_id lists those that it has")
    row = opened.read_row(committed[0].path, ["cell", "state", "diverged_at"])
    if cell_id not in opened.states():
        if row["state"] == "diverged":
            raise NoModel(f"cell {cell_id} diverged at step {row['diverged_at']:,}: nothing is kept of such a cell")
        raise NoModel(
            f"{store} keeps no weights of cell {cell_id}: they are kept of what is trained with train.keep: full (the "
            "default) or weights, and copied by `sweeper merge`; train it with that in a store of its own"
        )
    tensors, _ = opened.load_state(cell_id)
    from models.trained import TrainedModel

    step = opened.states().get(cell_id, committed[0].steps)
    parameters = {name.removeprefix(PARAMETERS): t for name, t in tensors.items() if name.startswith(PARAMETERS)}
    try:
        return TrainedModel(Cell.from_json(row["cell"]), parameters, step, device)
    except ValueError as fault:
        raise StoreDamaged(f"the kept state of {cell_id} is not of such a cell: {fault}") from fault
