"""The gated PixelCNN (van den Oord, Kalchbrenner, Vinyals et al. 2016, figure 2), of pixels in raster order.

    log p(x|z) = Σ_i log p(x_i | x_{<i}, z)

A layer has two stacks of maps. v at (r, c) is given what lies in the rows up to r, whole; h at (r, c) the pixels left
of c in row r, and through a link all rows above. With kernel k, reach p = k // 2, and gate(a, b) = tanh(a) σ(b):

    a = vertical(v)    (p + 1) × k, rows r − p … r           v' = gate(a)
    c = horizontal(h) + down(link(a))                        h' = h + residual(gate(c)),   in layer 1 without h
        1 × (p + 1), columns c − p … c      1 × 1, one row down

Only what the link is given is moved down, so no pixel that comes before is out of sight of enough layers ("blind
spot"). In layer 1 both stacks are given the image, whose own pixel the horizontal kernel leaves out by a mask inside
the graph: the masked weight has no gradient. Then the logits are 1 × 1 of ELU(h), and a bias for each pixel, which
starts at the data.

z is laid out in maps of the image's size by an affine map. The first layer is given them beside the image; they are not
masked. With `skip: all` each layer, both stacks, and the last convolution have such maps of their own (Dieng et al.
2019). There the residual goes through another 1 × 1 convolution of h and the maps, with skips or without, which here
it does not. There is no batch normalisation: with it p(x) would depend on the batch, and not sum to 1.

Shapes: C cells, S samples, B batch, rows R = S B, H × W positions, D = H W pixels, M maps, N of z.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cell.image_shape import ImageShape
from models.kernels import convolution
from models.kernels.activations import elu
from models.kernels.convolution import stacked
from models.kernels.gated_maps import gated_maps, one_row_down
from models.kernels.perceptron import Perceptron
from models.networks.network import Params
from models.networks.pixelcnn_spec import Decoder, Kernel, gated_layers, seen_maps
from models.parameters import Parameter

_PLACE = 1 << 16  # of its parameters' draws: never renumbered
_LAID_OUT, _BIAS = 1 << 12, 1 << 15  # after it, of the maps of z and of the pixels' bias
_OF_LAYER = 16  # places of a layer
GAIN = {"vertical": 1.0, "link": 1.0, "horizontal": 1.0, "residual": 1.0, "last": 0.5}  # see `residual.GAIN`


@dataclass(frozen=True)
class GatedConv:
    """One convolution of every cell, with its parameters.

    own: whether its first map is the image, whose pixel in the last column of the kernel is hidden.
    """

    name: str
    shape: Kernel
    place: int
    own: bool = False

    def parameters(self) -> Iterator[Parameter]:
        """Weight (O, I, K, L), and bias (O,) where there is one."""
        of = self.shape
        deviation = GAIN[of.kind] / (of.inputs * of.height * of.width) ** 0.5
        size = of.outputs, of.inputs, of.height, of.width
        yield Parameter(f"{self.name}.weight", size, 1, self.place, normal=(0.0, deviation))
        if of.biased:
            yield Parameter(f"{self.name}.bias", (of.outputs,), 1, self.place + 1)

    def __call__(self, params: Params, h: Tensor) -> Tensor:
        """Of maps with the zeros around them that their place asks for, (R, C I, H', W') → (R, C O, H, W)."""
        weight = params[f"{self.name}.weight"]
        if self.own:
            weight = weight * _mask(weight)
        bias = params[f"{self.name}.bias"] if self.shape.biased else weight.new_zeros(weight.shape[:2])
        return convolution.convolve(h, weight, bias, around=False)


def _mask(weight: Tensor) -> Tensor:
    """0 at the last column of the first map, else 1: (I, 1, L)."""
    mask = torch.ones(weight.shape[2:], dtype=weight.dtype, device=weight.device)
    mask[0, :, -1] = 0.0
    return mask


class PixelDecoder:
    """p(x|z) or, where its options have no maps of z, p(x).

    Args:
        options: of `pixelcnn` or `pixelcnn_alone`.
        shape: of an image.
        latents: units of z; 0: there is none.
        bias: where that of each pixel starts, (D,).

    Attributes:
        reach: rows above a pixel that it may depend on.
        widest: numbers of the largest activation, of one row.
    """

    def __init__(self, options: Decoder, shape: ImageShape, latents: int, bias: npt.NDArray[np.float64]):
        self.shape, self.bias = shape, bias
        self.reach = 1 + sum(size // 2 for size in options.kernels)
        self.widest = 2 * options.maps * shape.positions
        self.layers = [
            {
                each.kind: GatedConv(
                    f"generative.{layer}.{each.kind}",
                    each,
                    _PLACE + _OF_LAYER * layer + 2 * number,
                    own=each.kind == "horizontal" and layer == 1,
                )
                for number, each in enumerate(kernels)
            }
            for layer, kernels in enumerate(gated_layers(options), start=1)
        ]
        self.laid_out = [
            Perceptron(
                f"generative.{layer}.z",
                (latents, seen_maps(options, layer - 1) * shape.positions),
                "identity",
                1,
                _PLACE + _LAID_OUT * layer,
                "generative",
                deviation=False,
            )
            if seen_maps(options, layer - 1)
            else None
            for layer in range(1, len(self.layers) + 1)
        ]

    def parameters(self) -> Iterator[Parameter]:
        """Layer by layer, of each the affine map of z first, and the bias of every pixel."""
        for convs, laid_out in zip(self.layers, self.laid_out, strict=True):
            if laid_out is not None:
                yield from laid_out.parameters()
            for each in convs.values():
                yield from each.parameters()
        yield Parameter("generative.bias", (self.shape.positions,), 1, _PLACE + _BIAS, self.bias)

    def maps_of(self, params: Params, z: Tensor) -> list[Tensor | None]:
        """z (C, S, B, N) laid out for each layer, (R, C K, H, W), None where a layer sees none of it."""
        grid = self.shape.height, self.shape.width
        return [None if each is None else stacked(each.mean(params, z), *grid) for each in self.laid_out]

    def __call__(self, params: Params, x: Tensor, maps: Sequence[Tensor | None], first: int = 0) -> Tensor:
        """Logits of each pixel given those before it.

        Args:
            x: some rows of images that follow one another, (R, C, H', W).
            maps: of z, as of `maps_of`, of the same rows.
            first: the number of the first of them. If it is not 0 their first `reach` logits rows are of no use.

        Returns:
            (R, C, H', W).
        """
        cells = x.shape[1]
        v = h = x
        *layers, last = self.layers
        for number, (conv, z) in enumerate(zip(layers, maps, strict=False)):
            a = conv["vertical"](params, _beside(cells, v, z, conv["vertical"].shape))
            c = conv["horizontal"](params, _beside(cells, h, z, conv["horizontal"].shape))
            above = conv["link"](params, one_row_down(a))
            found = conv["residual"](params, gated_maps(c, cells, above))
            h = found.add_(h) if number else found
            if number + 1 < len(layers):
                v = gated_maps(a, cells)
        logits = last["last"](params, _beside(cells, elu(h), maps[-1], last["last"].shape))
        bias = params["generative.bias"].view(cells, self.shape.height, -1)
        return logits + bias[:, first : first + x.shape[2]]


def _beside(cells: int, h: Tensor, z: Tensor | None, kernel: Kernel) -> Tensor:
    """A cell's maps, and its maps of z, with the zeros before them that a kernel asks for, and for one that sees whole
    rows also behind them: (R, C I, H, W), (R, C K, H, W) → (R, C (I + K), H', W')."""
    if z is not None:
        rows, _, height, width = h.shape
        both = [each.permute(0, 2, 3, 1).reshape(rows, height, width, cells, -1) for each in (h, z)]
        h = torch.cat(both, -1).flatten(-2).permute(0, 3, 1, 2)
    above = kernel.height - 1
    left, right = (kernel.width // 2,) * 2 if kernel.kind == "vertical" else (kernel.width - 1, 0)
    return F.pad(h, (left, right, above, 0)) if above or left else h
