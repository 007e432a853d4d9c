"""Long short-term memory over a stack (Hochreiter & Schmidhuber 1997; with forget gates, Gers et al. 2000).

    i, f, o = σ(·), g = tanh(·) of W x_t + U h_{t−1} + b
    c_t = f c_{t−1} + i g,   h_t = o tanh c_t

Shapes: C cells, R rows (samples × batch), T steps, H units. What inputs contribute is one product over all steps, made
before; here is what goes from step to step. One node of the graph stands for all steps: of each it keeps the gates and
two states, and the gradient of U is one product over rows and steps. Where a gradient is differentiated again, as
through refinement steps, the node is taken as `plain.lstm` has it, at that one's cost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.kernels import plain
from models.kernels.buffers import gradient_buffer
from models.kernels.products import add_product, product


def lstm(inputs: Tensor, recurrent: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    """h after each step, (C, R, T, H).

    Args:
        inputs: W x_t + b, (C, R, T, 4 H), in the order i, f, o, g.
        recurrent: U, (C, H, 4 H).
        h, c: the state before the first step, each (C, R, H); None: 0.
    """
    states: Tensor = _Lstm.apply(inputs, recurrent, h, c)  # type: ignore[no-untyped-call]
    return states


class _Lstm(torch.autograd.Function):
    """Inside, steps come first, so that what a step works on lies together: (T, C, R, ·)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, h: Tensor | None, c: Tensor | None) -> Tensor:
        cells, rows, steps, units = *inputs.shape[:3], recurrent.shape[1]
        gates = inputs.permute(2, 0, 1, 3).contiguous()
        states, memory, active = (gates.new_empty(steps, cells, rows, units) for _ in range(3))  # h, c, tanh c
        last_h, last_c = h, c
        for own, state, remembered, squashed in zip(gates, states, memory, active, strict=True):
            if last_h is not None:
                add_product(own, last_h, recurrent)
            switches = own[..., : 3 * units].mul_(0.5)  # σ(a) = ½ + ½ tanh(a / 2)
            own.tanh_()
            switches.mul_(0.5).add_(0.5)
            i, f, o, g = own.chunk(4, -1)
            torch.mul(i, g, out=remembered)
            if last_c is not None:
                remembered.addcmul_(f, last_c)
            torch.mul(o, torch.tanh(remembered, out=squashed), out=state)
            last_h, last_c = state, remembered
        ctx.save_for_backward(inputs, recurrent, h, c, gates, states, memory, active)
        return states.permute(1, 2, 0, 3).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, recurrent, h, c, gates, states, memory, active = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again
            return _again(grad, inputs, recurrent, h, c)
        steps, units, back = len(gates), recurrent.shape[1], recurrent.mT
        of_gates, of_states = torch.empty_like(gates), grad.permute(2, 0, 1, 3)
        of_h: Tensor | None = None  # from the step after
        of_c: Tensor | None = None
        for t in reversed(range(steps)):
            i, f, o, g = gates[t].chunk(4, -1)
            of_i, of_f, of_o, of_g = of_gates[t].chunk(4, -1)
            of_state = of_states[t] if of_h is None else of_h.add_(of_states[t])
            of_memory = active[t].square().neg_().add_(1.0).mul_(o).mul_(of_state)
            if of_c is not None:
                of_memory.add_(of_c)
            torch.mul(of_state, active[t], out=of_o)
            torch.mul(of_memory, g, out=of_i)
            torch.mul(of_memory, i, out=of_g)
            before = memory[t - 1] if t else c
            torch.mul(of_memory, before, out=of_f) if before is not None else of_f.zero_()
            switches = gates[t][..., : 3 * units]
            of_gates[t][..., : 3 * units].mul_(switches).mul_(1.0 - switches)
            of_g.mul_(g.square().neg_().add_(1.0))
            of_c = of_memory.mul_(f)
            if t or h is not None:
                of_h = product(of_gates[t], back)
        of_inputs = of_gates.permute(1, 2, 0, 3).contiguous()  # (C, R, T, 4 H)
        seen = states[:-1] if h is None else torch.cat([h.unsqueeze(0), states[:-1]])
        rows = seen.permute(1, 2, 0, 3).flatten(1, 2)
        theirs = of_inputs if h is not None else of_inputs[:, :, 1:]
        of_recurrent = product(rows.mT, theirs.flatten(1, 2), out=gradient_buffer(recurrent))
        return of_inputs, of_recurrent, None if h is None else of_h, None if c is None else of_c


def _again(grad: Tensor, *given: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradient as a graph of its own, by the plain steps."""
    wanted = [each for each in given if each is not None and each.requires_grad]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(plain.lstm(*given), wanted, grad, create_graph=True))  # type: ignore[arg-type]
    return tuple(next(found) if each is not None and each.requires_grad else None for each in given)
