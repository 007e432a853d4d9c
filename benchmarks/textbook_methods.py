"""Textbook models of the other methods, each as its paper has it, and whether models/ computes the same.

IWAE (Burda et al. 2016), the VampPrior (Tomczak & Welling 2018), planar flows (Rezende & Mohamed 2015) and the Ladder
VAE (Sønderby et al. 2016), of perceptrons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.textbook import Gaussian, HierarchicalVae, Layers, body, log_normal
from benchmarks.textbook_autoregressive import LstmVae, OneLayer, PixelCnnVae
from benchmarks.textbook_convolutional import ConvolutionalVae
from models.cell import Cell, cell_size
from models.cell.sequence_shape import SequenceShape
from models.data.dataset import Dataset

# Of an objective, relative. In float32 its terms are added up in another order; in bfloat16 autocast rounds what is
# between convolutions as well.
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-3}


class Iwae(HierarchicalVae):
    """The importance-weighted bound of K chains."""

    def __init__(self, cell: Cell, features: int):
        super().__init__(cell, features)
        self.chains = cell.chains

    def forward(self, x: Tensor) -> Tensor:
        layers = self.encode(x, (self.chains,))
        log_w = self.log_px(x, layers[0][0])
        for i, (here, above) in enumerate(pairwise(layers)):
            log_w = log_w + log_normal(here[0], *self.down[i](above[0])) - log_normal(*here)
        z = layers[-1][0]
        log_w = log_w + (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(-1) - log_normal(*layers[-1])
        bound: Tensor = (log_w.logsumexp(0) - math.log(self.chains)).mean()
        return -bound


class Vamp(HierarchicalVae):
    """A prior that is the mixture of q(z_L|u_k), of learned inputs of the top map."""

    def __init__(self, cell: Cell, features: int):
        super().__init__(cell, features)
        self.inputs = nn.Parameter(torch.randn(cell.pseudo_inputs, (features, *cell.latent_sizes)[-2]))
        self.of_images = cell.depth == 1
        if self.of_images:
            with torch.no_grad():
                self.inputs.mul_(0.01).add_(0.05)

    def others(self) -> dict[str, Tensor]:
        """The pseudo-inputs."""
        return {"prior.pseudo_images" if self.of_images else "prior.pseudo_inputs": self.inputs}

    def top(self, layers: Layers) -> Tensor:
        """log q − log p at the sample."""
        z = layers[-1][0]
        means, deviations = self.up[-1](self.inputs.clamp(0, 1) if self.of_images else self.inputs)  # (K, units)
        each = log_normal(z.unsqueeze(-2), means, deviations)  # (batch, K)
        return log_normal(*layers[-1]) - each.logsumexp(-1) + math.log(len(means))


class Planar(HierarchicalVae):
    """A posterior of the top layer that is a Gaussian moved by planar flows; their numbers are outputs of its map, or,
    `global`, the same for all images."""

    def __init__(self, cell: Cell, features: int):
        super().__init__(cell, features)
        self.steps, self.units = cell.flow_steps, cell.latent_sizes[-1]
        self.amortised = cell.flow_parameters == "amortised"
        if self.amortised:
            self.head = nn.Linear(cell.hidden_sizes[-1][-1], self.steps * (2 * self.units + 1))
        else:
            self.u, self.w = (nn.Parameter(0.1 * torch.randn(self.steps, self.units)) for _ in range(2))
            self.b = nn.Parameter(torch.zeros(self.steps))

    def others(self) -> dict[str, Tensor]:
        """What the flow is made of."""
        if not self.amortised:
            return {f"inference.flow.{name}": getattr(self, name) for name in ("u", "w", "b")}
        name = f"inference.{len(self.up)}.flow"
        return {f"{name}.weight": self.head.weight.T, f"{name}.bias": self.head.bias}

    def forward(self, x: Tensor) -> Tensor:
        layers = self.encode(x)
        z, mean, deviation = layers[-1]
        term = log_normal(z, mean, deviation)
        for u, w, b in self.flow():
            z, log_det = planar(z, u, w, b)
            term = term - log_det
        layers[-1] = (z, mean, deviation)  # all that sees z_L is given the flow's end
        loss = term + (0.5 * z**2 + 0.5 * math.log(2 * math.pi)).sum(-1) - self.log_px(x, layers[0][0])
        for i, (here, above) in enumerate(pairwise(layers)):
            loss = loss + log_normal(*here) - log_normal(here[0], *self.down[i](above[0]))
        mean_loss: Tensor = loss.mean()
        return mean_loss

    def encode(self, x: Tensor, chains: tuple[int, ...] = ()) -> Layers:
        """As of `HierarchicalVae`, keeping the last hidden layer for the flow's head."""
        z, layers = x, []
        for up in self.up:
            self.last = up.body(z)
            mean, deviation = up.heads(self.last)
            z = mean + deviation * self.draw(*chains, *mean.shape[-2:])
            layers.append((z, mean, deviation))
        return layers

    def flow(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """u, w and b of every step."""
        if not self.amortised:
            yield from zip(self.u, self.w, self.b, strict=True)
            return
        for each in self.head(self.last).unflatten(-1, (self.steps, -1)).unbind(-2):  # (batch, 2 units + 1)
            yield each[..., : self.units], each[..., self.units : -1], each[..., -1:]


def planar(z: Tensor, u: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """z + û tanh(wᵀz + b) and the logarithm of its determinant, with the û that makes it invertible."""
    inner = (w * u).sum(-1, keepdim=True)
    moved = u + (F.softplus(inner) - 1 - inner) * w / (w**2).sum(-1, keepdim=True)
    h = torch.tanh((z * w).sum(-1, keepdim=True) + b)
    log_det = torch.log1p((1 - h**2) * (w * moved).sum(-1, keepdim=True)).squeeze(-1)
    return z + moved * h, log_det


class LadderVae(nn.Module):
    """Deterministic features up; on the way down q is merged with p, or with a map of its own."""

    def __init__(self, cell: Cell, features: int):
        super().__init__()
        sizes, hidden = (features, *cell.latent_sizes), cell.hidden_sizes
        inputs = (features, *(each[-1] for each in hidden))
        self.up = nn.ModuleList(Gaussian(a, h, b) for a, h, b in zip(inputs, hidden, sizes[1:], strict=False))

        def downward() -> nn.ModuleList:
            each = zip(sizes[1:], hidden[1:], sizes[2:], strict=False)
            return nn.ModuleList(Gaussian(b, h[::-1], a) for a, h, b in each)

        self.down, self.down_of_q = downward(), downward() if cell.shared_top_down == "no" else None
        self.pixels = nn.Sequential(body(sizes[1], hidden[0][::-1]), nn.Linear(hidden[0][0], features))
        self.draw: Callable[..., Tensor] = torch.randn

    def maps(self) -> dict[str, nn.Module]:
        """See `HierarchicalVae`."""
        own = {f"inference_down.{i}": each for i, each in enumerate(self.down_of_q or (), start=2)}
        return HierarchicalVae.maps(self) | own

    others = HierarchicalVae.others
    log_px = HierarchicalVae.log_px

    def forward(self, x: Tensor) -> Tensor:
        d, found = x, []
        for up in self.up:
            d = up.body(d)
            found.append(up.heads(d))
        mean, deviation = found[-1]
        z = mean + deviation * self.draw(*mean.shape)
        loss = (0.5 * (mean**2 + deviation**2 - 1) - deviation.log()).sum(-1)
        for i in reversed(range(len(self.down))):
            p_mean, p_deviation = self.down[i](z)
            of_q = (p_mean, p_deviation) if self.down_of_q is None else self.down_of_q[i](z)
            precision, p_precision = found[i][1] ** -2, of_q[1] ** -2
            variance = 1 / (precision + p_precision)
            mean = variance * (found[i][0] * precision + of_q[0] * p_precision)
            deviation = variance.sqrt()
            z = mean + deviation * self.draw(*mean.shape)
            kl = p_deviation.log() - deviation.log()
            kl = kl + 0.5 * ((variance + (mean - p_mean) ** 2) / p_deviation**2 - 1)
            loss = loss + kl.sum(-1)
        mean_loss: Tensor = (loss - self.log_px(x, z)).mean()
        return mean_loss


def model_of(cell: Cell, dataset: Dataset) -> nn.Module:
    """The textbook's model of a cell."""
    features, shape = dataset.features, dataset.shape
    if cell.network == "resnet":
        return ConvolutionalVae(cell)
    if isinstance(shape, SequenceShape):
        return LstmVae(cell, shape.vocabulary)
    if cell.network == "pixelcnn":
        return PixelCnnVae(cell, shape)
    if cell.network == "ladder":
        return LadderVae(cell, features)
    made: Callable[[Cell, int], nn.Module] = HierarchicalVae
    if cell.objective == "iwae":
        made = Iwae
    elif cell.prior == "vamp":
        made = Vamp
    elif cell.posterior == "planar":
        made = Planar
    return made(cell, features)


def compared(cell: Cell, dataset: Dataset) -> str:
    """A sentence on what models/ and the textbook have in common: trained numbers, and the objective at these.

    The textbook gets a fresh stack's parameters, its images and its noise. Raises ValueError where the objectives
    differ; where the two have parameters of other names, only their number is compared.
    """
    from models.draws.draws import Purpose
    from models.kernels.products import precision
    from models.stack.stack import Stack

    model, stack = model_of(cell, dataset).eval(), Stack([cell], dataset)
    count, own = sum(p.numel() for p in model.parameters() if p.requires_grad), cell_size(cell).parameters
    if count != own:
        return f"Not the same model: {own:,} parameters here, {count:,} in the textbook's."
    with torch.no_grad():
        if isinstance(model, OneLayer):
            copied = model.copy_from(stack.params)
        else:
            copied = sum(_copy(module, name, stack.params) for name, module in model.maps().items())
            for name, parameter in model.others().items():
                if name in stack.params:
                    copied += parameter.copy_(stack.params[name][0]).numel()
        if copied != count:
            return f"The same number of parameters, {count:,}; {count - copied:,} of them have no common name."
        x = stack.minibatch(0)
        shape = stack.samples, cell.batch_size
        noise = [stack.draws.normal(Purpose.LATENT, (*shape, n), 0, i) for i, n in enumerate(cell.latent_sizes, 1)]
        smoothing = stack.objective.smoothing(stack.draws, 0, cell.latent_sizes, cell.batch_size)
        with precision(cell.precision):
            value = float(stack.objective.value(stack.network.terms(stack.params, x, noise, smoothing), 0))
        drawn = chain(noise[::-1] if cell.network == "ladder" else noise, smoothing.noise if smoothing else ())
        model.draw = _handed(drawn)
        theirs = -float(model(x[0, 0].long() if dataset.kind == "tokens" else x[0, 0]))
    if abs(value - theirs) > TOLERANCE[cell.precision] * abs(value):
        raise ValueError(f"the objective of {cell.architecture} is {value} here and {theirs} in the textbook's loop")
    return f"Both have {count:,} parameters, and at these and the same noise the objective {value:.3f} ({theirs:.3f})."


def _handed(noise: Iterator[Tensor]) -> Callable[..., Tensor]:
    """Noise in the shapes that a model asks for, in its order."""

    def draw(*shape: int) -> Tensor:
        return next(noise).reshape(shape)

    return draw


def _copy(module: nn.Module, name: str, params: dict[str, Any]) -> int:
    """Give a map the parameters that the first cell of a stack has under this name; how many numbers that were."""
    convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
    for place, convolution in enumerate(convolutions):
        convolution.weight.copy_(params[f"{name}.{place}.weight"][0])
        convolution.bias.copy_(params[f"{name}.{place}.bias"][0])
    if convolutions:
        return sum(each.weight.numel() + each.bias.numel() for each in convolutions)
    linears = [each for each in module.modules() if isinstance(each, nn.Linear)]
    heads = ["mean", "deviation"] if isinstance(module, Gaussian) else ["mean"]
    places = [*map(str, range(len(linears) - len(heads))), *heads]
    for linear, place in zip(linears, places, strict=True):
        linear.weight.copy_(params[f"{name}.{place}.weight"][0].T)
        linear.bias.copy_(params[f"{name}.{place}.bias"][0])
    return sum(each.weight.numel() + each.bias.numel() for each in linears)
