"""Options of the procedures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from models.cell.fields import YES_NO, option

if TYPE_CHECKING:
    from models.cell.cell import Cell

MAX_INNER = 99  # inner updates within a step where the rule decides, as in the published code


@dataclass(frozen=True)
class BatchOptions:
    """Minibatches."""

    batch_size: int = option(
        64, "images in a training batch", unit="images", low=1, high=1_000_000, shape=True, symbol="batch",
        label="batch size", collapses="low",
    )  # fmt: skip


@dataclass(frozen=True)
class JointOptions(BatchOptions):
    """The same, and nothing else so far."""


@dataclass(frozen=True)
class ContinueOptions(BatchOptions):
    """Of a cell that takes over another one's weights: see `models.cell.continuation`."""

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("inner_updates", "inner_rule", "aggressive_steps", "mi_stop"),
        "a branch trains jointly at every rho: aggressive training with other cells' weights is not there",
    )


@dataclass(frozen=True)
class AggressiveOptions(JointOptions):
    """Updates of the inference network alone before each step (He et al. 2019): `models.procedures.aggressive`."""

    inner_updates: int = option(
        0, "K, updates of the inference network alone before each update of the generative one, while training is "
        "aggressive; 0: none, which is joint training", unit="updates", low=0, high=1000, since=5, symbol="K",
        label="inner updates, K", collapses="low", off="joint",
    )  # fmt: skip
    inner_rule: str = option(
        "no", f"whether inner updates go on while their mean loss over 10 falls, up to {MAX_INNER}, in place of a fixed "
        "number", choices=YES_NO, since=5,
    )  # fmt: skip
    aggressive_steps: int = option(
        0, "steps after which training is joint; 0: none, unless `mi_stop` says so", unit="steps", low=0, high=10**9,
        since=5, symbol="aggressive steps", label="steps of aggressive training",
    )  # fmt: skip
    mi_stop: str = option(
        "none", "when else training becomes joint, by the mutual information between image and top layer on validation "
        "images: `none`; at the `first_fall` from one validation to the next; or at the `fifth_below_best`, the fifth "
        "validation in all below the best one", choices=("none", "first_fall", "fifth_below_best"), since=5,
    )  # fmt: skip
    validate_every: int = option(
        0, "steps between validations in training, at fixed absolute steps; 0: one epoch", unit="steps", low=0,
        high=10**9, shape=True, since=5,
    )  # fmt: skip
    validate_images: int = option(
        500, "images of such a validation, the first of the split; of a smaller split all", unit="images", low=2,
        high=1_000_000, shape=True, since=5,
    )  # fmt: skip

    def faults(self) -> dict[str, str]:
        """A fixed number and the rule exclude each other."""
        if self.inner_rule == "yes" and self.inner_updates:
            what = "inner_updates should be 0 where inner_rule is yes, which decides their number"
            return {"inner_updates": f"{what}; got {self.inner_updates}"}
        return {}

    def conflicts(self, cell: Cell) -> dict[str, str]:
        """There must be an inference network."""
        if not cell.depth:
            why = f"procedure {cell.procedure} updates the inference network alone, and {cell.network} has none"
            return {"procedure": f"{why}: train it with procedure joint"}
        return {}

    def idle(self, cell: Cell) -> dict[str, Any]:
        """Options without effect, at their default."""
        changes: dict[str, Any] = {}
        if not self.inner_updates and self.inner_rule == "no":
            changes |= {"aggressive_steps": 0, "mi_stop": "none"}
        if self.mi_stop == "none" or changes:
            changes |= {"validate_every": 0, "validate_images": 500}
        return changes
