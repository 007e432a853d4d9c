"""`aggressive`: the inference network is brought up to date before each update of the generative one.

    n = 1, 2, …:  φ ← φ + η ∇φ L(X_n; θ, φ)        inner updates, X₁ the minibatch of the step, the others drawn anew
                  θ ← θ + η ∇θ L(X₁; θ, φ)         the step, of the generative network (and the prior's parameters)

(He et al. 2019, Algorithm 1), as long as a cell's training is aggressive; afterwards θ and φ follow one gradient on X₁,
which is `joint`. With K = 0 inner updates training is `joint` from the beginning, to the last bit.

Every draw of an inner update has its number in its address, and nothing that lasts no longer than a step is remembered:
a step that was interrupted is taken again from its beginning, with the same numbers. Cells decide for themselves, at
the ends of blocks; those that go on are computed without the others.

On a GPU nothing of it is recorded as a graph: kernels are launched one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.cell import Cell
from models.draws.draws import Draws, Purpose
from models.procedures import halving
from models.procedures.inner import BLOCK, Blocks, Phase, decide_block, decide_phase, ended
from models.procedures.spec import MAX_INNER
from models.procedures.validation import top_information, validations_every

if TYPE_CHECKING:
    from models.stack.stack import Stack

INFERENCE = ("inference",)
_INNER = {Purpose.LATENT: Purpose.INNER_LATENT, Purpose.SMOOTH: Purpose.INNER_SMOOTH}


class Aggressive:
    """See `models.procedures.procedure.Procedure`."""

    def state(self, cells: Sequence[Cell], device: torch.device) -> dict[str, Tensor]:
        """The entries of `Phase`, and how many inner updates there were, all (cells,)."""
        count = len(cells)
        whole = {"inner_updates_done": 0, "aggressive_until": -1, "mi_falls": 0}
        counts = {name: torch.full((count,), n, dtype=torch.int64, device=device) for name, n in whole.items()}
        phase = {
            "aggressive": torch.ones(count, dtype=torch.bool, device=device),
            "mi_reference": torch.zeros(count, dtype=torch.float64, device=device),
        }
        return counts | phase | halving.state(cells, device)

    def step(self, stack: Stack) -> None:
        """The inner updates of the cells that have any, then the step of all; last, what ends the phase."""
        x = stack.minibatch(stack.step)
        budgets = [MAX_INNER if cell.inner_rule == "yes" else cell.inner_updates for cell in stack.cells]
        on = (stack.active & stack.state["aggressive"]).tolist()
        inner = [place for place, budget in enumerate(budgets) if on[place] and budget]
        if inner:
            self._inner_updates(stack, x, inner, budgets)
        self._generate(stack, x, inner)
        stack.step += 1
        self._end_phase(stack)
        halving.after_step(stack)

    def refine(self, *_: Any) -> None:
        """None: q's numbers are the inference network's."""

    def _inner_updates(self, stack: Stack, x: Tensor, running: list[int], budgets: Sequence[int]) -> None:
        """All of a step. running: places of the cells that have any; budgets: the most that each cell of all has."""
        device = stack.device
        by_rule = torch.tensor([cell.inner_rule == "yes" for cell in stack.cells], device=device)
        blocks, losses = Blocks.first(by_rule), torch.zeros(len(stack.cells), dtype=torch.float64, device=device)
        part, members, done = stack, list(range(len(stack.cells))), 0
        while running:
            if members != running:
                self._put_back(stack, members, part)
                members = list(running)
                part = stack if len(members) == len(stack.cells) else stack.cut(members)
            where = torch.tensor(members, device=device)
            until = min(done - done % BLOCK + BLOCK, *(budgets[place] for place in running))
            for number in range(done + 1, until + 1):
                own = x[where] if number == 1 else part.minibatch(stack.step, number)
                losses.index_add_(0, where, self._infer(part, own, number))
            done = until
            goes_on = torch.ones_like(by_rule)
            if done % BLOCK == 0:
                blocks = decide_block(blocks, losses / BLOCK)
                goes_on = blocks.running | ~by_rule
                losses = torch.zeros_like(losses)
            stays = (goes_on[where] & part.active).tolist()
            running = [place for place, stay in zip(members, stays, strict=True) if stay and budgets[place] > done]
        self._put_back(stack, members, part)

    @staticmethod
    def _put_back(stack: Stack, members: Sequence[int], part: Stack) -> None:
        if part is not stack:
            stack.paste(members, part)

    def _infer(self, stack: Stack, x: Tensor, number: int) -> Tensor:
        """One update of the inference networks of a stack's active cells; their losses, (cells,) float64."""
        loss, norm = self._differentiate(stack, x, INFERENCE, number)
        stack.optimizer.update(stack.block.gradient, stack.step, stack.active, norm, groups=INFERENCE)
        stack.state["inner_updates_done"].add_(stack.active)
        return loss

    def _generate(self, stack: Stack, x: Tensor, inner: Sequence[int]) -> None:
        """The step: θ of every active cell, φ of those that had no inner updates, from one gradient."""
        groups = stack.block.ranges.keys()
        others = [group for group in groups if group not in INFERENCE]
        had = torch.zeros_like(stack.active)
        had[list(inner)] = True
        alone = len(inner) == len(stack.cells)
        loss, norm = self._differentiate(stack, x, others if alone else groups, own=None if alone else (had, others))
        gradient, active = stack.block.gradient, stack.active
        if not alone:
            stack.optimizer.update(gradient, stack.step, active & ~had, norm, groups=INFERENCE)
        stack.optimizer.update(gradient, stack.step, active, norm, groups=others)
        stack.count(-loss)

    def _differentiate(
        self,
        stack: Stack,
        x: Tensor,
        groups: Collection[str],
        number: int = 0,
        own: tuple[Tensor, Sequence[str]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The gradient of some groups into the stack's block; cells for which it is not finite are marked diverged.

        Args:
            x: (cells, 1, batch, features).
            groups: of which the gradient is wanted.
            number: of the inner update, which its draws have in their address; 0: the draws of the step.
            own: which cells use only some groups' gradients, and which: the others' say nothing of them.

        Returns:
            Loss, in float64, and the norm of the gradient that is used, both (cells,).
        """
        step, batch = stack.step, stack.batch_size
        draws: Draws = InnerDraws(stack.draws, number) if number else stack.draws
        whole = stack.optimizer.needs_all
        wanted = stack.block.ranges.keys() if whole else groups
        noise = [
            draws.normal(Purpose.LATENT, (stack.samples, batch, units), step, layer)
            for layer, units in enumerate(stack.network.latents, start=1)
        ]
        smoothing = stack.objective.smoothing(draws, step, stack.network.latents, batch)
        paths = stack.objective.paths()
        more: dict[str, Any] = {} if paths is None else {"paths": paths}
        more |= stack.masks(step, number)
        terms = stack.network.terms(stack.block.apart(wanted), x, noise, smoothing, **more)
        value = stack.objective.value(terms, step)
        stack.block.differentiate(-value.sum(), wanted)
        norm = stack.block.norm(wanted)
        if own is not None and not whole:
            norm = torch.where(own[0], stack.block.norm(own[1]), norm)
        value = value.detach()
        stack.mark_diverged(torch.isfinite(value + norm), step)
        return -value.double(), norm

    def _end_phase(self, stack: Stack) -> None:
        """Training becomes joint: after so many steps, or where a validation says so."""
        state, cells, step = stack.state, stack.cells, stack.step
        phase = Phase(state["aggressive"], state["aggressive_until"], state["mi_reference"], state["mi_falls"])
        if step % validations_every(stack) == 0 and any(cell.mi_stop != "none" for cell in cells):
            rules = ([cell.mi_stop == name for cell in cells] for name in ("first_fall", "fifth_below_best"))
            first, best = (torch.tensor(each, device=stack.device) for each in rules)
            phase = decide_phase(phase, top_information(stack), step, first, best)
        over = torch.tensor([0 < cell.aggressive_steps <= step for cell in cells], device=stack.device)
        phase = ended(phase, over, step)
        record = {
            "aggressive": phase.aggressive,
            "aggressive_until": phase.until,
            "mi_reference": phase.reference,
            "mi_falls": phase.falls,
        }
        for name, value in record.items():
            state[name].copy_(value)


class InnerDraws(Draws):
    """The draws of an inner update: what a step asks for, at addresses that have the update's number in them."""

    def __init__(self, source: Draws, number: int):
        self.source, self.number = source, number

    def normal(self, purpose: Purpose, shape: Sequence[int], step: Any = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """See `Draws.normal`."""
        return self.source.normal(_INNER[purpose], shape, step, layer, self._inner(inner))

    def uniform(self, purpose: Purpose, shape: Sequence[int], step: Any = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """See `Draws.uniform`."""
        return self.source.uniform(_INNER[purpose], shape, step, layer, self._inner(inner))

    def _inner(self, inner: int) -> int:
        return self.number << 4 | inner  # a step's own are below 16
