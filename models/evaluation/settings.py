"""How a trained cell is evaluated. Not part of a cell's identity: another evaluation needs no new training."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, replace

from models.cell import Cell, canonical_json

EVALUATION_SEMANTICS = 1  # raised when the same settings come to mean other numbers
IMAGES = 100  # evaluated at a time
# Fields, with the value that was meant before them.
ADDED_LATER = {
    "importance_images": 0, "image_choice": "first", "mutual_information": 0, "gradient_variance": 0,
    "hermite_spectrum": 0, "posterior_mean": 0, "classification": 0,
}  # fmt: skip


def has_scalar_posterior(cell: Cell) -> bool:
    """Whether z is one Gaussian variable, so that its posterior has a grid (`models.evaluation.posterior_mean`)."""
    return cell.latent_sizes == (1,) and cell.posterior == "gaussian"


@dataclass(frozen=True)
class Evaluation:
    """The final evaluation of a cell, once, on images that training and choices never saw.

    - `importance_samples`: K of the importance-weighted bound, and the most whole ancestral chains per image that the
      other averages use.
    - `images`: how many of the split's images (0: all); `image_choice`: which of them, `first`, those from its start,
      or `spread`, one from each of as many equal parts. What a split begins with need not be like the rest: MNIST's
      first 2,000 test images have 9 % less ink than all have, 13 standard errors.
    - `importance_images`: on how many of these there are K chains, spread evenly over them in blocks of `IMAGES` (0: on
      all). The others get as many chains as the other averages need, which are far fewer.
    - `split`: `test` or `validation`; `seed` fixes binarisation and noise alike for all cells.
    - `active_threshold`: a unit is active if the variance of its mean over images exceeds this (Burda et al. 2016).
    - `mutual_information`, `gradient_variance`, `hermite_spectrum`, `posterior_mean`, `classification`: measured
      on request beside the metrics, by the modules of these names: on so many images, over so many draws of the noise,
      at q of so many images, on so many images, from so many training images (0: not).
    """

    importance_samples: int = 100
    images: int = 0
    split: str = "test"
    seed: int = 0
    active_threshold: float = 0.01
    importance_images: int = 0
    image_choice: str = "first"
    mutual_information: int = 0
    gradient_variance: int = 0
    hermite_spectrum: int = 0
    posterior_mean: int = 0
    classification: int = 0

    def on(self, images: int) -> Evaluation:
        """The settings in their plainest form for a split of so many images.

        Of `importance_images` whole blocks, and 0 for all of them; of `image_choice` `first`, where all are taken; of
        the images of what is measured on request no more than there are.
        """
        blocks = math.ceil(self.importance_images / IMAGES) * IMAGES
        taken = min(self.images, images) if self.images else images
        return replace(
            self,
            importance_images=blocks if blocks < taken else 0,
            image_choice=self.image_choice if 0 < self.images < images else "first",
            mutual_information=min(self.mutual_information, taken),
            hermite_spectrum=min(self.hermite_spectrum, taken),
            posterior_mean=min(self.posterior_mean, taken),
        )

    def accepted(self) -> frozenset[str]:
        """Ids of the settings whose rows serve: these, and the same with K chains on all images, which is more."""
        return frozenset({self.id(), replace(self, importance_images=0).id()})

    def id(self) -> str:
        """Eight hexadecimal digits that name these settings in the store; fields added later count if they are set."""
        fields = {name: value for name, value in asdict(self).items() if value != ADDED_LATER.get(name)}
        identity = {"evaluation": fields, "semantics": EVALUATION_SEMANTICS}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:8]
