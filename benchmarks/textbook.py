"""One cell trained the usual way: `nn.Linear`, a `DataLoader`, `torch.optim.Adam`. It shares no code with models/.

The same model and objective as `models.networks.mlp` with `ou`, so the same work a step: bottom-up inference,
generative maps above p(x|z₁) averaged over S samples, sampled terms below the top, an analytic KL there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from models.cell import Cell
from models.data.dataset import Dataset


class Gaussian(nn.Module):
    """A network with two heads: mean and deviation of a diagonal Gaussian."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int):
        super().__init__()
        self.body = body(inputs, hidden)
        self.mean, self.raw = nn.Linear(hidden[-1], outputs), nn.Linear(hidden[-1], outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.mean(h), F.softplus(self.raw(h) + 0.5413) + 1e-6


def body(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Linear and tanh in turn."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers)


def log_normal(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Log density, summed over units."""
    return (-0.5 * ((x - mean) / deviation) ** 2 - deviation.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


class HierarchicalVae(nn.Module):
    """All maps of the cell's model, and its loss."""

    def __init__(self, cell: Cell, features: int):
        super().__init__()
        self.rho, self.samples = cell.rho, cell.smoothing_samples
        sizes = (features, *cell.latent_sizes)
        hidden = cell.hidden_sizes
        self.up = nn.ModuleList(Gaussian(a, h, b) for a, h, b in zip(sizes, hidden, sizes[1:], strict=False))
        self.down = nn.ModuleList(
            Gaussian(b, h[::-1], a) for a, h, b in zip(sizes[1:], hidden[1:], sizes[2:], strict=False)
        )
        self.pixels = nn.Sequential(body(sizes[1], hidden[0][::-1]), nn.Linear(hidden[0][0], features))

    def prior(self, i: int, z: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of layer i given the one above, smoothed."""
        if self.rho == 1.0:
            p_mean, p_deviation = self.down[i](z)
            return p_mean, p_deviation
        noise = torch.randn(self.samples, *z.shape, device=z.device)
        moved = self.rho * z + (1 - self.rho) * mean + math.sqrt(1 - self.rho**2) * deviation * noise
        p_mean, p_deviation = self.down[i](moved)
        return p_mean.mean(0), p_deviation.mean(0)

    def forward(self, x: Tensor) -> Tensor:
        z, layers = x, []
        for up in self.up:
            mean, deviation = up(z)
            z = mean + deviation * torch.randn_like(mean)
            layers.append((z, mean, deviation))
        loss = F.binary_cross_entropy_with_logits(self.pixels(layers[0][0]), x, reduction="none").sum(-1)
        for i, (here, above) in enumerate(pairwise(layers)):
            loss = loss + log_normal(*here) - log_normal(here[0], *self.prior(i, *above))
        _, mean, deviation = layers[-1]
        loss = loss + (0.5 * (mean**2 + deviation**2 - 1) - deviation.log()).sum(-1)
        mean_loss: Tensor = loss.mean()
        return mean_loss


class Textbook:
    """A model, its loader and its optimiser."""

    def __init__(self, cell: Cell, dataset: Dataset, device: str = "cpu"):
        torch.manual_seed(cell.seed)
        grey = torch.tensor(dataset.train).float() / dataset.levels
        self.loader = DataLoader(TensorDataset(grey), cell.batch_size, shuffle=True, drop_last=True)
        self.device = device
        self.model = HierarchicalVae(cell, dataset.features).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), cell.learning_rate)
        self.batches = self._batches()

    def _batches(self) -> Iterator[Tensor]:
        while True:
            for (grey,) in self.loader:
                yield grey

    def train(self, steps: int) -> None:
        """Take `steps` more steps."""
        for _ in range(steps):
            x = torch.bernoulli(next(self.batches).to(self.device))
            self.optimizer.zero_grad()
            self.model(x).backward()
            self.optimizer.step()
