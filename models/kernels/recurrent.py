"""Long short-term memory over a stack (Hochreiter & Schmidhuber 1997; with forget gates, Gers et al. 2000).

    i, f, o = σ(·), g = tanh(·) of W x_t + U h_{t−1} + b
    c_t = f c_{t−1} + i g,   h_t = o tanh c_t

Shapes: C cells, R rows (samples × batch), T steps, H units. What inputs contribute is one product over all steps, made
before; here is what goes from step to step.
"""

from __future__ import annotations

from torch import Tensor

from models.kernels import plain


def lstm(inputs: Tensor, recurrent: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    """h after each step, (C, R, T, H).

    Args:
        inputs: W x_t + b, (C, R, T, 4 H), in the order i, f, o, g.
        recurrent: U, (C, H, 4 H).
        h, c: the state before the first step, each (C, R, H); None: 0.
    """
    return plain.lstm(inputs, recurrent, h, c)
