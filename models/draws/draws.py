"""Random numbers as a function of (seed, step, purpose, layer, inner): nothing random is ever stored.

Every number a cell's training draws comes from one counter-based generator (Philox 4×64; Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011) whose key and counter *are* the address, so that

- no two addresses share a stream (the map is injective, not a sum or a hash);
- cells of one seed see the same draws whatever their ρ and their neighbours: differences over ρ are paired;
- another depth, or smoothing, shifts no other layer's draws;
- a resumed run draws what an undisturbed one would, with no generator state in a checkpoint.

Draws are made once for each distinct seed of a stack and shared by its cells: on the host for a CPU, and on a GPU by
itself (`models.draws.philox`), where waiting for the host would take most of a step. So pairing holds within one type
of device; every row names the generator. First weights and the order of images come from the host everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.draws import philox

NAME = "numpy-philox-1"  # recorded with every result


class Purpose(IntEnum):
    """What a draw is for. Numbers are frozen: a new purpose takes a new number."""

    BATCH = 1  # the order of training images, one permutation per epoch (step = epoch)
    BINARISE = 2  # pixels of a training batch
    INIT = 3  # a parameter's first value (layer, inner = the parameter's place in the network)
    LATENT = 4  # noise of z_layer
    SMOOTH = 5  # noise of the smoothing of the map from z_layer
    EVALUATE_BINARISE = 6  # pixels of an evaluated split (step = first image of the chunk)
    EVALUATE_LATENT = 7  # noise of z_layer in evaluation (step = first image, inner = block of samples)
    EVALUATE_SMOOTH = 8  # no longer used
    PICTURE_UP = 9  # noise of z_layer on the way up, for pictures
    PICTURE_DOWN = 10  # noise of z_layer on the way down from z_L
    PICTURE_SAMPLE = 11  # noise of z_layer on the way down from the prior
    EVALUATE_IMAGES = 12  # which images of a split are evaluated, where they are spread over it
    EVALUATE_BINARISE_AGAIN = 13  # as 6 and 7, of a second binarisation that tells what the first one adds
    EVALUATE_LATENT_AGAIN = 14
    PREDICT_SEED = 15  # the seed of the next three, of an evaluation's seed and a cell's (step)
    PREDICT_BINARISE = 16  # pixels (step = first image of the chunk, inner = batch)
    PREDICT_LATENT = 17  # noise of z_layer (the same)
    PREDICT_SMOOTH = 18  # noise of the smoothing of the map from z_layer (the same)
    SAMPLE_PIXELS = 19  # pixels of a sample, given p(x|z₁)
    NOISE_IMAGES = 20  # which images a minibatch behind the gradient's noise has (step = minibatch), as the next three
    NOISE_BINARISE = 21  # its pixels
    NOISE_LATENT = 22  # noise of z_layer
    NOISE_SMOOTH = 23  # noise of the smoothing of the map from z_layer
    FIRST_PASS = 60  # noise of z_layer in the pass that weight normalisation starts from
    INFORMATION_BINARISE = 70  # pixels of images behind a mutual information (step = first image of the chunk)
    INFORMATION_LATENT = 71  # noise of z_layer (the same, inner = block of chains)
    GRADIENT_BINARISE = 72  # pixels of the batch whose gradients' variance is measured
    GRADIENT_LATENT = 73  # noise of z_layer (step = draw)
    GRADIENT_SMOOTH = 74  # what an objective draws for its smoothing (step = draw and purpose: see gradient_variance)
    SPECTRUM_BINARISE = 75  # pixels of images at whose q a map is expanded (step = first image of the chunk)
    SPECTRUM_LATENT = 76  # noise of z_layer of the chain that leads there (the same)
    SPECTRUM_CIRCLE = 77  # the two points that span a circle around q(z_layer|·) (the same)
    INNER_IMAGES = 80  # which images the minibatch of an inner update has (inner = its number, from 2), as the next
    INNER_BINARISE = 81  # its pixels
    INNER_LATENT = 82  # noise of z_layer in an inner update (inner = its number, from 1)
    INNER_SMOOTH = 83  # noise of its smoothing (inner = its number, and that of the draw within it)
    REFINE_LATENT = 84  # noise of z_layer behind numbers of q that are refined (inner = refinement step, from 0)
    VALIDATE_BINARISE = 85  # pixels of the images of a validation in training (step = first image of the chunk)
    VALIDATE_LATENT = 86  # noise of z_layer (the same)
    VALIDATE_REFINE = 87  # noise of z_layer behind refined numbers (the same, inner = refinement step)
    EVALUATE_REFINE = 88  # the same in evaluation
    DROPOUT_INPUT = 100  # which inputs of a decoder are dropped (inner = inner update or refinement step)
    DROPOUT_OUTPUT = 101  # which of its outputs (the same)
    PICTURE_PIXELS = 110  # pixels of pictures of a network that draws one after the other
    DECODE_PIXELS = 111  # the same at the end of a way down from given latent variables
    CLASSIFY_BINARISE = 112  # pixels of images behind a classification (step = first image of the chunk)
    CLASSIFY_LATENT = 113  # noise of z_layer (the same)
    CLASSIFY_REFINE = 114  # the same behind refined numbers (inner = refinement step)
    POSTERIOR_BINARISE = 115  # pixels of images whose posterior is computed on a grid (step = first image of the chunk)
    POSTERIOR_LATENT = 116  # noise of z in the importance-weighted bound of these (the same, inner = block of chains)


OF_EVERY_STEP = frozenset(
    (Purpose.BINARISE, Purpose.LATENT, Purpose.SMOOTH, Purpose.DROPOUT_INPUT, Purpose.DROPOUT_OUTPUT)
)


def generator(seed: int, purpose: Purpose, step: int = 0, layer: int = 0, inner: int = 0) -> np.random.Generator:
    """The generator at one address. All arguments are whole numbers ≥ 0; layer < 2**32, the others < 2**63."""
    key = np.array([seed, (int(purpose) << 32) | layer], dtype=np.uint64)
    counter = np.array([0, 0, inner, step], dtype=np.uint64)  # the low words count within the stream
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Draws:
    """The draws of a stack: one set per distinct seed, handed to every cell of that seed.

    Args:
        seeds: one per cell.
        device, dtype: of the tensors returned.

    Attributes:
        name: of the generator.
    """

    name = NAME

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.device, self.dtype = torch.device(device), dtype
        self.distinct = list(dict.fromkeys(seeds))
        self.place = torch.tensor([self.distinct.index(seed) for seed in seeds], device=self.device)
        self._order: Tensor | None = None  # of the images, (seeds, images), in epoch `_epoch`
        self._epoch = -1

    def normal(self, purpose: Purpose, shape: Sequence[int], step: Any = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """Standard normal, (cells, *shape). Drawn in float32 at any precision, so that precisions are paired too."""
        made = np.empty((len(self.distinct), *shape), np.float32)
        for seed, numbers in zip(self.distinct, made, strict=True):
            generator(seed, purpose, step, layer, inner).standard_normal(dtype=np.float32, out=numbers)
        return self.to_cells(torch.from_numpy(made).to(self.device, self.dtype))

    def uniform(self, purpose: Purpose, shape: Sequence[int], step: Any = 0, layer: int = 0, inner: int = 0) -> Tensor:
        """Uniform on [0, 1), (cells, *shape)."""
        made = np.empty((len(self.distinct), *shape), np.float32)
        for seed, numbers in zip(self.distinct, made, strict=True):
            generator(seed, purpose, step, layer, inner).random(dtype=np.float32, out=numbers)
        return self.to_cells(torch.from_numpy(made).to(self.device, self.dtype))

    def batch(self, step: int | Tensor, images: int, size: int) -> Tensor:
        """Indices of the training images of step `step`, (cells, size): every epoch a new permutation, its rest left.

        Where the step is a tensor, `shuffle` was called before. Raises ValueError if a batch is larger than the data.
        """
        if isinstance(step, int):
            self.shuffle(step, images, size)
        assert self._order is not None
        first = step % (images // size) * size
        return self.to_cells(self._order.index_select(1, torch.arange(size, device=self.device) + first))

    def shuffle(self, step: int, images: int, size: int) -> None:
        """Have ready the order of the images in the epoch of a step; in the same memory as the last epoch's."""
        if size > images:
            raise ValueError(f"batch_size should be at most the number of training images, {images}, got {size}")
        epoch = step // (images // size)
        if self._order is not None and (self._epoch, self._order.shape[1]) == (epoch, images):
            return
        made = np.stack([generator(s, Purpose.BATCH, step=epoch).permutation(images) for s in self.distinct])
        order = torch.from_numpy(made).to(self.device)
        self._order = order if self._order is None or self._order.shape != order.shape else self._order.copy_(order)
        self._epoch = epoch

    def forget(self) -> None:
        """Nothing: these draws are not kept (those of `DeviceDraws` are)."""

    def to_cells(self, each: Tensor) -> Tensor:
        """What was made for each distinct seed, (seeds, …), as each cell's own, (cells, …); not to be written to."""
        if len(self.distinct) == 1:
            return each.expand(len(self.place), *each.shape[1:])
        return each if len(self.distinct) == len(self.place) else each[self.place]


Law = Callable[[Tensor], Tensor]  # from words to as many numbers
Asked = tuple[Law, Purpose, int, int, int]  # law, purpose, layer, inner, how many numbers


class DeviceDraws(Draws):
    """Draws that the device makes by itself: the numbers of a step in one computation, without the host.

    What a step asks for is learnt as it asks: from its second step on, all that was asked for before at another step is
    made at once when the first of it is asked for. `step` may be a tensor on the device.
    """

    name = philox.NAME
    HOST = (Purpose.INIT,)

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        super().__init__(seeds, device, dtype)
        self._keys = philox.keys_of(torch.tensor(self.distinct, device=self.device))
        self._known: dict[Asked, int] = {}  # what steps ask for, with how many numbers
        self._where: tuple[Tensor, Tensor] | None = None  # place and address of every block of that
        self._step: int | Tensor | None = None
        self._made: dict[Asked, Tensor] = {}  # at that step

    def normal(
        self, purpose: Purpose, shape: Sequence[int], step: int | Tensor = 0, layer: int = 0, inner: int = 0
    ) -> Tensor:
        """Standard normal, (cells, *shape)."""
        return self._numbers(philox.normal, shape, step, (purpose, layer, inner))

    def uniform(
        self, purpose: Purpose, shape: Sequence[int], step: int | Tensor = 0, layer: int = 0, inner: int = 0
    ) -> Tensor:
        """Uniform on [0, 1), (cells, *shape)."""
        if purpose in self.HOST:
            assert isinstance(step, int)
            return super().uniform(purpose, shape, step, layer, inner)
        return self._numbers(philox.uniform, shape, step, (purpose, layer, inner))

    def forget(self) -> None:
        """Make everything anew at the next request: the step is a tensor that has changed, or is being recorded."""
        self._step, self._made = None, {}

    def _numbers(self, law: Law, shape: Sequence[int], step: int | Tensor, address: tuple[Purpose, int, int]) -> Tensor:
        count = math.prod(shape)
        asked = (law, *address, count)
        if address[0] not in OF_EVERY_STEP:
            made = self._make({asked: count}, step)
        else:
            if asked not in self._known:
                self._known[asked] = count
                self._where, self._step = None, None
            if self._step is not step and not (isinstance(step, int) and step == self._step):
                self._made, self._step = self._make(self._known, step), step
            made = self._made
        numbers = made[asked][:, :count].view(len(self.distinct), *shape)
        return self.to_cells(numbers.to(self.dtype))

    def _make(self, asked: dict[Asked, int], step: int | Tensor) -> dict[Asked, Tensor]:
        """Numbers for each request, (seeds, at least so many): words for all at once, then all of a law at once."""
        order = sorted(asked, key=lambda key: key[0].__name__)
        blocks = [-(-asked[key] // 4) for key in order]
        where = self._where if asked is self._known else None
        if where is None:
            addresses = [philox.address(int(purpose), layer, inner) for _, purpose, layer, inner, _ in order]
            place = torch.cat([torch.arange(n) for n in blocks])
            which = torch.cat([torch.full((n,), each) for each, n in zip(addresses, blocks, strict=True)])
            where = place.to(self.device), which.to(self.device)
            if asked is self._known:
                self._where = where
        at = step if isinstance(step, Tensor) else torch.full((), step, dtype=torch.int64, device=self.device)
        words, first = philox.words(self._keys, *where, at), 0
        made: dict[Asked, Tensor] = {}
        for law in dict.fromkeys(key[0] for key in order):
            own = [(key, 4 * n) for key, n in zip(order, blocks, strict=True) if key[0] is law]
            counts = [n for _, n in own]
            numbers = torch.split(law(words[:, first : first + sum(counts)]), counts, dim=1)
            made |= dict(zip((key for key, _ in own), numbers, strict=True))
            first += sum(counts)
        return made


def draws_on(device: torch.device, seeds: Sequence[int], dtype: torch.dtype) -> Draws:
    """The draws that stacks on this type of device use."""
    return (Draws if device.type == "cpu" else DeviceDraws)(seeds, device, dtype)
