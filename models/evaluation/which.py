"""Which images an evaluation takes, how many chains each of them has, and in which blocks they are computed.

K chains per image are for the importance-weighted bound. Where only some images have these, the others have as many as
active units need, which are far fewer. Images and chains are taken in blocks of fixed size, so that memory is bounded
for any K, and a cell's numbers do not depend on how many images there are beside a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from models.data.dataset import Dataset
from models.draws.draws import Purpose, generator
from models.evaluation.settings import IMAGES, Evaluation

CHAINS = 10  # a block has so many of each of `IMAGES` images: 1,000 rows per cell
SE_OF_A_DEAD_UNIT = 0.0025  # chains are added until V̂ of a dead unit with W = 1 is known this well


@dataclass(frozen=True)
class ImageBlock:
    """Images that follow each other, are evaluated together and have equally many chains.

    - `first`, `count`: place of the first among all that are evaluated, and how many.
    - `chains`: ancestral chains per image. The first `averaged` of them enter every average; the rest are for the
      activities of units alone, which need more than K where K is small.
    - `weighed`: the averaged chains are the K of the importance-weighted bound.
    """

    first: int
    count: int
    chains: int
    averaged: int
    weighed: bool

    @property
    def here(self) -> slice:
        """The images' places among all that are evaluated."""
        return slice(self.first, self.first + self.count)

    def chain_blocks(self) -> list[range]:
        """Chains that are computed together, at most `CHAINS`: first those of all averages, then the others."""
        cuts = [*range(0, self.averaged, CHAINS), *range(self.averaged, self.chains, CHAINS), self.chains]
        return [range(a, b) for a, b in pairwise(cuts)]


def image_blocks(images: int, settings: Evaluation, quick: bool = False) -> list[ImageBlock]:
    """The blocks of so many images, in order.

    quick: no more than K chains per image, where active units would need more.
    """
    k = settings.importance_samples
    needed = k if quick else chains_needed(images)
    weighed = weighed_images(images, settings.importance_images)
    blocks = []
    for first in range(0, images, IMAGES):
        averaged, chains = (k, max(k, needed)) if weighed[first] else (min(k, needed), needed)
        blocks.append(ImageBlock(first, min(IMAGES, images - first), chains, averaged, bool(weighed[first])))
    return blocks


def evaluated_images(dataset: Dataset, settings: Evaluation) -> Any:
    """The images of the split that the settings ask for, in the split's order, as its data set has them."""
    return evaluated_part(getattr(dataset, settings.split), settings)


def evaluated_part(split: Any, settings: Evaluation) -> Any:
    """Of what there is for each image of the split, as these or their labels, that of the images asked for."""
    if settings.image_choice == "spread" and 0 < settings.images < len(split):
        return split[spread(len(split), settings.images)]
    return split[: settings.images or None]


def spread(images: int, wanted: int) -> npt.NDArray[np.int64]:
    """Places of `wanted` images, ascending: one of each of as many equal parts, at random there but always the same.

    Not every so-manieth: a split may repeat itself, as one sorted by what is drawn and then by who drew it does.
    """
    ends = np.arange(wanted + 1) * images // wanted
    within: npt.NDArray[np.float64] = generator(0, Purpose.EVALUATE_IMAGES).random(wanted)
    places: npt.NDArray[np.int64] = ends[:-1] + (within * np.diff(ends)).astype(np.int64)
    return places


def chains_needed(images: int) -> int:
    """Fewest chains R for which W √(2 / (R (R − 1) images)) ≤ 0.0025 at W = 1."""
    return math.ceil(0.5 + math.sqrt(0.25 + 2.0 / (SE_OF_A_DEAD_UNIT**2 * images)))


def weighed_images(images: int, wanted: int) -> npt.NDArray[np.bool_]:
    """Which images have K chains for the importance-weighted bound: `wanted` (0: all), or fewer by a short last block.

    Blocks are taken whole and spread evenly: the images of a split may be sorted.
    """
    blocks = math.ceil(images / IMAGES)
    chosen = math.ceil(wanted / IMAGES) if wanted else blocks
    return np.repeat(np.arange(blocks) * chosen % blocks < chosen, IMAGES)[:images]
