"""The textbook's convolutional VAE: `nn.Conv2d` in the memory format `channels_last`, bfloat16 by `torch.autocast`.

The same model and objectives as `models.networks.resnet` with `vae` or `ou` and neither skips nor normalisation: maps
of pre-activation residual blocks between layers of maps on a grid (He et al. 2016). As with perceptrons it shares no
code with models/, and is written for one cell.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.textbook import HierarchicalVae, Layers
from models.cell import Cell

Grid = tuple[int, int, int]  # maps, height, width


class Block(nn.Module):
    """h + c₂(f(c₁(f(h)))), with f = ELU."""

    def __init__(self, maps: int):
        super().__init__()
        self.first, self.last = (nn.Conv2d(maps, maps, 3, padding=1) for _ in range(2))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.last(F.elu(self.first(F.elu(h))))
        return out


class Maps(nn.Module):
    """From maps on one grid to `heads` times those of another, in float32 or under autocast in bfloat16.

    To a coarser grid convolutions of stride 2 lead before the blocks, to a finer one each number is repeated and
    convolved after them.
    """

    def __init__(self, given: Grid, wanted: Grid, heads: int, maps: int, blocks: int, entry: int, bfloat16: bool):
        super().__init__()
        self.bfloat16 = bfloat16
        down, up = (round(math.log2(max(1, a / b))) for a, b in ((given[1], wanted[1]), (wanted[1], given[1])))
        layers: list[nn.Module] = [nn.Conv2d(given[0], maps, entry, stride=2 if down else 1, padding=entry // 2)]
        for _ in range(down - 1):
            layers += [nn.ELU(), nn.Conv2d(maps, maps, 3, stride=2, padding=1)]
        layers += [Block(maps) for _ in range(blocks)]
        for _ in range(up):
            layers += [nn.ELU(), nn.Upsample(scale_factor=2), nn.Conv2d(maps, maps, 3, padding=1)]
        layers += [nn.ELU(), nn.Conv2d(maps, heads * wanted[0], 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, h: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            out: Tensor = self.layers(h)
        return out.float()


class GaussianMaps(nn.Module):
    """Mean and deviation of a diagonal Gaussian over every map and position."""

    def __init__(self, given: Grid, wanted: Grid, maps: int, blocks: int, entry: int, bfloat16: bool):
        super().__init__()
        self.maps = Maps(given, wanted, 2, maps, blocks, entry, bfloat16)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.maps(h).chunk(2, 1)
        return mean, F.softplus(raw + 0.5413) + 1e-6


def channels_last_noise(*shape: int, device: str = "cpu") -> Tensor:
    """Standard normal numbers, (rows, maps, height, width), laid out as the maps are."""
    rows, maps, height, width = shape
    return torch.randn(rows, height, width, maps, device=device).permute(0, 3, 1, 2)


class ConvolutionalVae(HierarchicalVae):
    """All maps of the cell's model, and its loss; tensors have the shape (batch, maps, height, width)."""

    of_image = (-3, -2, -1)

    def __init__(self, cell: Cell):
        nn.Module.__init__(self)
        assert cell.image_shape is not None
        channels, height, width = cell.image_shape
        self.rho, self.samples, self.image = cell.rho, cell.smoothing_samples, (channels, height, width)
        sizes: list[Grid] = []
        for each in cell.latents.split("-"):
            maps, height, width = map(int, each.split("x"))
            sizes.append((maps, height, width))
        hidden, kind = (cell.maps, cell.blocks), cell.precision == "bfloat16"
        self.up = nn.ModuleList(
            GaussianMaps(a, b, *hidden, 3 if i else 5, kind) for i, (a, b) in enumerate(pairwise([self.image, *sizes]))
        )
        self.down = nn.ModuleList(GaussianMaps(b, a, *hidden, 3, kind) for a, b in pairwise(sizes))
        self.pixels = Maps(sizes[0], self.image, 1, *hidden, 3, kind)
        self.pixel_bias = nn.Parameter(torch.zeros(self.image))
        self.draw = channels_last_noise
        self.to(memory_format=torch.channels_last)

    def others(self) -> dict[str, Tensor]:
        """The bias of every pixel."""
        return {"generative.1.bias": self.pixel_bias.view(-1)}

    def encode(self, x: Tensor, chains: tuple[int, ...] = ()) -> Layers:
        """An ancestral pass up, of one chain."""
        z, layers = x, []
        for up in self.up:
            mean, deviation = up(z)
            z = mean + deviation * self.draw(*mean.shape)
            layers.append((z, mean, deviation))
        return layers

    def noise_of_samples(self, z: Tensor) -> Tensor:
        """Drawn as rows, as the samples go down."""
        return self.draw(self.samples * len(z), *z.shape[1:]).unflatten(0, (self.samples, -1))

    def down_averaged(self, i: int, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Samples go down as rows, one after the other."""
        p_mean, p_deviation = (each.unflatten(0, (self.samples, -1)) for each in self.down[i](moved.flatten(0, 1)))
        return p_mean.mean(0), p_deviation.mean(0)

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z₁), summed over pixels."""
        logits = self.pixels(z) + self.pixel_bias
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(self.of_image)

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch of images, (batch, pixels), nats per image."""
        return super().forward(x.view(-1, *self.image).contiguous(memory_format=torch.channels_last))
