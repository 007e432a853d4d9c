"""What is to be done with one cell, given what the store has of it."""

from __future__ import annotations

from dataclasses import dataclass

from models.cell import CONTINUE, Cell, cell_id
from models.cell.continuation import Passed, origin
from sweeper.planning.evidence import Evidence


@dataclass(frozen=True)
class Item:
    """One cell of the study and what is to be done with it.

    `action`: `done`, `diverged` (finished as well, or there is nothing to take over), `train`, `continue`, `evaluate`
    or `wait` (for the cell whose weights it takes over); `start`: the step it goes on from; `steps`: where it goes to;
    `why`: a few words for people.
    """

    cell: Cell
    cell_id: str
    action: str
    start: int
    steps: int
    why: str

    @property
    def missing(self) -> bool:
        """Whether a run has anything to do for it."""
        return self.action not in ("done", "diverged")


def decide(cell: Cell, evidence: Evidence) -> Item:
    """What a run has to do for `cell`. The first row that holds decides, and each is one `return` below.

    | what the store has of the cell                                                  | action     | from step  |
    |---------------------------------------------------------------------------------|------------|------------|
    | rows that serve the study, all of them diverged                                 | `diverged` | asked      |
    | a row that serves the study                                                     | `done`     | asked      |
    | a row with the most steps, evaluated otherwise, and a state of these steps      | `evaluate` | the row's  |
    | a checkpoint, or a kept state that can be trained on, of no more steps than due | `continue` | the state's |
    | nothing to go on from, and it takes over the weights of another cell that …     |            |            |
    | … are there                                                                     | `train`    | 0          |
    | … never will be, because a cell before it in its branch diverged                | `diverged` | 0          |
    | … were not kept, although that cell is finished                                 | `wait`     | 0          |
    | … are not there yet                                                             | `wait`     | 0          |
    | nothing to go on from                                                           | `train`    | 0          |

    Steps due are those asked for, or those of its row with the most: a row with fewer steps would never replace it.
    Where its schedule has ended they are those of that row.
    """
    name = cell_id(cell)
    rows = evidence.committed.get(name, ())
    if rows and any(row.satisfies(evidence.asked, evidence.evaluations[cell.data]) for row in rows):
        if evidence.diverged(name):
            return Item(cell, name, "diverged", evidence.asked, evidence.asked, "finished")
        return Item(cell, name, "done", evidence.asked, evidence.asked, "finished")

    most = max(row.steps for row in rows) if rows else -1
    due = most if any(row.ended for row in rows) else max(evidence.asked, most)
    if evidence.kept.get(name, 0) == most == due:
        return Item(cell, name, "evaluate", due, due, "evaluated with other settings")

    start = _start(name, due, evidence)
    why = _why(min(evidence.asked, due), most, start)
    if start:
        return Item(cell, name, "continue", start, due, why)

    if not cell.procedure.startswith(CONTINUE):
        return Item(cell, name, "train", 0, due, why)
    passed, before = Passed.of(cell.procedure), origin(cell)
    assert passed is not None and before is not None
    if evidence.kept.get(cell_id(before)) == passed.steps:
        return Item(cell, name, "train", 0, due, why)
    lost = _diverged_before(before, evidence)
    if lost is not None:
        return Item(cell, name, "diverged", 0, due, f"its branch diverged at rho = {lost.rho:g}")
    if evidence.committed.get(cell_id(before)):
        not_kept = f"its origin's weights at step {passed.steps:,} were not kept: use a store of its own"
        return Item(cell, name, "wait", 0, due, not_kept)
    return Item(cell, name, "wait", 0, due, "the cell before it in its branch comes first")


def _start(name: str, due: int, evidence: Evidence) -> int:
    """The step of the cell's most advanced state that can be trained to `due`, or is there already; 0: none."""
    running, kept = evidence.running.get(name, ()), evidence.kept.get(name, 0)
    checkpoint = max((step for step in running if step <= due), default=0) if running else 0
    if checkpoint < kept <= due and (kept == due or evidence.trainable(name)):
        return kept
    return checkpoint


def _why(asked: int, most: int, start: int) -> str:
    """Why a cell is trained, in a few words; `most`: steps of its row with the most, -1 where it has none."""
    if most >= asked:
        return "evaluated with other settings, and its state was not kept"
    if most >= 0:
        return f"{asked:,} steps asked, {most:,} done" + ("" if start else ", and no state to train on was kept")
    return f"stopped at step {start:,}" if start else "new"


def _diverged_before(cell: Cell, evidence: Evidence) -> Cell | None:
    """The nearest cell of the branch that diverged, from `cell` back to the branch's beginning."""
    earlier: Cell | None = cell
    while earlier is not None and not evidence.diverged(cell_id(earlier)):
        earlier = origin(earlier)
    return earlier
