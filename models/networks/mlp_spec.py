"""What is known of the hierarchical MLP without torch: its options, its name in words, and what a cell of it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from models.cell.fields import option, parse_sizes
from models.cell.image_shape import ImageShape
from models.cell.latents import LatentOptions
from models.cell.size import Affine, Size

if TYPE_CHECKING:
    from models.cell.cell import Cell


def parse_hidden(text: str | int, depth: int) -> tuple[tuple[int, ...], ...]:
    """Hidden sizes of each layer's maps: `"200-200"` for all layers alike, `"512-512/256-256"` layer by layer.

    Returns one tuple per stochastic layer, from the data up. Raises ValueError if the number of layers does not match.
    """
    layers = tuple(parse_sizes(part, "hidden: sizes") for part in str(text).split("/"))
    if len(layers) == 1:
        return layers * depth
    if len(layers) != depth:
        raise ValueError(f"hidden {text!r} describes {len(layers)} layers, latents {depth}")
    return layers


def _each_size(text: str) -> None:
    for part in text.split("/"):
        parse_sizes(part)


@dataclass(frozen=True)
class HiddenOptions:
    """Sizes of the maps."""

    hidden: str = option(
        "200-200", "hidden sizes of every map; `512-512/256-256` layer by layer, from the data up", check=_each_size,
        shape=True, pattern=r"^[1-9][0-9]{0,6}([-/][1-9][0-9]{0,6})*$",
    )  # fmt: skip


@dataclass(frozen=True)
class SizeOptions(HiddenOptions, LatentOptions):
    """Sizes of the layers and maps."""

    @cached_property
    def latent_sizes(self) -> tuple[int, ...]:
        """Units of layers 1 … L. Raises ValueError where they are maps on a grid."""
        return parse_sizes(self.latents, "latents: sizes")

    @cached_property
    def hidden_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Hidden sizes of the maps of layers 1 … L."""
        return parse_hidden(self.hidden, len(self.latent_sizes))

    def faults(self) -> dict[str, str]:
        """A sentence for each option that does not go with the others, by its name."""
        for name, read in (("latents", "latent_sizes"), ("hidden", "hidden_sizes")):
            try:
                getattr(self, read)
            except ValueError as fault:
                return {name: str(fault)}
        return {}

    def canonical(self) -> SizeOptions:
        """The same maps with hidden sizes that are alike in all layers said once."""
        return replace(self, hidden=self.hidden.split("/")[0]) if len(set(self.hidden_sizes)) == 1 else self

    def words(self, network: str) -> str:
        """`two_level 40-40 (300-300)`."""
        return f"{network} {self.latents} ({self.hidden})"


@dataclass(frozen=True)
class MlpOptions(SizeOptions):
    """Sizes of the layers and maps, and the activation of hidden layers."""

    activation: str = option(
        "tanh", "activation of the hidden layers; `identity`: a linear network", shape=True,
        choices=("tanh", "relu", "leaky_relu", "elu", "identity"),
    )  # fmt: skip

    def top_inputs(self, features: int) -> int:
        """Numbers that the inference map of the top layer is given."""
        return (features, *self.latent_sizes)[-2]

    @property
    def top_given_image(self) -> bool:
        """Whether these are the image, which is the same for all chains."""
        return len(self.latent_sizes) == 1

    def top_maps(self, rows: int, shape: ImageShape) -> list[Affine]:
        """The affine maps of one more pass of so many rows through that map, with a gradient for them."""
        units, hidden = self.latent_sizes[-1], self.hidden_sizes[-1]
        sizes = [*pairwise((self.top_inputs(shape.features), *hidden)), (hidden[-1], units), (hidden[-1], units)]
        return [Affine(rows, *each) for each in sizes]

    def words(self, network: str) -> str:
        """`mlp 40-40-40-40 (200-200)`, with the activation where it is not tanh."""
        return f"{super().words(network)}{'' if self.activation == 'tanh' else f' {self.activation}'}"


@dataclass(frozen=True)
class NullMlpOptions(MlpOptions):
    """Options of `mlp`, for two layers or more: of one layer nothing would be left."""

    def faults(self) -> dict[str, str]:
        """See `MlpOptions`."""
        found = super().faults()
        if not found and len(self.latent_sizes) < 2:
            found["latents"] = f"latents should have two layers or more with null_mlp, got {self.latents}"
        return found

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """There is no map to the image that could be smoothed."""
        if cell.has("smooth_output") and cell.smooth_output == "yes":
            return {"smooth_output": "smooth_output: null_mlp has no p(x|z₁) to smooth, got yes"}
        if cell.procedure == "semi_amortized":
            why = "procedure semi_amortized refines q for each image, and with null_mlp q(z₁|x) is N(0, I) for all"
            return {"procedure": f"{why}: train it with procedure joint"}
        return {}


@dataclass(frozen=True)
class Smoothed:
    """S where a canonical cell smooths a map, else 1: inference maps of layers 2 … L, generative maps above p(x|z₁),
    and that to the image."""

    up: int
    down: int
    output: int

    @classmethod
    def of(cls, cell: Cell) -> Smoothed:
        samples = cell.smoothing_samples if cell.smoothed else 1
        return cls(
            *(samples if on else 1 for on in (cell.smooth_posterior == "yes", True, cell.smooth_output == "yes"))
        )


def mlp_maps(cell: Cell, shape: ImageShape, lowest: int = 1, chains: int = 0) -> list[Affine]:
    """Every affine map of a training step of the hierarchical MLP, once for each time it is applied.

    shape: of an image; lowest: the first layer that has maps; chains: per image [the cell's in training].
    """
    cell = cell.canonical()
    samples, ratio = Smoothed.of(cell), cell.smoothing == "ratio"
    rows = cell.batch_size * (chains or cell.training_chains)
    below = (shape.features, *cell.latent_sizes[:-1])
    outputs = (cell.output_maps(shape) * shape.positions, *below[1:])
    maps = []
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        if i + 1 < lowest:
            continue
        up, down = (below[i], *hidden, units), (units, *hidden[::-1], outputs[i])
        if i:
            maps += _map(up, rows * samples.up, rows, ratio, of_data=i + 1 == lowest)
            maps += _map(down, rows * samples.down, rows, ratio)
        else:  # the first map sees the image once for all chains; the last has one head
            maps += _map(up, cell.batch_size, cell.batch_size, of_data=True)
            maps += _map(down, rows * samples.output, rows, heads=1)
        for fixed in passes_again(cell) if i + 1 > lowest else ():
            maps += _map(up, rows * samples.up, rows, ratio, again=True, fixed=fixed)
    return maps


def passes_again(cell: Cell) -> tuple[bool, ...]:
    """How often the inference maps are applied once more at the same samples (`models.objectives.paths`), and whether
    their parameters are then fixed: for log q, and for the mean and deviation of smoothing whose path is weighed."""
    if cell.gradient_estimator in (None, "plain"):
        return ()
    return (True, False) if cell.gradient_estimator == "dreg" and cell.smoothed else (True,)


def _map(
    sizes: tuple[int, ...], rows: int, left: int, ratio: bool = False, heads: int = 2, of_data: bool = False,
    **more: bool,
) -> list[Affine]:  # fmt: skip
    """The affine maps of a perceptron that sees `rows`, over which its outputs are averaged until so many are `left`.

    That commutes with the head of the mean, which then runs once; not where ratios of mean and deviation are averaged.
    """
    *inner, outputs = sizes
    found = [Affine(rows, *pair, of_data=of_data and not place, **more) for place, pair in enumerate(pairwise(inner))]
    of_heads = [rows, rows if ratio else left][-heads:]
    return found + [Affine(each, inner[-1], outputs, **more) for each in of_heads]


def mlp_size(cell: Cell, shape: ImageShape, lowest: int = 1) -> Size:
    """What one cell of the hierarchical MLP needs; arguments as of `mlp_maps`."""
    maps = mlp_maps(cell, shape, lowest)
    parameters = sum((each.inputs + 1) * each.outputs for each in maps if not each.again)
    number_bytes = 8 if cell.precision == "float64" else 4
    # Weights, gradient and two moments. On top, during a step, what it keeps for its gradient; during a checkpoint,
    # a copy of weights and moments. (An evaluation takes a few cells at a time, whatever the stack.)
    numbers = 4 * parameters + max(_kept(cell, shape), 3 * parameters)
    return Size(parameters, sum(each.flops for each in maps), number_bytes * numbers)


def null_mlp_size(cell: Cell, shape: ImageShape) -> Size:
    """What a cell of `null_mlp` needs: what `mlp` does, without the maps between x and z₁.

    Its memory counts what these would keep, which is more than enough.
    """
    return mlp_size(cell, shape, lowest=2)


def _kept(cell: Cell, shape: ImageShape) -> int:
    """Numbers that live at once in a training step of a cell beside its state, as measured: `benchmarks memory`."""
    cell = cell.canonical()
    samples, again = Smoothed.of(cell), len(passes_again(cell))
    rows: int = cell.batch_size * cell.training_chains
    kept, widest = 2 * rows * cell.output_maps(shape) * shape.positions, 0  # logits, and their slope
    for i, (units, hidden) in enumerate(zip(cell.latent_sizes, cell.hidden_sizes, strict=True)):
        below, up, down = cell.latent_sizes[i - 1], rows * samples.up, rows * (samples.down if i else samples.output)
        kept += rows * 5 * units  # z, its noise, mean, deviation and its slope
        kept += (1 + again) * (up * sum(hidden) if i else 0) + down * sum(hidden)
        if i:
            kept += down * (2 * units + 2 * below) + rows * (hidden[0] + 3 * below)
            kept += (1 + again) * (up - rows) * 2 * (units + below) + again * rows * 4 * units
        else:
            kept += cell.batch_size * sum(hidden) + (down - rows) * 2 * units
        widest = max(widest, up * max(hidden) if i else 0, down * max(hidden))
    return kept + 3 * widest  # gradients on their way
