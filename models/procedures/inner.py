"""When inner updates stop, and when aggressive training does: pure functions of what was recorded of each cell.

He, Spokoyny, Neubig & Berg-Kirkpatrick (ICLR 2019, Algorithm 1), as their published code has it. Equal losses do not
stop the inner updates there, although the paper says so; and there are at most 99 of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK = 10  # inner updates between decisions
FALLS = 5  # validations below the best one after which `fifth_below_best` stops


@dataclass(frozen=True)
class Blocks:
    """Of each cell within a step: whether inner updates go on, and the mean loss of the block before; both (cells,).

    Before the first block that loss is infinite, so that there are two blocks at least.
    """

    running: Tensor
    previous: Tensor

    @classmethod
    def first(cls, running: Tensor) -> Blocks:
        """Before the first update."""
        return cls(running, torch.full(running.shape, float("inf"), dtype=torch.float64, device=running.device))


def decide_block(record: Blocks, loss: Tensor) -> Blocks:
    """At the end of a block, whose mean loss is `loss`, (cells,): a cell stops where it is higher than the last one."""
    return Blocks(record.running & ~(loss > record.previous), loss)


@dataclass(frozen=True)
class Phase:
    """Of each cell, all (cells,).

    - `aggressive`: whether training still is.
    - `until`: the step at which it ceased to be, or −1.
    - `reference`: the mutual information that the next one is compared with; 0 before the first validation.
    - `falls`: validations so far that were below it.
    """

    aggressive: Tensor
    until: Tensor
    reference: Tensor
    falls: Tensor


def decide_phase(record: Phase, information: Tensor, step: int, first_fall: Tensor, below_best: Tensor) -> Phase:
    """At the validation after `step` steps.

    Args:
        information: mutual information between image and top layer, (cells,), nats.
        first_fall: (cells,) bool, those that stop when it is lower than at the validation before.
        below_best: (cells,) bool, those that stop at the fifth validation in all that is lower than the best. Cells in
            neither go on. Training that ceased to be aggressive never becomes so again.
    """
    judged = record.aggressive & (first_fall | below_best)
    lower = judged & (information < record.reference)
    falls = record.falls + lower
    stop = lower & (first_fall | (falls >= FALLS))
    reference = torch.where(judged & (first_fall | ~lower), information, record.reference)
    return ended(replace(record, reference=reference, falls=falls), stop, step)


def ended(record: Phase, stop: Tensor, step: int) -> Phase:
    """The record, with training no longer aggressive from `step` on where `stop`, (cells,) bool."""
    stop = stop & record.aggressive
    return replace(record, aggressive=record.aggressive & ~stop, until=torch.where(stop, step, record.until))
