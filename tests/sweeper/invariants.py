"""What must hold after every fault, checked by one function."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas
from conftest import Tiny, same
from store_rows import temporary_files


def check_invariants(study: Tiny, undisturbed: Path, committed: Collection[str] = (), code: int = 0) -> None:
    """Run the study's command once more and look at everything it leaves.

    study: after a fault, which need not have ended its run. undisturbed: a store of the same study that nothing
    disturbed. committed: ids that were seen committed at any time before. code: the exit code of the command.

    - no committed cell is lost, and each has one row (to plain pandas too);
    - every file matches its checksum and schema, none was quarantined, and no temporary one is left;
    - rows, histories and kept states are those of the undisturbed store, bit for bit;
    - no lock, no running checkpoint, and no note of a running stack is left.

    That a kill costs no more than a checkpoint's interval and a step has a test of its own (test_resume).
    """
    store = study.opened()
    assert set(committed) <= set(store.committed()), "a committed cell is lost"
    assert code == 0
    frame = pandas.read_parquet(store.paths.cells)
    assert frame["cell_id"].is_unique and len(frame) == len(list(store.paths.rows("cells").iterdir()))
    assert store.check() == [] and store.quarantined() == [] and temporary_files(store) == []
    assert same(store, undisturbed), "the rows are not those of an undisturbed run"
    assert store.states() == type(store).open(undisturbed).states()
    assert store.running() == [] and store.progress() == [] and store.failures() == []
    assert store.holder() is None and not store.paths.lock_info.exists()
