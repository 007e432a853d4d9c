"""How a trained cell is evaluated. Not part of a cell's identity: another evaluation needs no new training."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from models.cell import canonical_json

EVALUATION_SEMANTICS = 1  # raised when the same settings come to mean other numbers


@dataclass(frozen=True)
class Evaluation:
    """The final evaluation of a cell, once, on images that training and choices never saw.

    - `importance_samples`: K of the importance-weighted bound, and the number of whole ancestral chains per image that
      the other averages use; `images`: how many of the split's images, from its start (0: all).
    - `split`: `test` or `validation`; `seed` fixes binarisation and noise alike for all cells.
    - `active_threshold`: a unit is active if the variance of its mean over images exceeds this (Burda et al. 2016).
    """

    importance_samples: int = 100
    images: int = 0
    split: str = "test"
    seed: int = 0
    active_threshold: float = 0.01

    def id(self) -> str:
        """Eight hexadecimal digits that name these settings in the store."""
        identity = {"evaluation": asdict(self), "semantics": EVALUATION_SEMANTICS}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:8]
