"""What a step does beside matrix products, each in one pass over memory where `models.kernels.compiled` has it.

Shapes: C cells, S samples, B batch, R = S B rows, N features. Every function is written twice: compiled for float32 on
a CPU, and in torch for all else. Both give the same numbers to rounding. In both a number's value does not depend on
its place in memory (so torch's `softplus` and `sigmoid` are not used): on one CPU thread a cell's numbers are bitwise
those of the cell trained alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels import compiled
from models.kernels.buffers import address
from models.kernels.products import product

_aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A function of one number whose slope follows from its value, so that its argument need not be kept.

    - `over`: replaces x by its value.
    - `gradient_over`: replaces the gradient of the value, given the value, by that of x.
    """

    over: Callable[[Tensor], Tensor]
    gradient_over: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS = {
    "tanh": Activation(torch.tanh_, lambda g, y: _aten.tanh_backward.grad_input(g, y, grad_input=g)),
    "relu": Activation(torch.relu_, lambda g, y: _aten.threshold_backward.grad_input(g, y, 0.0, grad_input=g)),
    "leaky_relu": Activation(
        lambda x: F.leaky_relu(x, 0.01, inplace=True),
        lambda g, y: _aten.leaky_relu_backward.grad_input(g, y, 0.01, True, grad_input=g),
    ),
    "elu": Activation(
        lambda x: F.elu(x, 1.0, inplace=True),
        lambda g, y: _aten.elu_backward.grad_input(g, 1.0, 1.0, 1.0, True, y, grad_input=g),
    ),
    "identity": Activation(lambda x: x, lambda g, y: g),  # a linear network
}


def _library(*tensors: Tensor) -> ctypes.CDLL | None:
    """The compiled functions, if they can work on these tensors."""
    fit = all(t.dtype is torch.float32 and t.device.type == "cpu" and t.is_contiguous() for t in tensors)
    return compiled.library() if fit else None


def kernels(device: torch.device, dtype: torch.dtype, precision: str = "float32") -> str:
    """What does these passes over a stack's tensors here, which decides their last bits: `compiled` or `torch`.

    In training with `precision` bfloat16, where the processor multiplies such numbers, `… with amx` or `… with
    avx512_bf16` (`models.kernels.bfloat16`, `models.kernels.convolution`); elsewhere that is imitated.
    """
    passes = "torch" if _library(torch.empty(0, dtype=dtype, device=device)) is None else "compiled"
    unit = compiled.bfloat16_unit() if precision == "bfloat16" and device.type == "cpu" else None
    return passes if unit is None else f"{passes} with {unit}"


def affine_activation(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """act(x W + b): x (C, R, I), weight (C, I, N), bias (C, N) → (C, R, N)."""
    out = product(x, weight)
    library = _library(out) if activation == "tanh" else None
    if library is None:
        return ACTIVATIONS[activation].over(out.add_(bias.unsqueeze(1)))
    library.bias_tanh(out.data_ptr(), bias.data_ptr(), *out.shape, bias.stride(0))
    return out


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b, as in `affine_activation`."""
    out = product(x, weight)
    library = _library(out)
    if library is None:
        return out.add_(bias.unsqueeze(1))
    library.add_bias(out.data_ptr(), bias.data_ptr(), *out.shape, bias.stride(0))
    return out


def mean_samples(h: Tensor, samples: int) -> Tensor:
    """(C, S B, N) → the mean over samples, (C, B, N)."""
    out = h.new_empty(len(h), h.shape[1] // samples, h.shape[2])
    library = _library(h)
    if library is None:
        return torch.mean(h.view(len(h), samples, -1, h.shape[2]), 1, out=out)
    library.mean_samples(h.data_ptr(), out.data_ptr(), len(h), samples, out[0].numel())
    return out


def add_gradient_of_mean(grad: Tensor, of_mean: Tensor, samples: int) -> None:
    """Add to the gradient of h, (C, S B, N), that of its mean over samples, (C, B, N)."""
    library = _library(grad, of_mean)
    if library is None:
        grad.view(len(grad), samples, *of_mean.shape[1:]).add_(of_mean.unsqueeze(1), alpha=1.0 / samples)
    else:
        sizes = len(grad), samples, of_mean[0].numel()
        library.mean_samples_gradient(grad.data_ptr(), of_mean.data_ptr(), *sizes)


def activation_gradient(grad: Tensor, y: Tensor, activation: str, of_bias: Tensor) -> None:
    """Replace the gradient of y = act(x W + b), (C, R, N), by that of x W + b; its sum over rows → `of_bias` (C, N)."""
    library = _library(grad, y) if activation == "tanh" else None
    if library is None:
        ACTIVATIONS[activation].gradient_over(grad, y)
        torch.sum(grad, 1, out=of_bias)
    else:
        library.tanh_gradient(grad.data_ptr(), y.data_ptr(), of_bias.data_ptr(), *grad.shape, of_bias.stride(0))


def sum_rows(grad: Tensor, out: Tensor) -> None:
    """(C, R, N) → out (C, N)."""
    library = _library(grad)
    if library is None:
        torch.sum(grad, 1, out=out)
    else:
        library.sum_rows(grad.data_ptr(), out.data_ptr(), *grad.shape, out.stride(0))


def mean_softplus(raw: Tensor, average: bool, shift: float, floor: float) -> tuple[Tensor, Tensor]:
    """softplus(raw + shift) + floor, raw (C, S, B, N); its mean over samples, (C, 1, B, N), if `average`.

    Returns it with its slope, (C, S, B, N).
    """
    cells, samples = raw.shape[:2] if average else (1, 1)
    library = _library(raw)
    if library is not None:
        out, slope = torch.empty_like(raw[:, :1] if average else raw), torch.empty_like(raw)
        sizes = cells, samples, raw.numel() // (cells * samples)
        library.mean_softplus(raw.data_ptr(), out.data_ptr(), slope.data_ptr(), *sizes, shift, floor)
        return out, slope
    log_off, slope = _log_sigmoid(torch.rsub(raw, -shift))
    if samples > 1:
        log_off, slope = log_off.mean(1, keepdim=True), slope.div_(samples)
    return log_off.neg_().add_(floor), slope


def bernoulli(x: Tensor, logits: Tensor, with_slope: bool = True) -> tuple[Tensor, Tensor | None]:
    """Σ x l − softplus(l) over the last axis, x (C, 1, B, N), l (C, S, B, N) → (C, S, B), and its slope, like l."""
    library = _library(logits, x[0])
    if library is not None:
        cells, samples, batch, n = logits.shape
        out, slope = logits.new_empty(cells, samples, batch), torch.empty_like(logits) if with_slope else None
        sizes = cells, samples * batch, x.shape[1] * batch, n, x.stride(0)
        library.bernoulli(*map(address, (logits, x, out, slope)), *sizes)
        return out, slope
    against = logits.neg()
    log_off, p = _log_sigmoid(against)
    return log_off.addcmul_(x, against, value=-1.0).sum(-1), torch.sub(x, p, out=p)


def lstm_step(gates: Tensor, before: Tensor | None, c: Tensor, squashed: Tensor, h: Tensor) -> None:
    """A step of an LSTM: replace what the gates i, f, o, g are given, (C, R, 4 N), by their values; from c before the
    step, (C, R, N) or None for 0, fill c, tanh c and h after it."""
    library = _library(gates, *(each for each in (before, c, squashed, h) if each is not None))
    if library is not None:
        addresses = [None if each is None else each.data_ptr() for each in (gates, before, c, squashed, h)]
        library.lstm_step(*addresses, c.numel() // c.shape[-1], c.shape[-1])
        return
    switches = gates[..., : 3 * c.shape[-1]].mul_(0.5)  # σ(a) = ½ + ½ tanh(a / 2)
    gates.tanh_()
    switches.mul_(0.5).add_(0.5)
    i, f, o, g = gates.chunk(4, -1)
    torch.mul(i, g, out=c)
    if before is not None:
        c.addcmul_(f, before)
    torch.mul(o, torch.tanh(c, out=squashed), out=h)


def lstm_step_gradient(
    gates: Tensor, before: Tensor | None, squashed: Tensor, of_h: Tensor, of_c: Tensor, of_gates: Tensor
) -> None:
    """The gradient of `lstm_step`: from those of h and c after the step, fill that of what the gates were given, and
    replace that of c by that of c before the step."""
    library = _library(*(each for each in (gates, before, squashed, of_h, of_c, of_gates) if each is not None))
    if library is not None:
        given = gates, before, squashed, of_h, of_c, of_gates
        addresses = [None if each is None else each.data_ptr() for each in given]
        library.lstm_step_gradient(*addresses, of_c.numel() // of_c.shape[-1], of_c.shape[-1])
        return
    i, f, o, g = gates.chunk(4, -1)
    of_i, of_f, of_o, of_g = of_gates.chunk(4, -1)
    of_c.add_(squashed.square().neg_().add_(1.0).mul_(o).mul_(of_h))
    torch.mul(of_h, squashed, out=of_o)
    torch.mul(of_c, g, out=of_i)
    torch.mul(of_c, i, out=of_g)
    of_f.zero_() if before is None else torch.mul(of_c, before, out=of_f)
    switches = gates[..., : 3 * of_c.shape[-1]]
    of_gates[..., : 3 * of_c.shape[-1]].mul_(switches).mul_(1.0 - switches)
    of_g.mul_(g.square().neg_().add_(1.0))
    of_c.mul_(f)


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """log σ(x) = −softplus(−x), and σ(−x), which is minus its slope in −x."""
    log, kept = _aten.log_sigmoid_forward(x)
    return log, _aten.log_sigmoid_backward(torch.ones_like(x), x, kept)
