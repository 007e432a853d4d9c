"""How a trained cell is evaluated. Not part of a cell's identity: another evaluation needs no new training."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, replace

from models.cell import canonical_json

EVALUATION_SEMANTICS = 1  # raised when the same settings come to mean other numbers
IMAGES = 100  # evaluated at a time


@dataclass(frozen=True)
class Evaluation:
    """The final evaluation of a cell, once, on images that training and choices never saw.

    - `importance_samples`: K of the importance-weighted bound, and the most whole ancestral chains per image that the
      other averages use; `images`: how many of the split's images, from its start (0: all).
    - `importance_images`: on how many of these there are K chains, spread evenly over them in blocks of `IMAGES` (0: on
      all). The others get as many chains as the other averages need, which are far fewer.
    - `split`: `test` or `validation`; `seed` fixes binarisation and noise alike for all cells.
    - `active_threshold`: a unit is active if the variance of its mean over images exceeds this (Burda et al. 2016).
    """

    importance_samples: int = 100
    images: int = 0
    split: str = "test"
    seed: int = 0
    active_threshold: float = 0.01
    importance_images: int = 0

    def on(self, images: int) -> Evaluation:
        """The settings in their plainest form for a split of so many images: whole blocks, and 0 for all of them."""
        blocks = math.ceil(self.importance_images / IMAGES) * IMAGES
        some = blocks < (min(self.images, images) if self.images else images)
        return replace(self, importance_images=blocks if some else 0)

    def accepted(self) -> frozenset[str]:
        """Ids of the settings whose rows serve: these, and the same with K chains on all images, which is more."""
        return frozenset({self.id(), replace(self, importance_images=0).id()})

    def id(self) -> str:
        """Eight hexadecimal digits that name these settings in the store; fields added later count if they are set."""
        fields = {name: value for name, value in asdict(self).items() if value or name != "importance_images"}
        identity = {"evaluation": fields, "semantics": EVALUATION_SEMANTICS}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:8]
