"""A learning rate that is halved where the loss on validation images no longer falls, and training that then ends.

After each validation (He et al. 2019, as their code has it), by one of two rules:

- `reference`, of text: a loss at or below the reference becomes the reference; one above it is counted, and at the
  `halve_after`-th in a row the rate is halved and that loss becomes the reference;
- `best`, of images: the same against the best loss so far, which stays as it is.

A halving takes back the weights of the best validation and begins the optimiser anew. After so many halvings as the
cell says its training has ended: it keeps the best weights, and is done for any number of steps.

All of it is a function of what was recorded of the cell at validations, which come at absolute steps: training to 500
and then to 1,000 steps is training to 1,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.cell import Cell
from models.procedures.validation import validation_loss, validations_every

if TYPE_CHECKING:
    from models.stack.stack import Stack


@dataclass(frozen=True)
class Record:
    """Of each cell, all (cells,).

    - `reference`, `best`: losses, float64, infinite before the first validation.
    - `bad`: validations in a row above the reference.
    - `halvings`: so far; `ended_at`: the step at which training ended, or −1.
    """

    reference: Tensor
    best: Tensor
    bad: Tensor
    halvings: Tensor
    ended_at: Tensor


@dataclass(frozen=True)
class Rule:
    """What the cells say, all (cells,): see `models.procedures.spec.HalvingOptions`."""

    after: Tensor
    by_best: Tensor
    start: Tensor
    most: Tensor


@dataclass(frozen=True)
class Decision:
    """The new record; which cells have a new best, and which halve their rate, (cells,) bool."""

    record: Record
    improved: Tensor
    halve: Tensor


def decide(record: Record, loss: Tensor, step: int, rule: Rule) -> Decision:
    """At the validation after `step` steps, whose loss is `loss`, (cells,) float64. What has ended stays as it is."""
    on = record.ended_at < 0
    improved = on & (loss < record.best)
    above = on & ~(loss <= record.reference)  # a loss that is no number counts as well
    bad = torch.where(on, torch.where(above, record.bad + 1, 0), record.bad)
    halve = above & (bad >= rule.after) & (step >= rule.start)
    halvings = record.halvings + halve
    lowered = (on & ~above) | (halve & ~rule.by_best)
    ended = halve & (halvings >= rule.most)
    return Decision(
        Record(
            torch.where(lowered, loss, record.reference),
            torch.where(improved, loss, record.best),
            torch.where(halve, 0, bad),
            halvings,
            torch.where(ended, step, record.ended_at),
        ),
        improved,
        halve,
    )


_NAMES = {
    "reference": "loss_reference",
    "best": "loss_best",
    "bad": "validations_above",
    "halvings": "halvings_done",
    "ended_at": "schedule_ended_at",
}


def state(cells: Sequence[Cell], device: torch.device) -> dict[str, Tensor]:
    """The entries of `Record` as a stack's state has them; nothing where the cells do not halve their rate."""
    if not cells[0].halve_after:
        return {}
    infinite = torch.full((len(cells),), float("inf"), dtype=torch.float64, device=device)
    zero = torch.zeros(len(cells), dtype=torch.int64, device=device)
    first = Record(infinite, infinite, zero, zero, zero - 1)
    return {name: getattr(first, field).clone() for field, name in _NAMES.items()}


@torch.no_grad()
def after_step(stack: Stack) -> None:
    """The validation that belongs to the end of a step, where one is due, and what follows from it."""
    if stack.best is None or stack.step % validations_every(stack):
        return
    before = Record(**{field: stack.state[name] for field, name in _NAMES.items()})
    active = stack.active.clone()
    found = decide(before, validation_loss(stack), stack.step, _rule(stack))
    for field, name in _NAMES.items():  # a cell that diverged has no say any more
        stack.state[name].copy_(torch.where(active, getattr(found.record, field), stack.state[name]))
    improved, halve, values = (found.improved & active), (found.halve & active).unsqueeze(1), stack.block.values
    stack.best.copy_(torch.where(improved.unsqueeze(1), values, stack.best))
    values.copy_(torch.where(halve, stack.best, values))
    stack.optimizer.restart(halve.squeeze(1))
    stack.active.logical_and_(stack.state["schedule_ended_at"] < 0)


def _rule(stack: Stack) -> Rule:
    def of(values: list[int]) -> Tensor:
        return torch.tensor(values, device=stack.device)

    cells = stack.cells
    return Rule(
        of([cell.halve_after for cell in cells]),
        of([cell.halve_rule == "best" for cell in cells]),
        of([cell.halve_from for cell in cells]),
        of([cell.halvings for cell in cells]),
    )
