"""Maps of pre-activation residual blocks, between layers whose units are maps on a grid.

    block(h) = h + c₂(f(c₁(f(h)))),   f = ELU,   c 3 × 3 convolutions                 (He et al. 2016, "pre-activation")

A map is a first convolution, blocks, and a head f(h) → c: one that puts out twice as many maps for mean and deviation.
To a coarser grid the first convolution halves height and width, and further ones of 3 × 3 as often as it takes, before
the blocks. To a finer one each number is repeated twice both ways and a 3 × 3 convolution follows, after the blocks: no
checkerboards as of transposed convolutions, and nothing to be said about their padding.

There is no normalisation over a batch: an image's terms would depend on the batch that it is in, and the S smoothed
copies of a sample would have statistics that evaluation does not. What it is for, that blocks start near the identity,
small last convolutions do: c₂ ~ N(0, 0.1² / fan-in). With weight normalisation, w = g v / ‖v‖ for every map that a
convolution puts out, the start follows from a first pass (`FirstPass`); afterwards it knows no batch either.

Shapes: C cells, S samples, B batch, rows R = S B, M hidden maps, I and O units of two layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cell.latents import MapShape
from models.kernels import convolution
from models.kernels.activations import elu
from models.kernels.convolution import narrowed, stacked, unstacked
from models.kernels.densities import sigma
from models.networks.convolution_spec import Conv, map_convs
from models.parameters import Group, Parameter

Params = Mapping[str, Tensor]
# Deviation of first weights times the root of their fan-in. What sees f is larger by what f takes away.
GAIN = {"first": 1.0, "down": 1.5, "inner": 1.5, "last": 0.1, "up": 1.5, "joined": 1.5, "head": 0.5}
FIRST_DEVIATION = {"first": 1.0, "down": 1.0, "inner": 1.0, "last": 0.1, "up": 1.0, "joined": 1.0, "head": 0.5}  # g₀
MIN_DEVIATION = 0.01  # s
_AT_A_TIME = 1 << 20  # numbers of the widest activation, where no gradient needs them all
_LENGTHS = 1 << 14  # places of lengths, after all convolutions
_BIAS = 1 << 15  # place of the bias of every output, after all convolutions


@dataclass(frozen=True)
class StackedConv:
    """One convolution of every cell, with its parameters. `layer` and `place` address their draws."""

    name: str
    shape: Conv
    layer: int
    place: int
    group: Group
    normalized: bool = False

    def parameters(self) -> Iterator[Parameter]:
        """Weight (O, I, K, K) and bias (O,); with weight normalisation the length of each map's weights (O,)."""
        of = self.shape
        deviation = GAIN[of.kind] / (of.inputs * of.size**2) ** 0.5
        size = of.outputs, of.inputs, of.size, of.size
        yield Parameter(f"{self.name}.weight", size, self.layer, self.place, group=self.group, normal=(0.0, deviation))
        yield Parameter(f"{self.name}.bias", (of.outputs,), self.layer, self.place + 1, group=self.group)
        if self.normalized:
            place = self.place + _LENGTHS
            yield Parameter(f"{self.name}.length", (of.outputs,), self.layer, place, group=self.group)

    def __call__(self, params: Params, h: Tensor, of_elu: bool = False) -> Tensor:
        """(R, C I, H, W) → (R, C O, H', W'); `of_elu`: of elu(h)."""
        stride = self.shape.stride
        return self.with_weights(
            params, lambda weight, bias: convolution.convolve(h, weight, bias, stride, of_elu=of_elu)
        )

    def with_weights(self, params: Params, convolve: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What `convolve` makes of (weight, bias), (C, O, I, K, K) and (C, O)."""
        weight, bias = params[f"{self.name}.weight"], params[f"{self.name}.bias"]
        if not self.normalized:
            return convolve(weight, bias)
        direction = weight / weight.flatten(2).square().sum(-1).sqrt()[..., None, None, None]
        if isinstance(params, FirstPass):
            params.start(self.name, convolve(direction, torch.zeros_like(bias)), FIRST_DEVIATION[self.shape.kind])
        length = params[f"{self.name}.length"][..., None, None, None]
        return convolve(length * direction, params[f"{self.name}.bias"])


class FirstPass(dict[str, Tensor]):
    """Parameters of which lengths and biases are set as they are come by, each once, in a pass of a minibatch.

        g = g₀ / s,   b = −m g₀ / s          m, s: mean and deviation of what v / ‖v‖ makes of the minibatch

    (Salimans & Kingma 2016, eqs. 6 and 7), so that of each cell every map has mean 0 and deviation g₀ there. Where s is
    less than `MIN_DEVIATION`, as of a map that sees nothing but a constant, it counts as that.

    Attributes:
        found: what was set, by name.
    """

    def __init__(self, params: Params):
        super().__init__(params)
        self.found: dict[str, Tensor] = {}

    def start(self, name: str, out: Tensor, deviation: float) -> None:
        """Set length and bias of the convolution `name`, whose maps of directions alone are `out`, (R, C O, H, W)."""
        if f"{name}.length" in self.found:
            return
        cells = len(self[f"{name}.bias"])
        each = (
            out.view(len(out), cells, -1, *out.shape[2:]).permute(1, 2, 0, 3, 4).flatten(2).double().contiguous()
        )  # (C, O, R H W)
        mean = each.mean(-1)
        spread = (each - mean.unsqueeze(-1)).square().mean(-1).sqrt().clamp_min(MIN_DEVIATION)
        for kind, value in (("length", deviation / spread), ("bias", -mean * deviation / spread)):
            self[f"{name}.{kind}"] = self.found[f"{name}.{kind}"] = value.to(out.dtype)


class ResidualMap:
    """From a layer's units, or an image, to another's: see `models.networks.bottom_up.Map`.

    Args:
        name: that its parameters' names begin with.
        given, wanted: the two layers; grids of a power of two of each other.
        maps, blocks: of the hidden convolutions, and residual blocks.
        layer, place, group: of its parameters; `place` is that of the first one's draw.
        entry: size of the first kernel.
        deviation: whether it puts out one beside the mean.
        bias: where the bias of every output starts; None: there is none but one for each map.
        normalized: whether weights are normalised.
    """

    def __init__(
        self,
        name: str,
        given: MapShape,
        wanted: MapShape,
        maps: int,
        blocks: int,
        layer: int,
        place: int,
        group: Group,
        entry: int = 3,
        deviation: bool = True,
        bias: np.ndarray | None = None,
        normalized: bool = False,
    ):
        self.name, self.given, self.wanted = name, given, wanted
        self.parts, self.layer, self.place, self.group, self.bias = 1 + deviation, layer, place, group, bias
        shapes = map_convs(given, wanted, self.parts, maps, blocks, entry)
        self.convs = [
            StackedConv(f"{name}.{number}", shape, layer, place + 2 * number, group, normalized)
            for number, shape in enumerate(shapes)
        ]
        self.widest = max(shape.outputs * shape.positions for shape in shapes)

    def parameters(self) -> Iterator[Parameter]:
        """Of the convolutions in order, then the bias of every output."""
        for each in self.convs:
            yield from each.parameters()
        if self.bias is not None:
            yield Parameter(
                f"{self.name}.bias", (self.wanted.units,), self.layer, self.place + _BIAS, self.bias, self.group
            )

    def mean(self, params: Params, x: Tensor, average: bool = False) -> Tensor:
        """The outputs of a map without a deviation: x (C, S, B, I) → (C, S, B, O)."""
        (out,) = self._outputs(params, x)
        out = out.mean(1, keepdim=True) if average else out
        return out if self.bias is None else out + params[f"{self.name}.bias"][:, None, None]

    def gaussian(self, params: Params, x: Tensor, average: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each (C, S, B, O), or their averages over samples, (C, 1, B, O)."""
        mean, raw = self._outputs(params, x)
        return mean.mean(1, keepdim=True) if average else mean, sigma(raw, average)

    def gaussian_and_flow(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean and deviation, and None: a convolution has no outputs for a flow."""
        return *self.gaussian(params, x), None

    def _outputs(self, params: Params, x: Tensor) -> tuple[Tensor, ...]:
        """Of the head, in its parts, each (C, S, B, O); on a CPU without a gradient some images at a time, in the
        caches, to the same bits."""
        batch, some = x.shape[2], x.shape[2]
        if not (torch.is_grad_enabled() or isinstance(params, FirstPass)) and x.device.type == "cpu":
            some = max(1, _AT_A_TIME // (x.shape[0] * x.shape[1] * self.widest))
        if some >= batch:
            return self._outputs_of(params, x)
        parts = [self._outputs_of(params, x[:, :, first : first + some]) for first in range(0, batch, some)]
        return tuple(torch.cat(each, 2) for each in zip(*parts, strict=True))

    def _outputs_of(self, params: Params, x: Tensor) -> tuple[Tensor, ...]:
        """The same at once."""
        cells, samples = x.shape[:2]
        h = _through(self.convs, params, stacked(x, self.given.height, self.given.width))
        return unstacked(h, cells, samples, self.parts, x.dtype)


def through(convs: Sequence[StackedConv], params: Params, h: Tensor) -> Tensor:
    """One convolution after the other, with what is done around each, (R, C I, H, W) → (R, C O, H', W').

    What is between them is in bfloat16 where convolutions are: see `models.kernels.convolution`.
    """
    return _through(convs, params, h).to(h.dtype)


def _through(convs: Sequence[StackedConv], params: Params, h: Tensor) -> Tensor:
    """The same, in bfloat16 still where convolutions are."""
    h = narrowed(h)
    for each in convs:
        match each.shape.kind:
            case "first":
                h = each(params, h)  # (R, C M, H', W')
            case "inner":
                kept, h = h, each(params, h, of_elu=True)
            case "last":
                h = each(params, h, of_elu=True).add_(kept)
            case "up":
                h = each(params, _twice_as_fine(elu(h)))
            case _:  # down, head
                h = each(params, h, of_elu=True)
    return h


def _twice_as_fine(h: Tensor) -> Tensor:
    """(R, C M, H, W) → (R, C M, 2 H, 2 W), each number twice both ways."""
    return F.interpolate(h, scale_factor=2, mode="nearest")
