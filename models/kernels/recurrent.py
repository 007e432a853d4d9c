"""Long short-term memory over a stack (Hochreiter & Schmidhuber 1997; with forget gates, Gers et al. 2000).

    i, f, o = σ(·), g = tanh(·) of W x_t + U h_{t−1} + b
    c_t = f c_{t−1} + i g,   h_t = o tanh c_t

Shapes: C cells, R rows (samples × batch), T steps, H units. What inputs contribute is one product over all steps, made
before; here is what goes from step to step. One node of the graph stands for all steps: of each it keeps the gates and
two states, and the gradient of U is one product over rows and steps. Where a gradient is differentiated again, as
through refinement steps, it is a node with a gradient by hand where all steps are one call (`compiled_lstm.py`), and
else what `plain.lstm` has, at that one's cost, some eight times as high.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import compiled_lstm, plain, twice
from models.kernels.buffers import gradient_buffer
from models.kernels.elementwise import lstm_step, lstm_step_gradient
from models.kernels.products import add_product, in_float32, natively, product


def lstm(inputs: Tensor, recurrent: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    """h after each step, (C, R, T, H).

    Args:
        inputs: W x_t + b, (C, R, T, 4 H), in the order i, f, o, g.
        recurrent: U, (C, H, 4 H).
        h, c: the state before the first step, each (C, R, H); None: 0.
    """
    full = in_float32() or twice.twice()
    rounded = not full and natively(inputs)
    states: Tensor
    if (full or rounded) and compiled_lstm.usable(inputs, recurrent, rounded):
        states = _OneCall.apply(inputs, recurrent, h, c, rounded)  # type: ignore[no-untyped-call]
    elif full and not in_float32():
        states = plain.lstm(inputs, recurrent, h, c)
    else:
        states = _Lstm.apply(inputs, recurrent, h, c)  # type: ignore[no-untyped-call]
    return states


class _OneCall(torch.autograd.Function):
    """`_Lstm` in one call."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, recurrent: Tensor, h: Tensor | None, c: Tensor | None, rounded: bool
    ) -> Tensor:
        states, kept = compiled_lstm.forward(inputs, recurrent, h, c, rounded)
        ctx.rounded = rounded
        ctx.save_for_backward(inputs, recurrent, h, c, *kept)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, recurrent, h, c, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again
            found: tuple[Tensor | None, ...] = _OneCallGradient.apply(  # type: ignore[no-untyped-call]
                ctx.needs_input_grad[1], grad, inputs, recurrent, h, c, *kept
            )
            return *found, None
        of_recurrent = gradient_buffer(recurrent) if ctx.needs_input_grad[1] else None
        of_inputs, *rest = compiled_lstm.backward(
            grad, recurrent, h, c, compiled_lstm.Kept(*kept), of_recurrent, ctx.rounded
        )
        return of_inputs, of_recurrent, *rest, None


class _OneCallGradient(torch.autograd.Function):
    """The gradient of `_OneCall`, as something that has a gradient itself."""

    @staticmethod
    def forward(
        ctx: Any, weight_too: bool, grad: Tensor, inputs: Tensor, recurrent: Tensor, h: Any, c: Any, *kept: Tensor
    ) -> tuple[Tensor | None, ...]:
        of_recurrent = torch.empty_like(recurrent) if weight_too else None
        of_inputs, *rest = compiled_lstm.backward(grad, recurrent, h, c, compiled_lstm.Kept(*kept), of_recurrent)
        ctx.save_for_backward(grad, recurrent, h, c, *kept)
        ctx.set_materialize_grads(False)
        return of_inputs, of_recurrent, *rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *along: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, recurrent, h, c, *kept = ctx.saved_tensors
        of_recurrent = torch.empty_like(recurrent) if ctx.needs_input_grad[3] else None
        of_grad, of_inputs, *rest = compiled_lstm.backward_again(
            grad, recurrent, h, c, compiled_lstm.Kept(*kept), along, of_recurrent
        )
        return None, of_grad, of_inputs, of_recurrent, *rest, *[None] * len(kept)


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
            lstm_step(own, last_c, remembered, squashed, state)
            last_h, last_c = state, remembered
        ctx.save_for_backward(inputs, recurrent, h, c, gates, states, memory, active)
        return states.permute(1, 2, 0, 3).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, recurrent, h, c, gates, states, memory, active = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again
            return _again(grad, inputs, recurrent, h, c)
        back, of_gates, of_states = recurrent.mT, torch.empty_like(gates), grad.permute(2, 0, 1, 3).contiguous()
        of_h, of_c = of_states[-1], torch.zeros_like(memory[0])
        for t in reversed(range(len(gates))):
            lstm_step_gradient(gates[t], memory[t - 1] if t else c, active[t], of_h, of_c, of_gates[t])
            if t:
                of_h = of_states[t - 1]
                add_product(of_h, of_gates[t], back)
        if h is not None:
            of_h = product(of_gates[0], back)
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
