"""The textbook's VAEs with a strong decoder: `nn.LSTM` between sequences, and a gated PixelCNN of `nn.Conv2d`.

The same models as `models.networks.lstm` (He et al. 2019, B.2) and `models.networks.pixelcnn` (van den Oord et al.
2016) with the objective `vae`. As with perceptrons they share no code with models/, and are written for one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.textbook import Gaussian
from models.cell import Cell

_GATES = (0, 1, 3, 2)  # where nn.LSTM has the gates i, f, o and g: its order is i, f, g, o


class OneLayer(nn.Module):
    """A VAE of one layer of latent variables, whose loss has the analytic KL."""

    def __init__(self) -> None:
        super().__init__()
        self.draw: Callable[..., Tensor] = torch.randn  # where noise comes from

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of q(z|x), each (batch, units)."""
        raise NotImplementedError

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), (batch,)."""
        raise NotImplementedError

    def copy_from(self, params: Mapping[str, Tensor]) -> int:
        """Take the parameters of a stack's first cell; how many numbers that were."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The loss of a batch, nats per example."""
        mean, deviation = self.posterior(x)
        z = mean + deviation * self.draw(*mean.shape)
        kl = (0.5 * (mean**2 + deviation**2 - 1) - deviation.log()).sum(-1)
        mean_loss: Tensor = (kl - self.log_px(x, z)).mean()
        return mean_loss


class LstmVae(OneLayer):
    """Symbols, (batch, positions), of which 0 is the end and what follows it is padding."""

    def __init__(self, cell: Cell, vocabulary: int):
        super().__init__()
        self.vocabulary, latents, units = vocabulary, cell.latent_sizes[-1], cell.hidden_sizes[0][0]
        self.read = nn.Embedding(vocabulary + 1, cell.embedding)
        self.encoder = nn.LSTM(cell.embedding, units, batch_first=True)
        self.mean, self.raw = nn.Linear(units, latents), nn.Linear(units, latents)
        self.written = nn.Embedding(vocabulary, cell.embedding)
        self.cell_state = nn.Linear(latents, units, bias=False)
        self.decoder = nn.LSTM(cell.embedding + latents, units, batch_first=True)
        self.logits = nn.Linear(units, vocabulary)
        self.dropout = nn.Dropout(cell.dropout)
        for lstm in (self.encoder, self.decoder):  # a second bias beside the first is the same model
            lstm.bias_hh_l0.requires_grad_(False).zero_()

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        start = x.new_full((len(x), 1), self.vocabulary)
        states, _ = self.encoder(self.read(torch.cat([start, x], 1)))
        ends = 1 + (x == 0).int().argmax(1)
        state = states[torch.arange(len(x)), ends]
        return self.mean(state), F.softplus(self.raw(state) + 0.5413) + 1e-6

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        embedded = self.dropout(self.written(torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)))
        inputs = torch.cat([embedded, z[:, None].expand(-1, x.shape[1], -1)], -1)
        c = self.cell_state(z)[None]
        states, _ = self.decoder(inputs, (c.tanh(), c))
        each = F.cross_entropy(self.logits(self.dropout(states)).transpose(1, 2), x, reduction="none")
        ended = x == 0
        return -(each * (ended.cumsum(1) - ended.int() == 0)).sum(1)

    @torch.no_grad()
    def copy_from(self, params: Mapping[str, Tensor]) -> int:
        """See `OneLayer`."""
        own = {name: each[0] for name, each in params.items()}
        for lstm, of in ((self.encoder, "inference.lstm"), (self.decoder, "generative.lstm")):
            inputs = [own[f"{of}.{name}"] for name in ("input", "latent") if f"{of}.{name}" in own]
            lstm.weight_ih_l0.copy_(_gates(torch.cat(inputs)).T)
            lstm.weight_hh_l0.copy_(_gates(own[f"{of}.recurrent"]).T)
            lstm.bias_ih_l0.copy_(_gates(own[f"{of}.bias"]))
        self.read.weight.copy_(own["inference.embedding"])
        self.written.weight.copy_(own["generative.embedding"])
        self.cell_state.weight.copy_(own["generative.initial.weight"].T)
        linears = {"inference.mean": self.mean, "inference.deviation": self.raw, "generative.output": self.logits}
        for name, linear in linears.items():
            linear.weight.copy_(own[f"{name}.weight"].T)
            linear.bias.copy_(own[f"{name}.bias"])
        return sum(each.numel() for each in own.values())


def _gates(rows: Tensor) -> Tensor:
    """(…, 4 H), the gates in the order of nn.LSTM."""
    parts = rows.chunk(4, -1)
    return torch.cat([parts[gate] for gate in _GATES], -1)


class GatedLayer(nn.Module):
    """Two stacks of maps: of the rows above, and of the pixels before in the same row."""

    def __init__(self, inputs: int, maps: int, kernel: int, first: bool):
        super().__init__()
        self.reach, self.first = kernel // 2, first
        self.vertical = nn.Conv2d(inputs, 2 * maps, (self.reach + 1, kernel))
        self.link = nn.Conv2d(2 * maps, 2 * maps, 1, bias=False)
        self.horizontal = nn.Conv2d(inputs, 2 * maps, (1, self.reach + 1))
        self.residual = nn.Conv2d(maps, maps, 1)
        mask = torch.ones_like(self.horizontal.weight)
        if first:
            mask[:, 0, :, -1] = 0
        self.register_buffer("mask", mask)

    def forward(self, v: Tensor, h: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor]:
        p = self.reach
        seen = [each if z is None else torch.cat([each, z], 1) for each in (v, h)]
        a = self.vertical(F.pad(seen[0], (p, p, p, 0)))
        weight = self.horizontal.weight * self.mask if self.first else self.horizontal.weight
        c = F.conv2d(F.pad(seen[1], (p, 0, 0, 0)), weight, self.horizontal.bias)
        c = c + self.link(F.pad(a, (0, 0, 1, -1)))
        out = self.residual(gate(c))
        return gate(a), out if self.first else out + h


def gate(h: Tensor) -> Tensor:
    """tanh of the first half of the maps, times the sigmoid of the other."""
    a, b = h.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class PixelCnnVae(OneLayer):
    """Binary images of one channel, (batch, pixels)."""

    def __init__(self, cell: Cell, shape: tuple[int, int, int]):
        super().__init__()
        assert cell.encoder == "mlp" and cell.kernel.isdigit()
        _, self.height, self.width = shape
        pixels, latents, maps = self.height * self.width, cell.latent_sizes[-1], cell.maps
        self.q = Gaussian(pixels, cell.hidden_sizes[0], latents)
        counts = [cell.latent_maps] + [cell.latent_maps * (cell.skip == "all")] * cell.decoder_layers
        self.laid_out = nn.ModuleList(nn.Linear(latents, n * pixels) if n else None for n in counts)
        self.layers = nn.ModuleList(
            GatedLayer((maps if i else 1) + counts[i], maps, int(cell.kernel), not i)
            for i in range(cell.decoder_layers)
        )
        self.last = nn.Conv2d(maps + counts[-1], 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(pixels))
        self.to(memory_format=torch.channels_last)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.q(x)
        return found

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        grid = (len(x), -1, self.height, self.width)
        maps = [None if each is None else each(z).view(grid) for each in self.laid_out]
        v = h = x.view(grid)
        for layer, of_z in zip(self.layers, maps, strict=False):
            v, h = layer(v, h, of_z)
        h = F.elu(h)
        logits = self.last(h if maps[-1] is None else torch.cat([h, maps[-1]], 1)).flatten(1) + self.bias
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)

    @torch.no_grad()
    def copy_from(self, params: Mapping[str, Tensor]) -> int:
        """See `OneLayer`."""
        own = {name: each[0] for name, each in params.items()}
        linears = [each for each in self.q.body if isinstance(each, nn.Linear)]
        named: dict[str, nn.Module] = {f"inference.perceptron.{i}": each for i, each in enumerate(linears)}
        named |= {"inference.perceptron.mean": self.q.mean, "inference.perceptron.deviation": self.q.raw}
        for place, each in enumerate(self.laid_out, start=1):
            named |= {f"generative.{place}.z.mean": each} if each is not None else {}
        for place, layer in enumerate(self.layers, start=1):
            named |= {
                f"generative.{place}.{kind}": getattr(layer, kind)
                for kind in ("vertical", "link", "horizontal", "residual")
            }
        named[f"generative.{len(self.layers) + 1}.last"] = self.last
        for name, module in named.items():
            weight = own[f"{name}.weight"]
            module.weight.copy_(weight.T if isinstance(module, nn.Linear) else weight)  # type: ignore[operator]
            if module.bias is not None:
                module.bias.copy_(own[f"{name}.bias"])  # type: ignore[operator]
        self.bias.copy_(own["generative.bias"])
        return sum(each.numel() for each in own.values())
