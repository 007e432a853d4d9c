"""What is known of the LSTM network without torch: its options, its name in words, and what a cell of it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from models.cell.fields import option, parse_sizes
from models.cell.sequence_shape import SequenceShape
from models.cell.size import Affine, Size
from models.networks.mlp_spec import HiddenOptions, SizeOptions
from models.networks.skip_spec import skip_option
from models.networks.without_latents_spec import conflicts_of_none, idle_of_none

if TYPE_CHECKING:
    from models.cell.cell import Cell

UNSMOOTHABLE = (
    "it has no generative map above p(x|z₁), and that map goes through states which depend on the symbols before: an "
    "average over samples of z₁ belongs to no state"
)


@dataclass(frozen=True)
class RecurrentOptions:
    """What decoders of sequences have, with a latent variable or without."""

    embedding: int = option(
        512, "numbers that stand for a symbol, of the encoder and of the decoder", unit="units", low=1, high=100_000,
        shape=True, since=5, symbol="E", label="embedding, E",
    )  # fmt: skip
    dropout: float = option(
        0.5, "share of the decoder's inputs (of an embedding, not of z) and of its outputs that is dropped in training",
        low=0.0, high=0.99, shape=True, since=5, symbol="p", label="dropout", collapses="low",
    )  # fmt: skip
    initial_range: float = option(
        0.01, "r: weights start uniform on ±r, embeddings on ±0.1; 0.01 in He et al. 2019, 0.1 in Kim et al. 2018",
        low=1e-6, high=1.0, shape=True, since=5,
    )  # fmt: skip
    output_bias: str = option(
        "shares", "biases of what the two LSTMs put out: `shares`, that of the logits starts at the logarithms of the "
        "symbols' shares of the training data, those of q's mean and deviation at 0; or `none` (He et al. 2019)",
        choices=("shares", "none"), shape=True, since=7,
    )  # fmt: skip


@dataclass(frozen=True)
class LstmOptions(RecurrentOptions, SizeOptions):
    """One layer of latent variables between two LSTMs, whose units are `hidden`."""

    initial_state: str = option(
        "cell", "how z begins the decoder's state: `cell`, c₀ = W z and h₀ = tanh c₀ (He et al. 2019), or `hidden`, "
        "h₀ = W z + b and c₀ = 0 (Kim et al. 2018)", choices=("cell", "hidden"), shape=True, since=5,
    )  # fmt: skip
    skip: str = skip_option()

    @property
    def units(self) -> int:
        """Of either LSTM, H."""
        return self.hidden_sizes[0][0]

    @property
    def top_given_image(self) -> bool:
        """q(z|x) is given the sequence, once for all chains."""
        return True

    def faults(self) -> dict[str, str]:
        """A sentence for each option that does not go with the others, by its name."""
        found = super().faults()
        if not found and len(self.latent_sizes) != 1:
            found["latents"] = f"latents should have one layer with lstm, got {self.latents}"
        if not found and len(self.hidden_sizes[0]) != 1:
            found["hidden"] = f"hidden should be one number with lstm, the units of its LSTMs, got {self.hidden}"
        return found

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this network."""
        found = sequence_conflicts(cell)
        if cell.prior == "vamp":
            found["prior"] = (
                "prior should be normal with network lstm, got vamp: its pseudo-inputs are learned numbers, not symbols"
            )
        return found

    def words(self, network: str) -> str:
        """`lstm 32 (512-1024) skip`."""
        return f"{network} {self.latents} ({self.embedding}-{self.hidden}){' skip' * (self.skip == 'all')}"


@dataclass(frozen=True)
class LanguageModelOptions(RecurrentOptions, HiddenOptions):
    """The decoder alone, without latent variables: L = 0."""

    latent_sizes: ClassVar[tuple[int, ...]] = ()
    skip: ClassVar[str] = "none"
    initial_state: ClassVar[str] = "cell"

    @property
    def units(self) -> int:
        """Of the LSTM, H."""
        return parse_sizes(self.hidden)[0]

    @property
    def hidden_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The units of the LSTM, as hidden sizes of the one layer."""
        return ((self.units,),)

    def faults(self) -> dict[str, str]:
        """A sentence for each option that does not go with the others, by its name."""
        if self.hidden.isdigit():
            return {}
        return {"hidden": f"hidden should be one number with lstm_lm, the units of its LSTM, got {self.hidden}"}

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """A sentence for each field of the cell that does not go with this network."""
        return sequence_conflicts(cell) | conflicts_of_none(cell)

    def idle(self, cell: Cell) -> dict[str, Any]:
        """Options of the objective that weigh layers and chains, of which there are none."""
        return idle_of_none(cell)

    def words(self, network: str) -> str:
        """`lstm_lm (512-1024)`."""
        return f"{network} ({self.embedding}-{self.hidden})"


def sequence_conflicts(cell: Cell) -> dict[str, str]:
    """A sentence for each field of the cell that does not go with a network of symbols."""
    found = {}
    if cell.likelihood != "categorical":
        found["likelihood"] = (
            f"likelihood should be categorical with network {cell.network}, got {cell.likelihood}: it puts out a logit "
            "for each symbol"
        )
    return found


def lstm_maps(cell: Cell, shape: SequenceShape) -> list[Affine]:
    """Every affine map of a training step. An encoder's first state is 0, so that it has one recurrence fewer."""
    return [*_of_sequences(cell, shape), *_of_latents(cell, shape)]


def _of_sequences(cell: Cell, shape: SequenceShape) -> list[Affine]:
    """The affine maps that are applied at every position."""
    own, batch, rows = cell.options("network"), cell.batch_size, cell.batch_size * cell.training_chains
    units, length = own.units, shape.length
    return [
        Affine(batch * (length + 1), own.embedding, 4 * units), Affine(batch * length, units, 4 * units),
        Affine(batch * length, own.embedding, 4 * units), Affine(rows * length, units, 4 * units),
        Affine(rows * length, units, shape.vocabulary),
    ]  # fmt: skip


def _of_latents(cell: Cell, shape: SequenceShape) -> list[Affine]:
    """The affine maps to z and from it, applied once per sequence."""
    own, rows, (latents,) = cell.options("network"), cell.batch_size * cell.training_chains, cell.latent_sizes
    skip = [Affine(rows, latents, shape.vocabulary)] if own.skip == "all" else []
    return [
        *[Affine(cell.batch_size, own.units, latents)] * 2, Affine(rows, latents, 4 * own.units),
        Affine(rows, latents, own.units), *skip,
    ]  # fmt: skip


def lstm_size(cell: Cell, shape: SequenceShape) -> Size:
    """What one cell needs: parameters, operations of a step, memory."""
    own = cell.options("network")
    maps = lstm_maps(cell, shape)
    biases = 8 * own.units + own.units * (own.initial_state == "hidden")
    biases += (2 * own.latent_sizes[0] + shape.vocabulary) * (own.output_bias != "none")
    embeddings = (2 * shape.vocabulary + 1) * own.embedding
    parameters = sum(each.inputs * each.outputs for each in maps) + biases + embeddings
    rows = cell.batch_size * (1 + cell.training_chains) * (shape.length + 1)
    logits = cell.batch_size * cell.training_chains * shape.length * shape.vocabulary
    kept = rows * (2 * own.embedding + 16 * own.units) + 3 * logits + embeddings
    number_bytes = 8 if cell.precision == "float64" else 4
    # Maps to and from a single latent variable are no matrix products (`models.networks.lstm_maps`).
    products = maps if own.latent_sizes[0] > 1 else _of_sequences(cell, shape)
    memory = number_bytes * (4 * parameters + max(kept, 3 * parameters))
    return Size(parameters, sum(each.flops for each in products), memory)


def language_model_size(cell: Cell, shape: SequenceShape) -> Size:
    """What a cell of the decoder alone needs, whose first state is 0."""
    own, batch, length = cell.options("network"), cell.batch_size, shape.length
    units, symbols = own.units, shape.vocabulary
    maps = [
        Affine(batch * length, own.embedding, 4 * units), Affine(batch * (length - 1), units, 4 * units),
        Affine(batch * length, units, symbols),
    ]  # fmt: skip
    biases = 4 * units + symbols * (own.output_bias != "none")
    parameters = sum(each.inputs * each.outputs for each in maps) + biases + symbols * own.embedding
    kept = batch * length * (2 * own.embedding + 16 * units + 3 * symbols) + symbols * own.embedding
    number_bytes = 8 if cell.precision == "float64" else 4
    memory = number_bytes * (4 * parameters + max(kept, 3 * parameters))
    return Size(parameters, sum(each.flops for each in maps), memory)
