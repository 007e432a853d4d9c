"""Options of the procedures."""

from __future__ import annotations

from dataclasses import dataclass

from models.cell.fields import option


@dataclass(frozen=True)
class JointOptions:
    """Minibatches."""

    batch_size: int = option(
        64, "images in a training batch", unit="images", low=1, high=1_000_000, shape=True, symbol="batch",
        label="batch size", collapses="low",
    )  # fmt: skip
