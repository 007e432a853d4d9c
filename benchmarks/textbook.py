"""One cell trained the usual way: `nn.Linear`, a `DataLoader`, `torch.optim.Adam`. It shares no code with models/.

The same model and objective as `models.networks.mlp` with `vae` or `ou`, so the same work a step: bottom-up inference,
generative maps above p(x|z₁) averaged over S samples, sampled terms below the top, an analytic KL there. Other methods
are in `benchmarks.textbook_methods`, convolutions in `benchmarks.textbook_convolutional`, LSTMs and PixelCNNs in
`benchmarks.textbook_autoregressive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from models.cell import Cell
from models.data.dataset import Dataset

Layers = list[tuple[Tensor, Tensor, Tensor]]  # sample, mean and deviation of each, from the data up


class Gaussian(nn.Module):
    """A network with two heads: mean and deviation of a diagonal Gaussian."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int):
        super().__init__()
        self.body = body(inputs, hidden)
        self.mean, self.raw = nn.Linear(hidden[-1], outputs), nn.Linear(hidden[-1], outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads(self.body(x))

    def heads(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, given the last hidden layer."""
        return self.mean(h), F.softplus(self.raw(h) + 0.5413) + 1e-6


def body(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Linear and tanh in turn."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers)


def log_normal(x: Tensor, mean: Tensor, deviation: Tensor, units: tuple[int, ...] = (-1,)) -> Tensor:
    """Log density, summed over units, which lie along these axes."""
    return (-0.5 * ((x - mean) / deviation) ** 2 - deviation.log() - 0.5 * math.log(2 * math.pi)).sum(units)


class HierarchicalVae(nn.Module):
    """All maps of the cell's model, and its loss."""

    of_image: tuple[int, ...] = (-1,)  # axes of what belongs to one image: pixels, or the units of a layer

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
        self.draw: Callable[..., Tensor] = torch.randn  # where noise comes from

    def maps(self) -> dict[str, nn.Module]:
        """The maps by the names that models/ has for them."""
        up = {f"inference.{i}": each for i, each in enumerate(self.up, start=1)}
        return up | {"generative.1": self.pixels} | {f"generative.{i}": m for i, m in enumerate(self.down, start=2)}

    def others(self) -> dict[str, Tensor]:
        """Trained numbers beside the maps, by the names that models/ has for them."""
        return {}

    def encode(self, x: Tensor, chains: tuple[int, ...] = ()) -> Layers:
        """An ancestral pass up; of several chains, as the first axis."""
        z, layers = x, []
        for up in self.up:
            mean, deviation = up(z)
            z = mean + deviation * self.draw(*chains, *mean.shape[-2:])
            layers.append((z, mean, deviation))
        return layers

    def prior(self, i: int, z: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of layer i given the one above, smoothed."""
        if self.rho == 1.0:
            p_mean, p_deviation = self.down[i](z)
            return p_mean, p_deviation
        noise = self.noise_of_samples(z)
        moved = self.rho * z + (1 - self.rho) * mean + math.sqrt(1 - self.rho**2) * deviation * noise
        return self.down_averaged(i, moved)

    def noise_of_samples(self, z: Tensor) -> Tensor:
        """Noise of S samples around each of z, (S, batch, …)."""
        return self.draw(self.samples, *z.shape)

    def down_averaged(self, i: int, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of layer i given samples of the one above, (S, batch, …), averaged over these."""
        p_mean, p_deviation = self.down[i](moved)
        return p_mean.mean(0), p_deviation.mean(0)

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z₁), summed over pixels."""
        logits = self.pixels(z)
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)

    def top(self, layers: Layers) -> Tensor:
        """The term of the top layer."""
        _, mean, deviation = layers[-1]
        return (0.5 * (mean**2 + deviation**2 - 1) - deviation.log()).sum(self.of_image)

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch, nats per image."""
        layers = self.encode(x)
        loss = -self.log_px(x, layers[0][0])
        for i, (here, above) in enumerate(pairwise(layers)):
            p = self.prior(i, *above)
            loss = loss + log_normal(*here, self.of_image) - log_normal(here[0], *p, self.of_image)
        mean_loss: Tensor = (loss + self.top(layers)).mean()
        return mean_loss


class Textbook:
    """A model, its loader and its optimiser."""

    def __init__(self, cell: Cell, dataset: Dataset, device: str = "cpu"):
        from benchmarks.textbook_methods import model_of

        torch.manual_seed(cell.seed)
        rows = torch.tensor(dataset.train)
        self.symbols = dataset.kind == "tokens"
        rows = rows.long() if self.symbols else rows.float() / dataset.levels
        self.loader = DataLoader(TensorDataset(rows), cell.batch_size, shuffle=True, drop_last=True)
        self.device = device
        self.model = model_of(cell, dataset).to(device)
        self.model.draw = partial(self.model.draw, device=device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), cell.learning_rate)
        self.batches = self._batches()

    def _batches(self) -> Iterator[Tensor]:
        while True:
            for (rows,) in self.loader:
                yield rows

    def train(self, steps: int) -> None:
        """Take `steps` more steps."""
        for _ in range(steps):
            rows = next(self.batches).to(self.device)
            x = rows if self.symbols else torch.bernoulli(rows)
            self.optimizer.zero_grad()
            self.model(x).backward()
            self.optimizer.step()
