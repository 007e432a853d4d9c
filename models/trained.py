"""A trained cell to work with: encode, decode, sample, and the terms of its bound, on arrays of NumPy or torch.

Noise is that of the evaluation, a function of a seed, the layer, and the place of an image and a chain: with the images
of `data()` and the evaluation's seed the terms are the numbers behind the cell's row. Nothing is smoothed, as in every
evaluation. n images, S chains of each, layers 1 … L from the data up, of `latents[i − 1]` units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import models.data
from models.cell import Cell, find
from models.cell.image_shape import ImageShape
from models.cell.sequence_shape import SequenceShape, Shape
from models.data.dataset import SPLITS, Dataset
from models.draws.draws import Draws, Purpose, draws_on
from models.evaluation.settings import IMAGES, Evaluation
from models.evaluation.which import CHAINS, evaluated_images
from models.networks.network import Network, Terms, image_of, network_of, output_of
from models.trained_terms import BoundTerms, Encoded, Values, bound_terms, encoded, of_the_bound, of_the_way_up

__all__ = ["BoundTerms", "Encoded", "TrainedModel"]


class TrainedModel:
    """The trained network of a cell.

    Args:
        cell: the cell.
        tensors: its trained parameters by name, without an axis of cells.
        step: training steps behind them.
        device: where it computes; the draws of a CPU and a GPU differ.
        features: numbers per image [as the data set's entry says].

    Attributes:
        cell, step, device, features: as given.
        latents: units of layers 1 … L.

    Raises ValueError where the parameters are not those of such a cell.
    """

    def __init__(
        self,
        cell: Cell,
        tensors: Mapping[str, npt.NDArray[Any]],
        step: int,
        device: str = "cpu",
        features: int = 0,
    ):
        self.cell, self.step, self.device = cell, step, torch.device(device)
        self.dtype = torch.float64 if cell.precision == "float64" else torch.float32
        shape: Shape = ImageShape(1, 1, features) if features else cell.data_shape or self.dataset.shape
        self._shape, self.features = shape, shape.features
        like = torch.empty((), dtype=self.dtype, device=self.device)
        begun = np.full(shape.vocabulary if isinstance(shape, SequenceShape) else self.features, 0.5)
        self._network: Network = network_of([cell], shape, begun, like)  # where biases began is over
        self.latents = self._network.latents
        self._params: dict[str, Tensor] = {}
        for parameter in self._network.parameters():
            found = tensors.get(parameter.name)
            if found is None or found.shape != parameter.shape:
                got = "none" if found is None else f"shape {found.shape}"
                raise ValueError(f"{parameter.name} should have shape {parameter.shape}, got {got}")
            self._params[parameter.name] = torch.tensor(found)[None].to(self.device, self.dtype)

    def __repr__(self) -> str:
        return f"<{self.cell.architecture} on {self.cell.data_words}, ρ = {self.cell.rho:g}, {self.step:,} steps>"

    @cached_property
    def dataset(self) -> Dataset:
        """The data set that the cell names. Raises `models.data.DataMissing`, `models.data.DataCorrupt`."""
        return models.data.data_of(self.cell)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width) of an image, or (channels, height, width) of one in colour, in the order of its numbers."""
        return self.dataset.shape.array

    def data(
        self, split: str = "test", images: int = 0, seed: int = 0, image_choice: str = "spread"
    ) -> npt.NDArray[Any]:
        """`images` [0: all] of a split as the evaluation sees them, (n, features), spread over the split or its first.

        Grey pixels are binarised by `seed`, that of the evaluation [0]; of 256 levels it is level / 255; real values
        are as they are. `image_choice` is that of the evaluation: `spread` or `first`.
        """
        if split not in SPLITS:
            raise ValueError(f"split should be one of {', '.join(SPLITS)}, got {split!r}")
        if image_choice not in ("first", "spread"):
            raise ValueError(f"image_choice should be first or spread, got {image_choice!r}")
        if images < 0:
            raise ValueError(f"images should be at least 0, got {images}")
        settings = Evaluation(images=images, split=split, image_choice=image_choice)
        chosen = evaluated_images(self.dataset, settings)
        source = self._draws(seed)
        seen = torch.empty(len(chosen), self.features, dtype=self.dtype)
        for first in range(0, len(chosen), IMAGES):
            seen[first : first + IMAGES] = self._observed(chosen[first : first + IMAGES], source, first)
        return seen.numpy()

    def _observed(self, images: npt.NDArray[Any], source: Draws, first: int) -> Tensor:
        """Images from place `first` of a split on as the evaluation sees them."""
        rows = torch.tensor(images).to(self.device)
        seen: Tensor = self.dataset.observe(
            rows, lambda: source.uniform(Purpose.EVALUATE_BINARISE, rows.shape, first)[0]
        )
        return seen

    def encode(self, x: Values, samples: int = 1, seed: int = 0) -> Encoded[Values]:
        """An ancestral pass through q from images: (n, features), (n, height, width), or in colour (n, channels,
        height, width); pixels and levels / 255 in [0, 1].

        samples: S, chains per image; seed: of their noise. What comes back is of the type of `x`.
        Raises ValueError where `x` has another shape or values that no image has.
        """
        return encoded(self._up(x, samples, seed, of_the_way_up), len(self.latents))

    def terms(self, x: Values, samples: int = 1, seed: int = 0) -> BoundTerms[Values]:
        """The terms of the bound of images, nats; arguments as of `encode`."""
        return bound_terms(self._up(x, samples, seed, of_the_bound))

    def decode(self, z: Values, layer: int = 1, seed: int = 0) -> Values:
        """The mean of p(x|z₁) at the end of a way down from `z` of a layer, (…, units of it) to (…, features).

        layer: 1 … L; seed: of the noise of the layers below it, of which layer 1 has none. Bernoulli means are
        probabilities; of a PixelCNN those of each pixel given the ones before it, which the seed draws.
        Raises ValueError on a wrong layer or shape.
        """
        if not 1 <= layer <= len(self.latents):
            raise ValueError(f"layer should be in 1 … {len(self.latents)}, got {layer}")
        units = self.latents[layer - 1]
        given = self._taken(z)
        if given.ndim < 1 or given.shape[-1] != units or not given.numel():
            raise ValueError(f"z of layer {layer} should have shape (…, {units}), got {tuple(given.shape)}")
        flat = given.reshape(1, 1, -1, units)
        with torch.no_grad():
            noise = self._down(Purpose.PICTURE_DOWN, layer - 1, flat.shape[2], seed)
            pixels = partial(self._pixels, Purpose.DECODE_PIXELS, flat.shape[2], seed)
            image = image_of(self._network, self._params, noise, flat, uniform=pixels)
        decoded: Values = _as(z, image.reshape(*given.shape[:-1], self.features))
        return decoded

    def sample(self, images: int, seed: int = 0, pixels: bool = False) -> npt.NDArray[Any]:
        """Images from the prior, (images, features): the means of p(x|z₁), or with `pixels` draws from it.

        A PixelCNN draws pixel by pixel: its means are those given the pixels before, as drawn with `pixels`. Of
        sequences, symbol by symbol: the likeliest ones given z, or with `pixels` draws.
        """
        if images < 1:
            raise ValueError(f"images should be at least 1, got {images}")
        with torch.no_grad():
            noise = self._down(Purpose.PICTURE_SAMPLE, len(self.latents), images, seed)
            given = partial(self._pixels, Purpose.SAMPLE_PIXELS, images, seed)  # the numbers of the draws below
            if getattr(self._network, "draws_symbols", False):
                by: dict[str, Any] = {"uniform": given()} if pixels else {}
                sequences: npt.NDArray[Any] = _as(None, self._network.image(self._params, noise, **by)[0, 0])
                return np.broadcast_to(sequences, (images, self.features)).copy()
            out = output_of(self._network, self._params, noise, uniform=given)
            source, likelihood = self._draws(seed), self._network.likelihood
            drawn = (partial(draw, Purpose.SAMPLE_PIXELS) for draw in (source.uniform, source.normal))
            seen = likelihood.sample(out, *drawn) if pixels else likelihood.mean(out)
        made: npt.NDArray[Any] = _as(None, seen.reshape(images, self.features))
        return made

    def _up(self, x: Values, samples: int, seed: int, pick: Callable[[Terms], list[Tensor]]) -> list[Values]:
        """What `pick` takes of the network's terms, each (S, n, …), computed in the blocks of the evaluation."""
        if samples < 1:
            raise ValueError(f"samples should be at least 1, got {samples}")
        images = self._images(x)
        source = self._draws(seed)
        rows = []
        with torch.no_grad():
            for first in range(0, len(images), IMAGES):
                some, chains = images[first : first + IMAGES][None, None], []
                for block, chain in enumerate(range(0, samples, CHAINS)):
                    number = min(CHAINS, samples - chain)
                    noise = [
                        source.normal(Purpose.EVALUATE_LATENT, (number, some.shape[2], units), first, layer, block)
                        for layer, units in enumerate(self.latents, start=1)
                    ]
                    terms = self._network.terms(self._params, some, noise)
                    chains.append([part[0].expand(number, *part.shape[2:]) for part in pick(terms)])
                rows.append([torch.cat(parts) for parts in zip(*chains, strict=True)])
        return [_as(x, torch.cat(parts, dim=1)) for parts in zip(*rows, strict=True)]

    def _images(self, x: Any) -> Tensor:
        """(n, features), checked."""
        images = self._taken(x)
        given, one = tuple(images.shape), self._shape.array
        if images.ndim == 3 == len(one) + 1 or (images.ndim == 4 and given[1:] == one):
            images = images.flatten(1)
        if images.ndim != 2 or images.shape[1] != self.features or len(images) == 0:
            wanted = "height, width" if len(one) == 2 else ", ".join(map(str, one))
            raise ValueError(f"images should have shape (n, {self.features}) or (n, {wanted}), got {given}")
        low, high = float(images.min()), float(images.max())
        pixels = not isinstance(self._shape, SequenceShape) and not find("likelihood", self.cell.likelihood).density
        if pixels and not (low >= 0 and high <= 1):
            raise ValueError(
                f"pixels should be in [0, 1], got {low:g} … {high:g}: `data` has images as the network sees them"
            )
        return images

    def _taken(self, values: Any) -> Tensor:
        # In one piece: torch takes no array with a negative stride, as x[::-1] is.
        given = values.detach() if isinstance(values, Tensor) else torch.tensor(np.array(values, order="C"))
        return given.to(self.device, self.dtype)

    def _draws(self, seed: int) -> Draws:
        if not 0 <= seed < 2**63:  # as of a cell
            raise ValueError(f"seed should be in [0, 2^63 - 1], got {seed}")
        return draws_on(self.device, [seed], self.dtype)

    def _pixels(self, purpose: Purpose, images: int, seed: int) -> Tensor:
        """Numbers on [0, 1) by which pixels are drawn, (1, 1, images, features)."""
        return self._draws(seed).uniform(purpose, (1, images, self.features))

    def _down(self, purpose: Purpose, layers: int, count: int, seed: int) -> Sequence[Tensor]:
        """Noise of layers 1 … `layers`, each (1, 1, count, units)."""
        source = self._draws(seed)
        sizes = enumerate(self.latents[:layers], start=1)
        return [source.normal(purpose, (1, count, units), layer=layer) for layer, units in sizes]


def _as(like: Any, found: Tensor) -> Any:
    """`found` as what was given: a tensor on its device, or an array."""
    return found.to(like.device) if isinstance(like, Tensor) else found.cpu().numpy()
